//! Which signals end the author's loop: Ctrl-C, SIGTERM, and the end of its terminal.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Whether somebody has asked for the end.
pub(super) struct StopWish {
    /// Cancelled once somebody has.
    pub(super) wished: CancellationToken,
    _listening: JoinSet<()>,
}

impl StopWish {
    /// Listens from now on. The handlers stand when this returns.
    ///
    /// # Errors
    /// The system does not let us handle them.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let handle = |kind| signal(kind).context("handling signals");
        let mut interrupt = handle(SignalKind::interrupt())?;
        let mut terminate = handle(SignalKind::terminate())?;
        let mut hang_up = handle(SignalKind::hangup())?;
        let wished = CancellationToken::new();
        let told = wished.clone();
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            told.cancel();
        });
        Ok(StopWish { wished, _listening: listening })
    }
}
