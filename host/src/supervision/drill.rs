//! Panics on demand, to see what the crash of a child costs.
//!
//! They are there for tests alone: a program has them only when it is built with the feature `drills`, which the package
//! `tests` turns on for the hosts that it runs in its own process. A release, and the program that tests start, cannot
//! be made to panic.

use std::convert::Infallible;
#[cfg(any(test, feature = "drills"))]
use std::sync::Arc;

#[cfg(any(test, feature = "drills"))]
use tokio::sync::Notify;

/// What makes one child panic, where it can be asked.
#[derive(Debug, Clone, Default)]
pub(super) struct CrashDrill {
    #[cfg(any(test, feature = "drills"))]
    asked: Arc<Notify>,
}

#[cfg(any(test, feature = "drills"))]
impl CrashDrill {
    /// Asks for a panic. A child that does not run just now panics as soon as it runs again.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Panics in the name of the child once it is asked for.
    #[expect(clippy::panic, reason = "to panic is what the drill is for; the supervisor catches it")]
    pub(super) async fn when_asked(&self, child: &str) -> Infallible {
        self.asked.notified().await;
        panic!("injected into {child}")
    }
}

#[cfg(not(any(test, feature = "drills")))]
impl CrashDrill {
    /// Nobody can ask.
    pub(super) async fn when_asked(&self, _child: &str) -> Infallible {
        std::future::pending().await
    }
}
