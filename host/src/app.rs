//! The composition root: the only place that names a concrete bus or store.
//!
//! Making the parts and running them are separate acts: [`Parts::new`] opens files and reads them, [`start`]
//! listens and serves.

mod demo;
mod parts;
mod tree;
mod views;
mod figures;
mod signals;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use parts::{Outside, Parts};

use crate::cli::RunArgs;
use crate::config::{Config, Origin, Origins};
use crate::supervision::{SupervisorExit, SupervisorHandle};
use crate::telemetry;

/// A host that takes events.
pub struct RunningHost {
    /// Where its API listens.
    pub address: SocketAddr,
    /// What it is made of.
    pub parts: Arc<Parts>,
    /// Its children.
    pub children: SupervisorHandle,
    stop: CancellationToken,
    ended: JoinHandle<SupervisorExit>,
}

/// Starts a host and returns once every child is ready.
///
/// # Errors
/// What keeps it from starting: the data folder, the plugins folder, the address.
pub async fn start(config: Config) -> anyhow::Result<RunningHost> {
    start_with(config, Outside::default()).await
}

/// [`start`] in other surroundings than usual.
///
/// # Errors
/// As [`start`].
pub async fn start_with(config: Config, outside: Outside) -> anyhow::Result<RunningHost> {
    start_until(config, outside, None, CancellationToken::new()).await
}

/// With the listener of the demo's receiver, the host also feeds itself.
async fn start_until(
    config: Config,
    outside: Outside,
    demo: Option<TcpListener>,
    stop: CancellationToken,
) -> anyhow::Result<RunningHost> {
    let listen = config.api.listen;
    let listener =
        TcpListener::bind(listen).with_context(|| format!("listening on {listen} (api.listen, --listen)"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let parts = Arc::new(Parts::new(config, outside, stop.clone()).await?);
    let mut children = tree::supervisor(&parts, listener);
    if let Some(receiver) = demo {
        children = children.child(tree::child("demo", &parts, move |parts, context| {
            let receiver = receiver.try_clone();
            async move { demo::run(parts, receiver?, context).await }
        }));
    }
    let running = match children.start(&stop).await {
        Ok(running) => running,
        Err(error) => {
            parts.close().await;
            return Err(error.into());
        }
    };
    let children = running.handle();
    // The tracker owns the one task that owns all others.
    let (own_stop, own_parts) = (stop.clone(), Arc::clone(&parts));
    let ended = TaskTracker::new().spawn(async move {
        let exit = running.run(&own_stop).await;
        own_parts.close().await;
        exit
    });
    Ok(RunningHost { address, parts, children, stop, ended })
}

impl RunningHost {
    /// Stops taking events, finishes or saves what is in flight, and ends.
    ///
    /// # Errors
    /// It had ended before, because restarts of a child did not help.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// Restarts of a child did not help.
    pub async fn ended(self) -> anyhow::Result<()> {
        match self.ended.await.context("the supervisor crashed")? {
            SupervisorExit::Stopped => Ok(()),
            SupervisorExit::TooManyRestarts { child, last_error } => {
                bail!("{child} was restarted too often, last because: {last_error}")
            }
        }
    }
}

/// `hookline run`: a host in the foreground until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting or from running.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let (config, origins) = args.load_config()?;
    telemetry::init(&config.log)?;
    warn_of_settings_without_effect(&origins);
    let demo = args.demo.then(demo::receiver).transpose()?;
    let receiver = demo.as_ref().map(TcpListener::local_addr).transpose()?;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let watching = tasks.spawn(signals::cancel_on_signal(stop.clone())?);
    let host = start_until(config, Outside { receiver, ..Outside::default() }, demo, stop).await?;
    announce(host.address)?;
    let ended = host.ended().await;
    watching.abort();
    info!("stopped");
    ended
}

/// Settings that are part of the interface already and of nothing else yet.
const WITHOUT_EFFECT: [&str; 3] =
    ["disabler.attempt_failure_count", "disabler.attempt_failure_expiry_ms", "disabler.disable_disabler"];

/// Nobody should believe in a setting that does nothing.
fn warn_of_settings_without_effect(origins: &Origins) {
    for key in WITHOUT_EFFECT {
        if origins.get(key).is_some_and(|setting| setting.origin != Origin::Default.to_string()) {
            warn!(setting = key, "this setting has no effect in this version");
        }
    }
}

/// The one line on stdout, for people and for scripts that wait for it.
fn announce(address: SocketAddr) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}
