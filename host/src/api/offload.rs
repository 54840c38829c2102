//! Work that grows with what one client sends, or is to be answered, leaves the threads that all others wait for.

use tokio::sync::Semaphore;

use super::error::Failure;
use crate::background::spawn_background;

/// Up to so many bytes are worked on where they are: reading or writing them as JSON takes less than a millisecond.
pub(super) const SMALL_BYTES: usize = 32 << 10;

/// How many such pieces of work run at once. They share the processor with all that matters more.
const AT_ONCE: usize = 2;

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// Does this on a thread that nobody else waits for, once there is a place.
///
/// # Errors
/// The work panicked, which is a bug.
pub(super) async fn off_thread<T, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let broken_off = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "work for a large request was broken off");
        Failure::internal()
    };
    let place = PLACES.acquire().await.map_err(|error| broken_off(&error))?;
    let done = spawn_background(move || {
        // Held until the work has ended, also when the client has gone.
        let _place = place;
        work()
    });
    done.await.map_err(|error| broken_off(&error))
}

/// As [`off_thread`] where there are more than [`SMALL_BYTES`], else at once.
///
/// # Errors
/// As [`off_thread`].
pub(super) async fn by_size<T, F>(bytes: usize, work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if bytes <= SMALL_BYTES { Ok(work()) } else { off_thread(work).await }
}
