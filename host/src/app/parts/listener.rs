//! From the bus to planned deliveries: where events come from, how much memory they may take, and who turns them into
//! deliveries.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinSet;

use super::{HookParts, HostStores};
use crate::app::buses::bus;
use crate::bus::embedded::EventInlet;
use crate::bus::{Bus, EventIntake, IncomingMessage};
use crate::config::{self, Config, ReplayFailed};
use crate::delivery::queue::DeliveryQueue;
use crate::listener::failed_events::{FailedEventKeeping, FailedEventRules};
use crate::listener::replaying::ModuleReplays;
use crate::listener::shared::{ListenerCounters, SharedListener};
use crate::memory::EventMemory;
use crate::module::registry::ModuleRegistry;
use crate::store::FailedEventLimits;
use crate::stream::HostStream;
use crate::supervision::{ChildContext, ChildSpec, Restart, RuntimeThread};

/// Messages between a bus and the listener: the bus's own bounds are what holds it back.
const INTAKE: usize = 256;

/// How long a bus may take to settle with its broker what the listener has in hand when it stops.
const BUS_STOPS_WITHIN: Duration = Duration::from_secs(10);

/// Everything that takes events.
pub struct ListenerParts {
    /// Where events come from.
    pub bus: Arc<dyn Bus>,
    /// The way in for events from the API, whatever the bus.
    pub inlet: EventInlet,
    /// Turns events into deliveries.
    pub listener: Arc<SharedListener>,
    /// The memory that events may take.
    pub memory: Arc<EventMemory>,
    /// Hands events that modules failed on to them again.
    pub module_replays: Arc<ModuleReplays>,
    intake: EventIntake,
    arriving: Vec<Arc<AsyncMutex<mpsc::Receiver<IncomingMessage>>>>,
    threads: Vec<Arc<RuntimeThread>>,
    /// The first of them, where there is what there is one of.
    thread: Arc<RuntimeThread>,
}

/// What they are built from.
pub(super) struct ListenerDeps<'a> {
    /// Where failed events are kept.
    pub(super) stores: &'a HostStores,
    /// Who is told of failed events.
    pub(super) stream: &'a Arc<HostStream>,
    /// Who answers events.
    pub(super) registry: &'a Arc<ModuleRegistry>,
    /// Who wants what the modules answer.
    pub(super) hooks: &'a HookParts,
    /// Where deliveries become durable.
    pub(super) queue: DeliveryQueue,
    /// Where the shards run; on the first one, the bus, too.
    pub(super) threads: Vec<Arc<RuntimeThread>>,
}

impl ListenerParts {
    /// The bus is not connected yet.
    ///
    /// # Errors
    /// The address of the broker cannot be used.
    pub(super) fn build(config: &Config, deps: ListenerDeps<'_>) -> anyhow::Result<Arc<Self>> {
        let (queues, arriving): (Vec<_>, Vec<_>) = deps.threads.iter().map(|_| mpsc::channel(INTAKE)).unzip();
        let table = Arc::clone(&deps.hooks.table);
        let intake = EventIntake::new(queues, Arc::new(move || table.has_ordered()));
        let memory = Arc::new(EventMemory::new(config.memory.events_bytes));
        let inlet = EventInlet::new(Arc::clone(&memory));
        let bus = bus(&config.bus, &inlet, &memory)?;
        let listener = Arc::new(SharedListener {
            registry: Arc::clone(deps.registry),
            table: Arc::clone(&deps.hooks.table),
            accounts: Arc::clone(&deps.hooks.accounts),
            queue: deps.queue,
            failures: Arc::new(FailedEventKeeping::new(failed_event_rules(&config.modules))),
            memory: Arc::clone(&memory),
            counters: ListenerCounters::default(),
        });
        let module_replays = Arc::new(ModuleReplays::new(
            Arc::clone(&listener),
            Arc::clone(&deps.stores.ledger),
            Arc::clone(deps.stream),
            Duration::from_millis(config.modules.failed_retention_ms),
            config.modules.replay_failed == ReplayFailed::OnNewGeneration,
        ));
        let arriving = arriving.into_iter().map(AsyncMutex::new).map(Arc::new).collect();
        let threads = deps.threads;
        let thread = threads.first().cloned().context("there is no thread")?;
        Ok(Arc::new(ListenerParts {
            bus,
            inlet,
            listener,
            memory,
            module_replays,
            intake,
            arriving,
            threads,
            thread,
        }))
    }

    /// Works on the jobs that hand failed events to modules again, and forgets what failed too long ago.
    pub(in crate::app) fn module_replays_child(self: &Arc<Self>) -> ChildSpec {
        ChildSpec::working_with("module_replays", Restart::Permanent, self, |parts, context| async move {
            context.ready.ready();
            let replays = &parts.module_replays;
            futures_util::join!(replays.run(&context.stop), replays.clean(&context.stop));
            Ok(())
        })
    }

    /// Turns events into deliveries.
    pub(in crate::app) fn shared_listener_child(self: &Arc<Self>) -> ChildSpec {
        let run = |parts: Arc<Self>, context: ChildContext| async move {
            context.ready.ready();
            let mut shards = JoinSet::new();
            for (arriving, thread) in parts.arriving.iter().zip(&parts.threads) {
                let (own, arriving, stop) = (Arc::clone(&parts), Arc::clone(arriving), context.stop.clone());
                let taking = async move { own.listener.run(arriving, stop).await };
                shards.spawn_on(taking, thread.runtime());
            }
            while let Some(ended) = shards.join_next().await {
                match ended {
                    Ok(ended) => ended?,
                    Err(error) => {
                        // On whichever thread they are: the next run takes what they leave.
                        shards.shutdown().await;
                        match error.try_into_panic() {
                            Ok(panic) => resume_unwind(panic),
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
            }
            Ok(())
        };
        ChildSpec::working_with("shared_listener", Restart::Permanent, self, run).with_crew(&self.thread)
    }

    /// Consumes, and connects again. Posted events are taken while it runs.
    pub(in crate::app) fn bus_child(self: &Arc<Self>) -> ChildSpec {
        let run = |parts: Arc<Self>, context: ChildContext| async move {
            parts.inlet.attach(parts.intake.clone());
            let ran = parts.bus.run(parts.intake.clone(), context.ready.into_sender(), context.stop).await;
            parts.inlet.detach();
            ran
        };
        ChildSpec::working_with("bus", Restart::Permanent, self, run)
            .stop_within(BUS_STOPS_WITHIN)
            .with_crew(&self.thread)
    }
}

fn failed_event_rules(settings: &config::Modules) -> FailedEventRules {
    let limits = FailedEventLimits { events: settings.failed_max_events, bytes: settings.failed_max_bytes };
    FailedEventRules { limits, overflow: settings.failed_overflow }
}
