//! The modules: which are loaded, when the folder is looked at, and what ends with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tracing::warn;

use super::{HookParts, HostStores};
use crate::bus::Bus;
use crate::config::Config;
use crate::listener::failed_events::FailedEventKeeping;
use crate::module::answer_watch::AnswerWatch;
use crate::module::healing::heal;
use crate::module::loading::ModuleLoading;
use crate::module::registry::ModuleRegistry;
use crate::module::reload::{ModuleReloader, RELEASE_WITHIN};
use crate::module::services::LendableServices;
use crate::module::settings::settings_for_modules;
use crate::module::watcher::watch;
use crate::stream::HostStream;
use crate::supervision::{ChildSpec, Restart};

/// The modules and how they are loaded.
pub struct ModuleParts {
    /// The loaded ones.
    pub registry: Arc<ModuleRegistry>,
    /// Turns what is in the plugins folder into what is loaded.
    pub reloader: ModuleReloader,
    /// What became of events that they failed on.
    pub failures: Arc<FailedEventKeeping>,
    loaded: AtomicBool,
    call_timeout: Duration,
    quarantine_pause: Duration,
    hot_reload: bool,
}

/// What they are built from.
pub(super) struct ModuleDeps<'a> {
    /// Where their metadata is stored.
    pub(super) stores: &'a HostStores,
    /// Where they are found once they are loaded.
    pub(super) registry: Arc<ModuleRegistry>,
    /// Whose accounts they may ask about.
    pub(super) hooks: &'a HookParts,
    /// What they bind to.
    pub(super) bus: &'a Arc<dyn Bus>,
    /// Who is told what is loaded and refused.
    pub(super) stream: &'a Arc<HostStream>,
    /// What becomes of events that they fail on.
    pub(super) failures: &'a Arc<FailedEventKeeping>,
    /// Who sees what they answer.
    pub(super) watch: Option<AnswerWatch>,
}

impl ModuleParts {
    /// None is loaded yet.
    ///
    /// # Errors
    /// The folder for their copies cannot be made.
    pub(super) fn build(config: &Config, deps: ModuleDeps<'_>) -> anyhow::Result<Arc<Self>> {
        let lendable = LendableServices {
            settings: Arc::new(settings_for_modules(config)),
            accounts: Arc::clone(&deps.hooks.accounts),
        };
        let copies = fresh_folder(&config.data_dir.join("generations"))?;
        let reloader = ModuleReloader::new(
            config.plugins_dir.clone(),
            ModuleLoading::new(copies, lendable, &config.modules).watched_by(deps.watch),
            Arc::clone(&deps.registry),
            Arc::clone(deps.bus),
            Arc::clone(&deps.stores.documents),
            config.modules.call_timeout(),
            Arc::clone(deps.stream),
        );
        Ok(Arc::new(ModuleParts {
            registry: deps.registry,
            reloader,
            failures: Arc::clone(deps.failures),
            loaded: AtomicBool::new(false),
            call_timeout: config.modules.call_timeout(),
            quarantine_pause: Duration::from_millis(config.modules.quarantine_pause_ms),
            hot_reload: config.modules.hot_reload,
        }))
    }

    /// Loads them, then watches the folder and gives up calls that hang.
    pub(in crate::app) fn modules_child(self: &Arc<Self>) -> ChildSpec {
        ChildSpec::working_with("modules", Restart::Permanent, self, |parts, context| async move {
            parts.load().await?;
            context.ready.ready();
            let hangs = parts.registry.watch_hangs(parts.call_timeout, context.stop.clone());
            let healing = heal(&parts.reloader, &parts.registry, parts.quarantine_pause, &context.stop);
            if parts.hot_reload {
                futures_util::join!(hangs, healing, watch(&parts.reloader, &context.stop));
            } else {
                futures_util::join!(hangs, healing);
            }
            Ok(())
        })
    }

    /// Whether the plugins folder was read once.
    pub(in crate::app) fn are_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Looks at the plugins folder for the first time; at a later start of the child, for what has changed.
    async fn load(&self) -> anyhow::Result<()> {
        let first = !self.are_loaded();
        match self.reloader.scan().await {
            Ok(_) => self.loaded.store(true, Ordering::Release),
            Err(error) if first => return Err(error),
            Err(error) => warn!(
                reason = format!("{error:#}"),
                "the plugins folder cannot be used, what is loaded stays"
            ),
        }
        Ok(())
    }

    /// Ends their threads and processes.
    pub(super) async fn close(&self) {
        self.registry.stop(RELEASE_WITHIN).await;
    }
}

/// An empty folder for copies of modules. The store's lock keeps other hosts out of the data folder.
fn fresh_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let doing = || format!("making the folder {} for copies of the modules", folder.display());
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(doing),
        _ => {}
    }
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(doing)?;
    Ok(folder.to_owned())
}
