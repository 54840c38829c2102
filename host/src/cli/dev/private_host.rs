//! A host for one module and its author: with data and plugins of its own, a receiver of its own, hooks for the accounts of
//! the samples, and no way to anybody else. The module runs in a process of its own, so that nothing it does ends this one.

use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::Url;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::hiding::RunWindow;
use super::planned::{RequestPlanner, wanted};
use super::receiver::{ArrivedRequests, DevReceiver};
use super::report::EventRun;
use super::samples::{SampleEvent, SampleSet};
use crate::app::{HostEnvironment, RunningHost, start_with};
use crate::clock;
use crate::config::{Config, Isolation, Synchronous};
use crate::delivery::resolve::NameResolver;
use crate::harmless::harmless_path;
use crate::hooks::accounts::AccountRecord;
use crate::model::{Hook, ModuleId};
use crate::module::answer_watch::AnswerWatch;
use crate::module::jobs::JobAnswer;
use crate::module::registry::LoadedModule;
use crate::module::reload::NotReloaded;

/// How long the host waits for requests under way when it ends.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// How long a module's file may take to be taken or refused.
const TAKEN_WITHIN: Duration = Duration::from_secs(20);

/// How long the requests of an event may be on their way.
const ARRIVE_WITHIN: Duration = Duration::from_secs(10);

/// A module that serves.
pub(super) struct ServedModule {
    pub(super) id: ModuleId,
    pub(super) generation: u64,
}

/// A host that runs in this process until it is ended.
pub(super) struct PrivateHost {
    host: RunningHost,
    receiver: DevReceiver,
    answers: Arc<AnswerSlot>,
    folder: TempDir,
    /// The module's file in the plugins folder, once there is one.
    file: Option<PathBuf>,
    /// Events posted so far.
    posted: usize,
}

impl PrivateHost {
    /// Starts it with these settings, as far as they say how modules are called and requests look.
    ///
    /// # Errors
    /// There is no room for its files, or no port.
    pub(super) async fn start(settings: &Config) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("hookline-dev-").tempdir();
        let folder = folder.context("making a folder for the private host")?;
        let mut private = std::fs::DirBuilder::new();
        private.mode(0o700).create(folder.path().join("plugins")).context("making its plugins folder")?;
        let receiver = DevReceiver::start()?;
        let answers = Arc::<AnswerSlot>::default();
        let seen = Arc::clone(&answers);
        let outside = HostEnvironment {
            resolver: Arc::new(NoNames),
            receiver: Some(receiver.address),
            only_receiver: true,
            answers: Some(AnswerWatch::new(move |event, answer| seen.see(event.json(), answer))),
        };
        let host = start_with(private_settings(settings, folder.path())?, outside).await?;
        Ok(PrivateHost { host, receiver, answers, folder, file: None, posted: 0 })
    }

    /// Where its API listens.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.host.address)
    }

    /// Its data folder, with the administrator's token.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Takes a library into service: as a new generation, also where it is the same file, so that each run begins with a
    /// module that has seen nothing. The inner error is why the host refuses it; what served before goes on.
    ///
    /// # Errors
    /// The file cannot be copied, or the host does not look at it.
    pub(super) async fn serve(&mut self, library: &Path) -> anyhow::Result<Result<ServedModule, String>> {
        let file = self.put(library).await?;
        let modules = &self.host.parts.modules;
        let until = Instant::now() + TAKEN_WITHIN;
        let mut is_reloaded = false;
        while Instant::now() < until {
            let served = self.served();
            if let Some(module) = served.as_ref().filter(|_| !is_reloaded) {
                match modules.reloader.reload(module.id.as_str()).await {
                    Ok(_) => is_reloaded = true,
                    Err(NotReloaded::Refused(why)) => return Ok(Err(why)),
                    Err(NotReloaded::Unfinished(_) | NotReloaded::Unknown(_)) => {}
                }
            } else {
                modules.reloader.scan().await?;
                // A fresh one needs no second life.
                is_reloaded = true;
            }
            let others = modules.registry.current().modules().any(|module| module.file != file);
            if let Some(module) = self.served().filter(|_| is_reloaded && !others) {
                return Ok(Ok(ServedModule {
                    id: module.id.clone(),
                    generation: module.figures().generation,
                }));
            }
            let refused = modules.registry.refused().into_iter().find(|refused| refused.file == file);
            if let Some(refused) = refused {
                return Ok(Err(format!("{} {}", shown_name(&file), refused.reason)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(anyhow!("the private host did not take {} within {} s", file.display(), TAKEN_WITHIN.as_secs()))
    }

    /// Puts the file into the plugins folder, whole and readable by nobody else, in the place of the one before.
    async fn put(&mut self, library: &Path) -> anyhow::Result<PathBuf> {
        let name = library.file_name().context("the library has no name")?;
        let (file, new) =
            (self.folder.path().join("plugins").join(name), self.folder.path().join("plugins/.new"));
        let before = self.file.replace(file.clone()).filter(|before| *before != file);
        let (from, to) = (library.to_owned(), file.clone());
        let copying = move || -> std::io::Result<()> {
            std::fs::copy(&from, &new)?;
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
            std::fs::rename(&new, &to)?;
            before.map_or(Ok(()), std::fs::remove_file)
        };
        let copied = tokio::task::spawn_blocking(copying).await.context("copying the library")?;
        copied.with_context(|| format!("copying {} into the private host", library.display()))?;
        Ok(file)
    }

    fn served(&self) -> Option<Arc<LoadedModule>> {
        let current = self.host.parts.modules.registry.current();
        current.modules().find(|module| Some(&module.file) == self.file.as_ref()).cloned()
    }

    /// Gives each account of the samples a hook to the receiver for what the module fires.
    ///
    /// # Errors
    /// None that a sample can cause.
    pub(super) fn know(&self, samples: &SampleSet) -> anyhow::Result<()> {
        let Some(module) = self.served() else { return Ok(()) };
        let hooks = &self.host.parts.hooks;
        samples.described().iter().for_each(|account| hooks.accounts.put(account.clone()));
        for account in samples.accounts() {
            if hooks.accounts.get(&account.into()).is_none() {
                let Value::Object(document) = json!({"_id": account, "name": account}) else { continue };
                if let Some(account) = AccountRecord::from_document(&document) {
                    hooks.accounts.put(account);
                }
            }
            let mut uri = Url::parse(&format!("http://{}", self.receiver.address))?;
            if let Ok(mut path) = uri.path_segments_mut() {
                path.push(account);
            }
            let hook = json!({
                "_id": format!("dev_{account}"), "pvt_account_id": account, "name": account,
                "hook": module.id.hook_name(), "uri": uri.as_str(), "format": "json",
            });
            let Value::Object(hook) = hook else { continue };
            hooks.table.put(Hook::from_document(&hook).context("a hook for an account of the samples")?);
        }
        Ok(())
    }

    /// Posts one event and waits for what comes of it.
    pub(super) async fn run(&mut self, sample: &SampleEvent) -> EventRun {
        let from_ms = clock::now_ms();
        let mut run = EventRun {
            kind: sample.kind.clone(),
            failure: None,
            note: None,
            planned: Vec::new(),
            arrived: ArrivedRequests::default(),
            window: RunWindow { from_ms, to_ms: from_ms },
        };
        match self.revived().await {
            Ok(module) => self.run_through(&module, sample, &mut run).await,
            Err(error) => run.failure = Some(format!("{error:#}")),
        }
        run.window.to_ms = clock::now_ms();
        run
    }

    async fn run_through(&mut self, module: &LoadedModule, sample: &SampleEvent, run: &mut EventRun) {
        // The same event once more would be recognised, and cause nothing.
        self.posted += 1;
        let text = format!("{}{:width$}", sample.text, "", width = self.posted);
        self.receiver.forget();
        self.answers.expect(&text);
        let posted = self.host.parts.listener.inlet.post(vec![Bytes::from(text)], None).await;
        let answer = self.answers.take();
        let (category, name) = &sample.kind;
        let answered = self.host.parts.modules.registry.current().answering(category, name);
        match (answer, posted) {
            (Some(Ok(firings)), _) => {
                let parts = &self.host.parts;
                let planner = RequestPlanner {
                    config: &parts.config,
                    table: &parts.hooks.table,
                    accounts: &parts.hooks.accounts,
                    hook_event: module.id.hook_name(),
                };
                if firings.is_empty() {
                    run.note = Some("fires nothing".to_owned());
                }
                run.planned = planner.plan(firings);
                run.arrived = self.receiver.take(&wanted(&run.planned), ARRIVE_WITHIN).await;
            }
            (Some(Err(failure)), _) => run.failure = Some(format!("{} {failure}", module.id)),
            (None, Err(error)) => run.failure = Some(error.to_string()),
            (None, Ok(_)) if answered.is_empty() => run.note = Some(not_answered(module)),
            (None, Ok(_)) => run.failure = Some("the host did not ask the module".to_owned()),
        }
    }

    /// The module; one that hung too often is begun anew, as the events that follow are not its fault.
    async fn revived(&self) -> anyhow::Result<Arc<LoadedModule>> {
        let served = || self.served().context("no module serves in the private host");
        let module = served()?;
        if !module.figures().quarantined {
            return Ok(module);
        }
        let reloaded = self.host.parts.modules.reloader.reload(module.id.as_str()).await;
        reloaded.context("beginning anew with a module that hung too often")?;
        served()
    }

    /// Ends it and removes its files.
    ///
    /// # Errors
    /// It had ended by itself, or a file stays.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let ended = self.host.stop().await;
        let removed = self.folder.close().context("removing the private host's folder");
        ended.and(removed)
    }
}

fn shown_name(file: &Path) -> String {
    harmless_path(file.file_name().map_or(file, Path::new))
}

fn not_answered(module: &LoadedModule) -> String {
    let pairs = module.wants().responders.iter().map(|pair| format!("{}/{}", pair.category, pair.name));
    format!("{} does not answer it; it answers: {}", module.id, pairs.collect::<Vec<_>>().join(", "))
}

/// What is never the author's to choose, over what may be.
fn private_settings(settings: &Config, folder: &Path) -> anyhow::Result<Config> {
    let mut config = Config::defaults()?;
    config.kazoo = settings.kazoo.clone();
    config.kazoo.cluster_id.get_or_insert_with(|| "dev".to_owned());
    config.delivery.profile = settings.delivery.profile;
    config.modules.call_timeout_ms = settings.modules.call_timeout_ms;
    // When it is looked at, is said here.
    config.modules.hot_reload = false;
    config.modules.isolation = Isolation::Process;
    config.plugins_dir = folder.join("plugins");
    config.data_dir = folder.join("data");
    config.api.listen = ([127, 0, 0, 1], 0).into();
    config.store.synchronous = Synchronous::Normal;
    config.stop_timeout = STOP_WITHIN;
    Ok(config)
}

/// What the module answered to the event in hand.
#[derive(Default)]
struct AnswerSlot(Mutex<(String, Option<JobAnswer>)>);

impl AnswerSlot {
    fn expect(&self, event: &str) {
        *self.0.lock() = (event.to_owned(), None);
    }

    fn see(&self, event: &str, answer: &JobAnswer) {
        let mut slot = self.0.lock();
        // Somebody else may post events of their own.
        if slot.0 == event {
            slot.1 = Some(answer.clone());
        }
    }

    fn take(&self) -> Option<JobAnswer> {
        self.0.lock().1.take()
    }
}

/// No name leads anywhere.
struct NoNames;

#[async_trait]
impl NameResolver for NoNames {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Err(std::io::Error::other("a private host looks up no names"))
    }
}
