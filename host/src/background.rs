//! Work that somebody's size makes long: on threads of its own and of low priority, so that where processors are short
//! those that carry events and deliveries go first. It still moves on, with a tenth of what the others get.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// How many pieces of work run at once; the others wait.
const AT_ONCE: usize = 8;

/// Steps below all others on the system's scale, which ends at 19.
const NICE: i32 = 10;

/// As tokio's `spawn_blocking`. To be called in a runtime.
pub fn spawn_background<T, F>(work: F) -> JoinHandle<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    static POOL: OnceLock<Option<Runtime>> = OnceLock::new();
    match POOL.get_or_init(pool) {
        Some(pool) => pool.spawn_blocking(work),
        None => tokio::task::spawn_blocking(work),
    }
}

/// Puts the calling thread below all others.
pub fn give_way() {
    // Linux has a priority for each thread; elsewhere this fails or is the process's, so it is not asked for.
    if cfg!(target_os = "linux") {
        rustix::process::setpriority_process(None, NICE).ok();
    }
}

/// It lives as long as the process. Where there is none, such work has the priority of the rest.
fn pool() -> Option<Runtime> {
    let built = Builder::new_current_thread()
        .max_blocking_threads(AT_ONCE)
        .thread_name("background")
        .on_thread_start(give_way)
        .build();
    built.inspect_err(|error| tracing::warn!(%error, "there is no pool for long work")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_runs_below_all_others_and_a_panic_stays_its_own() {
        let priority = || rustix::process::getpriority_process(None).ok();
        let own = priority();
        assert_eq!(spawn_background(priority).await.ok().flatten(), Some(NICE));
        assert_eq!(priority(), own);
        assert!(spawn_background(|| panic!("as planned")).await.is_err());
        assert_eq!(spawn_background(|| 7).await.ok(), Some(7));
    }
}
