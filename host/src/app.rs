//! The composition root: the only place that names a concrete bus or store.
//!
//! Making the parts and running them are separate acts: [`HostParts::new`] opens files and reads them, [`start`]
//! listens and serves.

mod buses;
mod demo;
mod descriptors;
mod editor_tables;
mod figures;
mod freed_memory;
mod health;
mod intake;
mod kept_files;
mod parts;
mod service;
mod signals;
mod stopping;
mod store_watch;
mod tree;
mod views;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use crate::store::sqlite::restore::{BackupContents, RestoredBackup, contents, restore};
pub use freed_memory::KEEP_FREED;
pub use parts::{
    ApiParts, DeliveryParts, HookParts, HostEnvironment, HostParts, HostStores, ListenerParts, ModuleParts,
};

use stopping::HostStop;

use crate::config::Config;
use crate::stall;
use crate::supervision::{ChildSpec, Restart, StartError, SupervisorExit, SupervisorHandle};
use crate::telemetry;

/// A host that takes events.
pub struct RunningHost {
    /// Where its API listens.
    pub address: SocketAddr,
    /// What it is made of.
    pub parts: Arc<HostParts>,
    /// Its children.
    pub children: SupervisorHandle,
    stopping: HostStop,
    ended: JoinHandle<SupervisorExit>,
    /// Owns the task that `ended` waits for.
    _tasks: TaskTracker,
}

/// Starts a host and returns once every child is ready.
///
/// # Errors
/// What keeps it from starting: the data folder, the plugins folder, the address.
pub async fn start(config: Config) -> anyhow::Result<RunningHost> {
    start_with(config, HostEnvironment::default()).await
}

/// [`start`] in other surroundings than usual.
///
/// # Errors
/// As [`start`].
pub async fn start_with(config: Config, outside: HostEnvironment) -> anyhow::Result<RunningHost> {
    start_until(config, outside, None, HostStop::default()).await
}

/// With the listener of the demo's receiver, the host also feeds itself.
async fn start_until(
    config: Config,
    outside: HostEnvironment,
    demo: Option<TcpListener>,
    stopping: HostStop,
) -> anyhow::Result<RunningHost> {
    // From here on stops of this process are noticed.
    stall::counts();
    let listen = config.api.listen;
    let listener =
        listen_on(listen).with_context(|| format!("listening on {listen} (api.listen, --listen)"))?;
    let address = listener.local_addr()?;
    let parts = Arc::new(HostParts::new(config, outside, stopping.stop.clone()).await?);
    let mut children = tree::supervisor(&parts, listener).hurried_by(stopping.at_once.clone());
    if let Some(receiver) = demo {
        let demo = ChildSpec::working_with("demo", Restart::Permanent, &parts, move |parts, context| {
            let receiver = receiver.try_clone();
            async move { demo::run(&parts, receiver?, context).await }
        });
        children = children.child(demo);
    }
    let running = match children.start(&stopping.stop).await {
        Ok(running) => running,
        Err(error) => {
            parts.close().await;
            return Err(error.into());
        }
    };
    let children = running.handle();
    // It owns the one task that owns all others.
    let tasks = TaskTracker::new();
    let (own_stopping, own_parts) = (stopping.clone(), Arc::clone(&parts));
    let ended = tasks.spawn(async move {
        let exit = tokio::select! {
            exit = running.run(&own_stopping.stop) => exit,
            never = own_stopping.at_once_after(own_parts.config.stop_timeout) => match never {},
        };
        own_parts.close().await;
        exit
    });
    Ok(RunningHost { address, parts, children, stopping, ended, _tasks: tasks })
}

impl RunningHost {
    /// Stops taking events, finishes or saves what is in flight, and ends.
    ///
    /// # Errors
    /// It had ended before, because restarts of a child did not help.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stopping.stop.cancel();
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

/// `hookline run`: a host in the foreground until SIGTERM or SIGINT; with `demo` it feeds itself.
///
/// # Errors
/// What kept it from starting or from running.
pub async fn run(config: Config, demo: bool) -> anyhow::Result<()> {
    freed_memory::keep_freed(false);
    let mut telemetry = telemetry::init(&config.log, &config.telemetry)?;
    raise_open_files();
    let demo = demo.then(demo::receiver).transpose()?;
    let receiver = demo.as_ref().map(TcpListener::local_addr).transpose()?;
    let stopping = HostStop::default();
    let tasks = TaskTracker::new();
    let watching = tasks.spawn(signals::stop_on_signal(stopping.clone())?);
    let outside = HostEnvironment { receiver, ..HostEnvironment::default() };
    let host = match start_until(config, outside, demo, stopping.clone()).await {
        // Whoever stops a host that is still starting gets what was asked for.
        Err(error) if matches!(error.downcast_ref(), Some(StartError::Stopped)) => {
            telemetry.end_traces().await;
            info!("stopped while starting");
            return Ok(());
        }
        started => started?,
    };
    freed_memory::keep_freed(true);
    announce(host.address)?;
    let telling = tasks.spawn(service::tell(host.address, stopping.stop.clone()));
    let ended = host.ended().await;
    watching.abort();
    // It may have ended by itself.
    stopping.stop.cancel();
    telling.await.context("telling the service manager")?;
    telemetry.end_traces().await;
    info!("stopped");
    ended
}

/// Bytes of answers that the kernel keeps for one client.
const SEND_BUFFER: u32 = 256 << 10;

/// Clients that come all at once wait for their turn; the usual queue of 128 would turn them away for a second.
fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // What clients do not read waits here, where it is counted, and not with the kernel, which would take megabytes for each.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(4_096)?.into_std()
}

/// As many files may be open as the system allows this process; what it starts with is often much less.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        warn!(%error, "the number of files that may be open stays as it is");
    }
}

/// The one line on stdout, for people and for scripts that wait for it.
fn announce(address: SocketAddr) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}
