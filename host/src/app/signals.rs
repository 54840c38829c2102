//! Which signals end the host, and which one must not.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::stopping::HostStop;

/// Stops at SIGTERM (init systems, `kill`) or SIGINT (Ctrl-C), and at once at the next one. The handlers stand when
/// this returns.
///
/// # Errors
/// The system does not let us handle them.
pub(super) fn stop_on_signal(stopping: HostStop) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("handling SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("handling SIGINT")?;
    // A limit on the size of files would end the process at once. With a handler, whichever, the write fails instead,
    // as on a full disk. It stays when this is dropped.
    drop(signal(SignalKind::from_raw(libc::SIGXFSZ)).context("handling SIGXFSZ")?);
    Ok(async move {
        let signal = either(&mut terminate, &mut interrupt).await;
        info!(signal, "stopping");
        stopping.stop.cancel();
        let signal = either(&mut terminate, &mut interrupt).await;
        warn!(signal, "stopping at once, requests under way are broken off");
        stopping.at_once.cancel();
    })
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
