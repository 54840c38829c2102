//! What is answered over HTTP: who is let in, how many may be connected, and what the routes see of the other parts.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{DeliveryParts, HookParts, HostStores, ListenerParts, ModuleParts};
use crate::access::Access;
use crate::access::log_ins::LogIns;
use crate::access::token::first_token;
use crate::api::connections::{self, Connections};
use crate::api::{
    self, Api, ApiLimits, FigureSource, HostHealth, MetadataView, ModulesView, StrangerLimits, TestSender,
};
use crate::app::figures::HostFigures;
use crate::app::health::HostCondition;
use crate::app::intake::ListenerIntake;
use crate::app::kept_files::KeptFiles;
use crate::config::{self, Config};
use crate::metrics::{MetricSources, Metrics};
use crate::model::AccountId;
use crate::store::AuditKeep;
use crate::stream::HostStream;
use crate::supervision::{ChildContext, ChildSpec, Restart, RuntimeThread};

/// Everything that answers over HTTP.
pub struct ApiParts {
    /// Who reaches the host, and who changed what.
    pub access: Arc<Access>,
    /// The clients that are connected.
    pub connections: Arc<Connections>,
    /// Whether the host can do its work.
    pub(in crate::app) condition: Arc<HostCondition>,
    figures: Arc<HostFigures>,
    settings: config::Api,
    shows: ApiDeps,
}

/// What it shows and changes.
pub(super) struct ApiDeps {
    /// What is stored, for listings.
    pub(super) stores: HostStores,
    /// Hooks and accounts.
    pub(super) hooks: Arc<HookParts>,
    /// Deliveries, tests and replays.
    pub(super) delivery: Arc<DeliveryParts>,
    /// The way in for events.
    pub(super) listener: Arc<ListenerParts>,
    /// The modules.
    pub(super) modules: Arc<ModuleParts>,
    /// What happens, for those who watch.
    pub(super) stream: Arc<HostStream>,
    /// The name of this host in envelopes.
    pub(super) node: String,
    /// Where the child runs, if not on the threads that everything shares.
    pub(super) thread: Option<Arc<RuntimeThread>>,
}

impl ApiParts {
    /// Reads the tokens. At most so many clients may be connected; `stop` ends the host's being ready.
    ///
    /// # Errors
    /// The tokens cannot be read, or the administrator's not be made.
    pub(super) async fn build(
        config: &Config,
        deps: ApiDeps,
        clients: usize,
        stop: CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        let access = Arc::new(open_access(config, &deps.stores, &deps.hooks).await?);
        let connections = Arc::new(Connections::new(clients, config.api.header_timeout()));
        let condition = Arc::new(HostCondition {
            stop,
            modules: Arc::clone(&deps.modules),
            bus: Arc::clone(&deps.listener.bus),
            queue: config.bus.queue.clone(),
            backends: deps.stores.backends.clone(),
            // Now that the first token and the key are made.
            kept_files: KeptFiles::of(config),
        });
        let metrics = Metrics::new(MetricSources {
            access: Arc::clone(&access),
            connections: Arc::clone(&connections),
            listener: Arc::clone(&deps.listener.listener),
            dispatch: deps.delivery.dispatch.clone(),
            replays: deps.delivery.replays.clone(),
            bus: Arc::clone(&deps.listener.bus),
            ledger: Arc::clone(&deps.stores.ledger),
            backends: deps.stores.backends.clone(),
            memory: Arc::clone(&deps.listener.memory),
        });
        let figures = Arc::new(HostFigures::new(metrics, Arc::clone(&condition)));
        let settings = config.api.clone();
        Ok(Arc::new(ApiParts { access, connections, condition, figures, settings, shows: deps }))
    }

    /// Serves HTTP on this socket, then lets requests in hand end.
    pub(in crate::app) fn api_child(self: &Arc<Self>, listener: TcpListener) -> ChildSpec {
        let spec = ChildSpec::working_with("api", Restart::Permanent, self, move |parts, context| {
            let listener = listener.try_clone();
            async move { parts.serve(listener?, context).await }
        });
        match &self.shows.thread {
            Some(thread) => spec.with_crew(thread),
            None => spec,
        }
    }

    async fn serve(&self, listener: TcpListener, context: ChildContext) -> anyhow::Result<()> {
        let router = api::router(Arc::new(self.routes(context.stop.clone())));
        let router = api::with_cors(router, &self.settings.cors_origins);
        context.ready.ready();
        Ok(connections::serve(listener, router, Arc::clone(&self.connections), context.stop).await?)
    }

    /// What the routes work with, from one start of the child to the next.
    fn routes(&self, stop: CancellationToken) -> Api {
        let ApiDeps { stores, hooks, delivery, listener, modules, stream, node, .. } = &self.shows;
        Api {
            editor: Arc::clone(&hooks.editor),
            disabler: Arc::clone(&hooks.disabler),
            due: Arc::clone(&delivery.due),
            documents: Arc::clone(&stores.documents),
            ledger: Arc::clone(&stores.ledger),
            intake: Arc::new(ListenerIntake {
                inlet: listener.inlet.clone(),
                bus: Arc::clone(&listener.bus),
                ledger: Arc::clone(&stores.ledger),
            }),
            modules: Arc::clone(modules) as Arc<dyn ModulesView>,
            metadata: Arc::clone(&modules.registry) as Arc<dyn MetadataView>,
            health: Arc::clone(&self.condition) as Arc<dyn HostHealth>,
            figures: Arc::clone(&self.figures) as Arc<dyn FigureSource>,
            replays: delivery.replays.clone(),
            module_replays: Arc::clone(&listener.module_replays),
            tests: Arc::clone(&delivery.test_sends) as Arc<dyn TestSender>,
            stream: Arc::clone(stream),
            watchers: api::watchers(),
            stop,
            access: Arc::clone(&self.access),
            limits: ApiLimits {
                event_bytes: self.settings.max_event_bytes,
                request_bytes: self.settings.max_request_bytes,
                body_timeout: self.settings.body_timeout(),
                ..ApiLimits::default()
            },
            memory: Arc::clone(&listener.memory),
            node: node.clone(),
            strangers: StrangerLimits::default(),
        }
    }
}

async fn open_access(config: &Config, stores: &HostStores, hooks: &HookParts) -> anyhow::Result<Access> {
    let administrator = first_token(&config.data_dir)?.hash();
    let keep = AuditKeep { entries: config.api.audit_keep_entries, age_ms: config.api.audit_keep_ms };
    let exists = |account: &AccountId| hooks.accounts.get(account).is_some_and(|account| !account.deleted);
    let log_ins = LogIns::signed_with(&hooks.vault.log_in_key().unwrap_or_else(rand::random));
    let (documents, ledger) = (Arc::clone(&stores.documents), Arc::clone(&stores.ledger));
    Access::open(documents, ledger, administrator, keep, log_ins, exists).await.context("reading the tokens")
}
