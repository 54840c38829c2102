//! Which figures `/metrics` shows: what is counted elsewhere anyway, read when somebody asks.
//!
//! Nothing is counted here, so that events and deliveries pay nothing for being watched. Each name is explained in
//! `docs/operators-guide.md`. No label tells one account, hook or endpoint from another.

mod backlog;
mod exposition;
mod figures;
mod process;

use std::sync::Arc;

use crate::access::Access;
use crate::api::connections::Connections;
use crate::bus::Bus;
use crate::delivery::dispatch::Dispatch;
use crate::listener::shared::SharedListener;
use crate::memory::EventMemory;
use crate::replays::Replays;
use crate::stall;
use crate::store::{Ledger, StoreBackend, StoreRoom};
use crate::telemetry;
use backlog::DeliveryBacklog;

/// Those who count.
pub struct MetricSources {
    /// Who is let in.
    pub access: Arc<Access>,
    /// Who is connected.
    pub connections: Arc<Connections>,
    /// Events, modules, hooks and accounts.
    pub listener: Arc<SharedListener>,
    /// What becomes of deliveries.
    pub dispatch: Vec<Arc<Dispatch>>,
    /// What is sent again.
    pub replays: Replays,
    /// Where events come from.
    pub bus: Arc<dyn Bus>,
    /// What events take.
    pub memory: Arc<EventMemory>,
    /// What is owed.
    pub ledger: Arc<dyn Ledger>,
    /// The backends of what is stored.
    pub backends: Vec<Arc<dyn StoreBackend>>,
}

/// The figures of a host.
pub struct Metrics {
    sources: MetricSources,
    backlog: DeliveryBacklog,
    /// When it started, in Unix seconds.
    started: f64,
}

impl Metrics {
    /// Figures of a host that starts now.
    #[must_use]
    pub fn new(sources: MetricSources) -> Self {
        Metrics { sources, backlog: DeliveryBacklog::default(), started: unix_seconds() }
    }

    /// All figures in Prometheus's text format. `ready` is whether the host takes events; `lost` says how many files of
    /// the data folder the next start will miss.
    ///
    /// # Errors
    /// The text cannot be written: a bug.
    pub async fn exposition(&self, ready: bool, lost: u64) -> Result<String, std::fmt::Error> {
        let MetricSources { access, connections, listener, dispatch, replays, bus, memory, ledger, backends } =
            &self.sources;
        let owed = self.backlog.counts(&**ledger).await;
        let process = tokio::task::spawn_blocking(process::read).await.unwrap_or_default();
        let mut families = figures::host(ready, self.started);
        families.extend(figures::events(&listener.counters));
        families.extend(figures::modules(&listener.registry.current()));
        families.extend(figures::module_changes(&listener.registry));
        families.extend(figures::failed_events(&listener.failures, &listener.registry.current()));
        families.extend(figures::deliveries(dispatch, owed));
        families.extend(figures::endpoints(dispatch));
        families
            .extend(dispatch.iter().take(1).flat_map(|shard| figures::attempts(&shard.attempts.counters)));
        families.extend(figures::replays(replays.counters()));
        families.extend(figures::backlog(owed, unix_seconds()));
        families.extend(figures::hooks(listener));
        families.extend(dispatch.iter().take(1).flat_map(|shard| figures::disabler(&shard.disabler)));
        families.extend(figures::bus(&**bus));
        families.extend(figures::memory::memory(memory));
        families.extend(figures::store(ledger.commits(), ledger.flushes(), owed.is_some()));
        families.extend(figures::room(
            backends.iter().filter_map(|backend| backend.room()).reduce(StoreRoom::with),
            lost,
        ));
        families.extend(figures::clients(connections));
        families.extend(figures::access(access));
        families.extend(figures::process(&process));
        families.extend(figures::machine(stall::counts(), telemetry::lost_lines()));
        exposition::text(families)
    }
}

fn unix_seconds() -> f64 {
    crate::clock::now().unix_timestamp_nanos() as f64 / 1e9
}
