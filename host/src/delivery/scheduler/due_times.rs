//! When what is due, and what of it the store is asked for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::Instant;

/// Deliveries whose hook and size are read from the store at once.
pub(super) const MOST_READ: usize = 500;

/// When what is due. An entry counts as long as the state of its delivery says the same time.
#[derive(Debug, Default)]
pub(super) struct DueTimes {
    pub(super) times: BinaryHeap<Reverse<(Instant, i64)>>,
    /// Whose time has come, and that nobody has asked the store for.
    pub(super) asked: Vec<i64>,
    /// How many the store was asked for, with those that are to be.
    pub(super) reading: usize,
    /// How many wait for their time.
    pub(super) waiting: usize,
}
