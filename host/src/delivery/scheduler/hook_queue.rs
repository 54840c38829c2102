//! What waits for one hook, in the order in which it became due.

use std::collections::VecDeque;

use super::speed::EndpointSpeed;
use super::tree::GroupId;

/// A delivery that waits for its turn.
#[derive(Debug)]
pub(super) struct WaitingDelivery<T> {
    pub(super) id: i64,
    /// Bytes of its payload.
    pub(super) bytes: usize,
    /// Its hook came with the event, so no rule of a stored hook holds it back.
    pub(super) carried: bool,
    /// It was found that it may be sent, which is asked once: a limit may have counted it.
    pub(super) passed: bool,
    pub(super) place: WaitingPlace<T>,
}

/// Where the payload of a waiting delivery is.
#[derive(Debug)]
pub(super) enum WaitingPlace<T> {
    /// In memory; the number says with which others it shares its payload.
    Memory(Box<T>, Option<u64>),
    /// On its way from the store; a place in memory is taken for it.
    Loading,
    /// In the store.
    Stored,
}

/// The deliveries of a hook that are due.
#[derive(Debug)]
pub(super) struct HookQueue<T> {
    pub(super) leaf: GroupId,
    pub(super) speed: EndpointSpeed,
    pub(super) in_flight: usize,
    /// With a place in memory.
    pub(super) in_memory: usize,
    pub(super) entries: VecDeque<WaitingDelivery<T>>,
    /// The number of its entry among those that wait for a turn, where there is one.
    pub(super) listed: Option<u64>,
    /// Bytes of what is in flight.
    pub(super) flight_bytes: usize,
}

impl<T> HookQueue<T> {
    pub(super) fn new(leaf: GroupId, speed: EndpointSpeed) -> Self {
        HookQueue {
            leaf,
            speed,
            in_flight: 0,
            in_memory: 0,
            entries: VecDeque::new(),
            listed: None,
            flight_bytes: 0,
        }
    }

    /// Whether something of it could be sent, where so many may be in flight. What is on its way from the store is
    /// waited for, as nothing overtakes it.
    pub(super) fn is_runnable(&self, most: usize) -> bool {
        let first = self.entries.front().map(|first| &first.place);
        self.in_flight < most && first.is_some_and(|place| !matches!(place, WaitingPlace::Loading))
    }

    pub(super) fn starts_in_store(&self) -> bool {
        self.entries.front().is_some_and(|first| matches!(first.place, WaitingPlace::Stored))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.in_flight == 0
    }
}
