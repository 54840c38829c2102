//! When the store's files are looked after, and when a store that could not be written is tried again, although nobody
//! has anything to write.
//!
//! While it cannot be written the host is not ready, so that whoever sends events may have turned to others: without
//! a write of its own the host would never learn that the disk has room again.

use std::convert::Infallible;
use std::time::Duration;

use crate::store::Store;

/// How often it is tried.
const EVERY: Duration = Duration::from_secs(1);

/// How soon it goes on where there is more to do.
const AGAIN: Duration = Duration::from_millis(20);

/// What is written. It is as long as a group of deliveries, since a full disk often has room for a few bytes.
const NAME: &str = "store.tried";
const BYTES: usize = 64 * 1024;

/// Tries for as long as it is awaited.
pub(super) async fn run(store: &dyn Store) -> Infallible {
    let mut more = false;
    loop {
        // What there is more of goes on soon, and leaves others their turn.
        tokio::time::sleep(if more { AGAIN } else { EVERY }).await;
        more = store.tend().await;
        if store.trouble().is_some() && store.set_setting(NAME, &"x".repeat(BYTES)).await.is_ok() {
            // The store itself has noted how this one ends, too.
            drop(store.set_setting(NAME, "").await);
        }
    }
}
