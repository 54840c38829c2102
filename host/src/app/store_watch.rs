//! When the store's files are looked after, and when a store that could not be written is tried again, although nobody
//! has anything to write.
//!
//! While it cannot be written the host is not ready, so that whoever sends events may have turned to others: without
//! a write of its own the host would never learn that the disk has room again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::store::StoreBackend;

/// How often it is tried.
const EVERY: Duration = Duration::from_secs(1);

/// How soon it goes on where there is more to do.
const AGAIN: Duration = Duration::from_millis(20);

/// Tries for as long as it is awaited.
pub(super) async fn run(backends: &[Arc<dyn StoreBackend>]) -> Infallible {
    let mut more = false;
    loop {
        // What there is more of goes on soon, and leaves others their turn.
        tokio::time::sleep(if more { AGAIN } else { EVERY }).await;
        more = false;
        for backend in backends {
            more |= backend.tend().await;
            if backend.trouble().is_some() {
                // The backend itself notes how it ends.
                drop(backend.try_write().await);
            }
        }
    }
}
