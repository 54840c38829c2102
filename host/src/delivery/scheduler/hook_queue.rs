//! What waits for one hook, in the order in which it became due, and what keeps it from being sent.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::concurrency::EndpointConcurrency;
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
    /// It was found that it may be sent.
    pub(super) admitted: bool,
    /// A rate limit has counted it, which happens once.
    pub(super) counted: bool,
    /// It is read when it is sent and nothing with it, as what follows it will not be sent soon.
    pub(super) alone: bool,
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

/// What a hook that may not be sent to waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookBlock {
    /// For a time: the end of its pause, or its rate limit.
    Until(Instant),
    /// For its probe to end.
    Probe,
}

/// The deliveries of a hook that are due.
#[derive(Debug)]
pub(super) struct HookQueue<T> {
    pub(super) leaf: GroupId,
    pub(super) speed: EndpointSpeed,
    /// How many may be in flight.
    pub(super) concurrency: EndpointConcurrency,
    pub(super) in_flight: usize,
    /// With a place in memory.
    pub(super) in_memory: usize,
    pub(super) entries: VecDeque<WaitingDelivery<T>>,
    /// The number of its entry among those that wait for a turn, where there is one.
    pub(super) listed: Option<u64>,
    /// Bytes of what is in flight.
    pub(super) flight_bytes: usize,
    /// Why nothing of it may be sent now.
    pub(super) block: Option<HookBlock>,
    /// The delivery that shows whether the endpoint is well again, waiting or in flight.
    pub(super) probe: Option<i64>,
    /// The version of the hook that it probes.
    pub(super) probed: usize,
}

impl<T> HookQueue<T> {
    pub(super) fn new(leaf: GroupId, speed: EndpointSpeed, concurrency: EndpointConcurrency) -> Self {
        HookQueue {
            leaf,
            speed,
            concurrency,
            in_flight: 0,
            in_memory: 0,
            entries: VecDeque::new(),
            listed: None,
            flight_bytes: 0,
            block: None,
            probe: None,
            probed: 0,
        }
    }

    /// Whether something of it could be sent, as many as are in flight. What is on its way from the store is
    /// waited for, as nothing overtakes it.
    pub(super) fn is_runnable(&self) -> bool {
        let first = self.entries.front().map(|first| &first.place);
        self.block.is_none()
            && self.in_flight < self.concurrency.limit()
            && first.is_some_and(|place| !matches!(place, WaitingPlace::Loading))
    }

    pub(super) fn starts_in_store(&self) -> bool {
        self.entries.front().is_some_and(|first| matches!(first.place, WaitingPlace::Stored))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.in_flight == 0
    }
}
