//! How a host is told to end, in order or at once.

use std::convert::Infallible;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::stall;

/// How a host is told to end.
#[derive(Debug, Clone, Default)]
pub(super) struct HostStop {
    /// In order: what is in flight may land.
    pub(super) stop: CancellationToken,
    /// At once: what is in flight is left for the next start.
    pub(super) at_once: CancellationToken,
}

impl HostStop {
    /// Gives a stop this much time; what has not ended then does so at once.
    pub(super) async fn at_once_after(&self, limit: Duration) -> Infallible {
        self.stop.cancelled().await;
        stall::sleep(limit).await;
        warn!(
            limit_ms = limit.as_millis(),
            "the time for a stop has passed, requests under way are broken off"
        );
        self.at_once.cancel();
        std::future::pending().await
    }
}
