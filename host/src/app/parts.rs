//! The parts of a host: five groups, each of which builds itself, and what each is given of the others. They outlive
//! the children that work with them.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::descriptors;
use crate::config::Config;
use crate::delivery::names::NameCache;
use crate::delivery::resolve::NameResolver;
use crate::model::guard::Guard;
use crate::module::answer_watch::AnswerWatch;
use crate::module::registry::ModuleRegistry;
use crate::stream::HostStream;

mod api;
mod delivery;
mod hooks;
mod listener;
pub(super) mod modules;
mod stores;
mod threads;

pub use api::ApiParts;
pub use delivery::DeliveryParts;
pub use hooks::HookParts;
pub use listener::ListenerParts;
pub use modules::ModuleParts;
pub use stores::HostStores;

use api::ApiDeps;
use delivery::DeliveryDeps;
use hooks::HookDeps;
use listener::ListenerDeps;
use modules::ModuleDeps;
use threads::PipelineThreads;

/// Everything that a host is made of.
pub struct HostParts {
    /// Its settings.
    pub config: Config,
    /// Where everything is kept.
    pub stores: HostStores,
    /// Hooks and accounts, and what becomes of hooks that fail.
    pub hooks: Arc<HookParts>,
    /// From a planned delivery to its outcome.
    pub delivery: Arc<DeliveryParts>,
    /// From the bus to planned deliveries.
    pub listener: Arc<ListenerParts>,
    /// The loaded modules, and how they are loaded.
    pub modules: Arc<ModuleParts>,
    /// What is answered over HTTP.
    pub api: Arc<ApiParts>,
}

/// What is outside the host and not a setting.
pub struct HostEnvironment {
    /// Whom names are looked up with.
    pub resolver: Arc<dyn NameResolver>,
    /// A receiver of the host's own, which hooks may reach although it is local.
    pub receiver: Option<SocketAddr>,
    /// Hooks may reach nothing but that receiver.
    pub only_receiver: bool,
    /// Who sees what modules answer.
    pub answers: Option<AnswerWatch>,
}

impl Default for HostEnvironment {
    fn default() -> Self {
        let resolver = Arc::new(NameCache::of_system());
        HostEnvironment { resolver, receiver: None, only_receiver: false, answers: None }
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
        let stores = HostStores::open(&config)?;
        let cluster_id: Arc<str> = stores.cluster_id(&config).await?.into();
        // Before everything else, since hooks are checked against the modules and modules are told about accounts.
        let registry = Arc::new(ModuleRegistry::new(config.modules.pinned_memory_limit));
        let stream = Arc::new(HostStream::default());
        let guard = match outside.only_receiver {
            true => Guard::closed(),
            false => Guard::allowing(config.delivery.allow_targets.clone()),
        };
        let guard = guard.and_exactly(outside.receiver);
        let node = node_name();
        let hooks =
            HookDeps { stores: &stores, registry: &registry, guard: &guard, stream: &stream, node: &node };
        let hooks = HookParts::build(&config, hooks).await?;
        let shares = descriptors::share_out(config.api.max_connections);
        let threads = PipelineThreads::start(&config).context("starting the threads of the pipeline")?;
        let delivery = DeliveryDeps {
            stores: &stores,
            hooks: &hooks,
            guard,
            resolver: outside.resolver,
            connections: shares.endpoints,
            cluster_id,
            stream: &stream,
            threads: threads.sending,
            bulk: threads.bulk,
        };
        let delivery = DeliveryParts::build(&config, delivery)?;
        let listener = ListenerDeps {
            stores: &stores,
            registry: &registry,
            hooks: &hooks,
            stream: &stream,
            queue: delivery.queue.clone(),
            threads: threads.taking,
        };
        let listener = ListenerParts::build(&config, listener)?;
        let modules = ModuleDeps {
            stores: &stores,
            registry,
            hooks: &hooks,
            bus: &listener.bus,
            stream: &stream,
            failures: &listener.listener.failures,
            watch: outside.answers,
        };
        let modules = ModuleParts::build(&config, modules)?;
        let api = ApiDeps {
            stores: stores.clone(),
            hooks: Arc::clone(&hooks),
            delivery: Arc::clone(&delivery),
            listener: Arc::clone(&listener),
            modules: Arc::clone(&modules),
            stream,
            node,
            thread: threads.serving,
        };
        let api = ApiParts::build(&config, api, shares.clients, stop).await?;
        Ok(HostParts { config, stores, hooks, delivery, listener, modules, api })
    }

    /// Ends what is no child: what is still being written, the modules' threads and the store's.
    pub(super) async fn close(&self) {
        self.api.access.close().await;
        self.hooks.editor.close().await;
        self.modules.close().await;
        self.stores.close().await;
    }
}

/// `hookline@HOST`: what envelopes call this process, as KAZOO's name an Erlang node.
fn node_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    format!("hookline@{host}")
}
