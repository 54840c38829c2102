//! How a bus is, and what has happened on it since the start.

use std::sync::atomic::{AtomicU64, Ordering};
use time::OffsetDateTime;

use super::Answer;

/// How a bus is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusState {
    /// The first attempt to connect has not ended yet.
    Starting,
    /// Messages flow.
    Connected,
    /// There is no connection; the bus goes on trying.
    Lost {
        /// When it was lost, or first failed.
        since: OffsetDateTime,
        /// What the last attempt failed with.
        reason: String,
    },
    /// `run` has ended, or not begun again.
    Stopped,
}

/// Counts since the start of the process. Answers to a connection that was lost meanwhile do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BusCounters {
    /// Messages that the bus delivered, redeliveries included.
    pub received: u64,
    /// Messages answered with accept.
    pub accepted: u64,
    /// Messages refused, which the broker dead-letters.
    pub refused: u64,
    /// Messages postponed, which come again.
    pub postponed: u64,
    /// Messages that a module could not handle.
    pub unhandled: u64,
    /// Connections made after the first one.
    pub reconnects: u64,
    /// Messages that no client could read, dead-lettered unread.
    pub unreadable: u64,
}

/// The counters while they count.
#[derive(Debug, Default)]
pub(crate) struct BusTally {
    pub(crate) received: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) postponed: AtomicU64,
    pub(crate) unhandled: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) unreadable: AtomicU64,
}

impl BusTally {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, answer: &Answer) {
        let counter = match answer {
            Answer::Accepted => &self.accepted,
            Answer::Refused(_) => &self.refused,
            Answer::Postponed => &self.postponed,
            Answer::Unhandled(_) => &self.unhandled,
        };
        Self::add(counter, 1);
    }

    pub(crate) fn snapshot(&self) -> BusCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusCounters {
            received: read(&self.received),
            accepted: read(&self.accepted),
            refused: read(&self.refused),
            postponed: read(&self.postponed),
            unhandled: read(&self.unhandled),
            reconnects: read(&self.reconnects),
            unreadable: read(&self.unreadable),
        }
    }
}
