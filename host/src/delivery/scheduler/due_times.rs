//! When what is due, how much of that is in memory, and what the store is asked for.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Deliveries whose hook and size are read from the store at once.
pub(super) const MOST_READ: usize = 500;

/// Deliveries that the store finds by their times and that are known here all the same: those that are due first.
const MOST_LATER: usize = 50_000;

/// Where the store has a delivery among those that were put off: when it is due, in Unix milliseconds, and its id.
pub type StorePlace = (i64, i64);

/// When what is due. Each entry is a delivery whose state says the same time.
#[derive(Debug)]
pub(super) struct DueTimes {
    /// With when it is due by the store, where that finds it again.
    times: BTreeMap<(Instant, i64), Option<i64>>,
    found_by_time: BTreeMap<StorePlace, Instant>,
    /// From this one on deliveries may wait in the store that are not known here.
    pub(super) beyond: Option<StorePlace>,
    /// The store is being asked what is due beyond: what is said meanwhile may be missing in its answer.
    pub(super) filling: bool,
    /// How many of those that the store finds may be known.
    pub(super) most: usize,
    /// Whose time has come, and that nobody has asked the store for.
    pub(super) asked: Vec<i64>,
    /// How many the store was asked for, with those that are to be.
    pub(super) reading: usize,
}

impl Default for DueTimes {
    fn default() -> Self {
        Self {
            times: BTreeMap::new(),
            found_by_time: BTreeMap::new(),
            beyond: None,
            filling: false,
            most: MOST_LATER,
            asked: Vec::new(),
            reading: 0,
        }
    }
}

impl DueTimes {
    pub(super) fn put(&mut self, at: Instant, id: i64, due_ms: Option<i64>) {
        self.times.insert((at, id), due_ms);
        self.found_by_time.extend(due_ms.map(|due_ms| ((due_ms, id), at)));
    }

    pub(super) fn take(&mut self, at: Instant, id: i64) {
        if let Some(due_ms) = self.times.remove(&(at, id)).flatten() {
            self.found_by_time.remove(&(due_ms, id));
        }
    }

    pub(super) fn first(&self) -> Option<(Instant, i64)> {
        self.times.first_key_value().map(|(first, _)| *first)
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// How many of them the store finds by their times.
    pub(super) fn found_by_time(&self) -> usize {
        self.found_by_time.len()
    }

    /// Takes the last of those that the store finds, where more of them are known than may be.
    pub(super) fn take_surplus(&mut self) -> Option<StorePlace> {
        if self.filling || self.found_by_time.len() <= self.most {
            return None;
        }
        let (place, at) = self.found_by_time.pop_last()?;
        self.times.remove(&(at, place.1));
        Some(place)
    }
}
