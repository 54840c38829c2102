//! The parts of a host and how they hang together. They outlive the children that work with them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::buses::bus;
use super::descriptors;
use super::kept_files::{KeptFiles, key_file};
use super::views::{HookCache, Schema, node_name};
use crate::access::Access;
use crate::access::log_ins::LogIns;
use crate::access::token::first_token;
use crate::api::connections::Connections;
use crate::api::pacing::SharedWork;
use crate::attempts::log::{self as attempts_log, AttemptQueue, AttemptsLog};
use crate::bus::embedded::EventInlet;
use crate::bus::{Bus, IncomingMessage};
use crate::config::{self, Config};
use crate::delivery::client::{ClientLimits, EndpointClient};
use crate::delivery::dispatch::{DeliveryCounters, Dispatch};
use crate::delivery::due::DueDeliveries;
use crate::delivery::gate::SendGate;
use crate::delivery::names::NameCache;
use crate::delivery::outcomes::OutcomeWriter;
use crate::delivery::queue::DeliveryQueue;
use crate::delivery::resolve::NameResolver;
use crate::delivery::retries::{DueRetries, LongestWaits};
use crate::delivery::schedule;
use crate::delivery::scheduler::SchedulerLimits;
use crate::delivery::test_send::TestSends;
use crate::delivery::work::RetryPolicy;
use crate::disabler::Disabler;
use crate::hooks::accounts::Accounts;
use crate::hooks::document::UriRules;
use crate::hooks::editor::Editor;
use crate::hooks::table::HookTable;
use crate::hooks::vault::Vault;
use crate::listener::shared::{self, SharedListener};
use crate::memory::EventMemory;
use crate::metrics::{MetricSources, Metrics};
use crate::model::AccountId;
use crate::model::guard::Guard;
use crate::module::folder::ModuleLoading;
use crate::module::registry::ModuleRegistry;
use crate::module::reload::{ModuleReloader, RELEASE_WITHIN};
use crate::module::services::LendableServices;
use crate::module::settings::settings_for_modules;
use crate::replays::Replays;
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{AuditKeep, Documents, Ledger, StoreBackend};
use crate::stream::HostStream;
use crate::supervision::RuntimeThread;

mod opening;

use opening::{
    StoreSet, access, attempts_limits, cluster_id, crews, fresh_folder, limits, open_stores,
    refuse_lost_secrets, vault,
};

/// Messages between a bus and the listener: the bus's own bounds are what holds it back.
const INTAKE: usize = 64;

/// Everything that a host is made of.
pub struct HostParts {
    /// Its settings.
    pub config: Config,
    /// Where accounts, hooks, metadata and settings are.
    pub documents: Arc<dyn Documents>,
    /// Where deliveries, attempts, tokens and what else is written all the time are.
    pub ledger: Arc<dyn Ledger>,
    /// The backends behind these two.
    pub backends: Vec<Arc<dyn StoreBackend>>,
    /// Who reaches the host, and who changed what.
    pub access: Arc<Access>,
    /// The clients of the API that are connected.
    pub connections: Arc<Connections>,
    /// The one way in which hooks and accounts change.
    pub editor: Arc<Editor>,
    /// What becomes of hooks that fail.
    pub disabler: Arc<Disabler>,
    /// The hooks.
    pub table: Arc<HookTable>,
    /// The account tree.
    pub accounts: Arc<Accounts>,
    /// The loaded modules.
    pub registry: Arc<ModuleRegistry>,
    /// Where events come from.
    pub bus: Arc<dyn Bus>,
    /// The way in for events from the API, whatever the bus.
    pub inlet: EventInlet,
    /// Where deliveries become durable.
    pub queue: DeliveryQueue,
    /// Deliveries that wait for another try.
    pub retries: Arc<DueRetries>,
    pub(super) longest_waits: LongestWaits,
    /// Sends dead deliveries again.
    pub replays: Replays,
    /// Sends tests.
    pub test_sends: Arc<TestSends>,
    /// Sends.
    pub dispatch: Arc<Dispatch>,
    /// Turns events into deliveries.
    pub listener: Arc<SharedListener>,
    /// The memory that events may take.
    pub memory: Arc<EventMemory>,
    pub(super) intake: mpsc::Sender<IncomingMessage>,
    pub(super) arriving: Arc<AsyncMutex<mpsc::Receiver<IncomingMessage>>>,
    pub(super) outcomes: Arc<AsyncMutex<OutcomeWriter>>,
    pub(super) attempts: Arc<AsyncMutex<AttemptQueue>>,
    pub(super) stop: CancellationToken,
    /// Turns what is in the plugins folder into what is loaded.
    pub reloader: ModuleReloader,
    /// What happens, for those who watch.
    pub stream: Arc<HostStream>,
    /// Shows what the others count.
    pub metrics: Metrics,
    /// The thread of those who take events.
    pub(super) taking: Arc<RuntimeThread>,
    /// The thread of those who send deliveries.
    pub(super) sending: Arc<RuntimeThread>,
    modules_loaded: AtomicBool,
    /// What `/metrics` answers.
    pub(super) shown: SharedWork<Result<String, std::fmt::Error>>,
    /// Files that the next start needs.
    pub(super) kept_files: KeptFiles,
}

/// What is outside the host and not a setting.
pub struct HostEnvironment {
    /// Whom names are looked up with.
    pub resolver: Arc<dyn NameResolver>,
    /// A receiver of the host's own, which hooks may reach although it is local.
    pub receiver: Option<SocketAddr>,
}

impl Default for HostEnvironment {
    fn default() -> Self {
        HostEnvironment { resolver: Arc::new(NameCache::of_system()), receiver: None }
    }
}

impl HostParts {
    /// Opens the store and reads what is in it. Nothing runs yet.
    ///
    /// # Errors
    /// The data folder cannot be used, or a setting of the broker or the proxy does not work.
    pub async fn new(
        config: Config,
        outside: HostEnvironment,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let StoreSet { documents, ledger, backends } = open_stores(&config)?;
        let cluster_id: Arc<str> = cluster_id(&config, &*documents).await?.into();
        let (table, accounts) = (Arc::new(HookTable::new()), Arc::new(Accounts::new()));
        let registry = Arc::new(ModuleRegistry::default());
        let profile = config.delivery.profile;
        let stream = Arc::new(HostStream::default());
        let disabler = Arc::new(Disabler::new(
            profile,
            &config.disabler,
            Arc::clone(&accounts),
            Arc::clone(&stream),
            node_name(),
        ));
        let guard = Guard::allowing(config.delivery.allow_targets.clone()).and_exactly(outside.receiver);
        let vault = Arc::new(vault(&config)?);
        let shelves = HookCache {
            table: Arc::clone(&table),
            accounts: Arc::clone(&accounts),
            vault: Arc::clone(&vault),
            disabler: Arc::clone(&disabler),
        };
        let uris = UriRules { guard: Some(guard.clone()), ..UriRules::default() };
        let schema = Schema { registry: Arc::clone(&registry), uris };
        let editor = Arc::new(Editor::new(
            Arc::clone(&documents),
            Arc::new(shelves),
            Arc::new(schema),
            Arc::clone(&vault),
            config.limits,
        ));
        let loaded = editor.load().await.context("reading the accounts and hooks")?;
        // After the hooks, as whatever changes a hook makes its failures forgotten.
        disabler.load(&*documents, &*ledger).await.context("reading the failures of hooks")?;
        refuse_lost_secrets(&table, config.store.start_with_lost_secrets)?;
        vault.make_missing_key()?;
        let shares = descriptors::share_out(config.api.max_connections);
        let connections = Arc::new(Connections::new(shares.clients, config.api.header_timeout()));
        let access = Arc::new(access(&config, &documents, &ledger, &accounts, &vault).await?);
        info!(accounts = loaded.accounts, hooks = loaded.hooks, "documents read");

        let (intake, arriving) = mpsc::channel(INTAKE);
        let memory = Arc::new(EventMemory::new(config.memory.events_bytes));
        let inlet = EventInlet::new(Arc::clone(&memory));
        let bus = bus(&config.bus, &inlet, &memory)?;
        let delivery = &config.delivery;
        let gate = Arc::new(SendGate::new(Arc::clone(&table), Arc::clone(&disabler), delivery.rate_limit()));
        let due = Arc::new(DueDeliveries::new(
            SchedulerLimits::of(delivery),
            Arc::clone(&accounts),
            Arc::clone(&gate),
        ));
        let queue = DeliveryQueue::new(ledger.clone(), Arc::clone(&due), profile, cluster_id);
        let (told, outcomes) = OutcomeWriter::new();
        let retries = Arc::new(DueRetries::new(schedule::longest(&delivery.retry_schedule_ms)));
        let longest_waits =
            LongestWaits { table: Arc::clone(&table), schedule_ms: delivery.retry_schedule_ms.clone() };
        let (attempts, log) = AttemptsLog::new(attempts_limits(&config));
        let dead_retention = Duration::from_millis(delivery.dead_retention_ms);
        let replays =
            Replays::new(Arc::clone(&ledger), Arc::clone(&table), Arc::clone(&retries), dead_retention);
        let dispatch = Arc::new(Dispatch {
            due,
            ledger: ledger.clone(),
            queue: queue.clone(),
            table: Arc::clone(&table),
            gate,
            disabler: Arc::clone(&disabler),
            editor: Arc::clone(&editor),
            client: EndpointClient::new(
                &limits(delivery, shares.endpoints),
                Arc::new(guard),
                outside.resolver,
            )?,
            rules: RetryPolicy { profile, retry_schedule_ms: delivery.retry_schedule_ms.clone() },
            retries: Arc::clone(&retries),
            counters: Arc::new(DeliveryCounters::default()),
            outcomes: told,
            attempts: Arc::new(attempts),
            stream: Arc::clone(&stream),
        });
        let test_sends = Arc::new(TestSends::new(
            Arc::clone(&table),
            queue.clone(),
            dispatch.client.clone(),
            profile,
            Arc::clone(&dispatch.attempts),
        ));
        let listener = Arc::new(SharedListener {
            registry: Arc::clone(&registry),
            table: Arc::clone(&table),
            accounts: Arc::clone(&accounts),
            queue: queue.clone(),
            memory: Arc::clone(&memory),
            counters: shared::ListenerCounters::default(),
        });
        let lendable = LendableServices {
            settings: Arc::new(settings_for_modules(&config)),
            accounts: Arc::clone(&accounts),
        };
        let copies = fresh_folder(&config.data_dir.join("generations"))?;
        let reloader = ModuleReloader::new(
            config.plugins_dir.clone(),
            ModuleLoading::new(copies, lendable, &config.modules),
            Arc::clone(&registry),
            Arc::clone(&bus),
            Arc::clone(&documents),
            config.modules.call_timeout(),
            Arc::clone(&stream),
        );
        let metrics = Metrics::new(MetricSources {
            access: Arc::clone(&access),
            connections: Arc::clone(&connections),
            listener: Arc::clone(&listener),
            dispatch: Arc::clone(&dispatch),
            replays: replays.clone(),
            bus: Arc::clone(&bus),
            ledger: Arc::clone(&ledger),
            backends: backends.clone(),
            memory: Arc::clone(&memory),
        });
        let kept_files = KeptFiles::of(&config);
        let (taking, sending) = crews().context("starting the threads of the pipeline")?;
        Ok(HostParts {
            config,
            documents,
            ledger,
            backends,
            access,
            connections,
            editor,
            disabler,
            table,
            accounts,
            registry,
            bus,
            inlet,
            queue,
            retries,
            longest_waits,
            replays,
            test_sends,
            dispatch,
            listener,
            memory,
            intake,
            arriving: Arc::new(AsyncMutex::new(arriving)),
            outcomes: Arc::new(AsyncMutex::new(outcomes)),
            attempts: Arc::new(AsyncMutex::new(log)),
            stop,
            reloader,
            stream,
            metrics,
            taking,
            sending,
            modules_loaded: AtomicBool::new(false),
            shown: SharedWork::default(),
            kept_files,
        })
    }

    /// Looks at the plugins folder for the first time; at a later start of the child, for what has changed.
    pub(super) async fn load_modules(&self) -> anyhow::Result<()> {
        let first = !self.modules_loaded.load(Ordering::Acquire);
        match self.reloader.scan().await {
            Ok(_) => self.modules_loaded.store(true, Ordering::Release),
            Err(error) if first => return Err(error),
            Err(error) => warn!(
                reason = format!("{error:#}"),
                "the plugins folder cannot be used, what is loaded stays"
            ),
        }
        Ok(())
    }

    /// Whether events are taken; the reasons why not, for people.
    ///
    /// # Errors
    /// The reasons.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        let mut reasons = Vec::new();
        if self.stop.is_cancelled() {
            reasons.push("the host is stopping".to_owned());
        }
        if !self.modules_loaded.load(Ordering::Acquire) {
            reasons.push("the modules are not loaded yet".to_owned());
        }
        match self.bus.state() {
            crate::bus::BusState::Connected => {}
            crate::bus::BusState::Starting => reasons.push("the bus is not connected yet".to_owned()),
            crate::bus::BusState::Lost { since, reason } => {
                reasons.push(format!("the bus is lost since {since}: {reason}"));
            }
            crate::bus::BusState::Stopped => reasons.push("the bus has stopped".to_owned()),
        }
        reasons.extend(self.bus.problems());
        reasons.extend(
            self.backends
                .iter()
                .filter_map(|backend| backend.trouble())
                .map(|trouble| format!("the store cannot be written: {trouble}")),
        );
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// Ends what is no child: the modules' threads and the store's.
    pub(super) async fn close(&self) {
        self.access.close().await;
        self.editor.close().await;
        self.registry.stop(RELEASE_WITHIN).await;
        for backend in &self.backends {
            if let Err(error) = backend.close().await {
                warn!(%error, "the store did not close well");
            }
        }
    }
}
