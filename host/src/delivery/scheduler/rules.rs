//! What the scheduler is told of deliveries, of hooks and of how requests ended, and what it answers.

use std::time::Duration;

use super::tree::AccountPath;
use crate::delivery::load_sign::LoadSign;
use crate::delivery::sending_thread::SendingThread;
use crate::model::HookId;
use crate::model::rate::RateBound;

/// What holds of a hook when its turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookRules {
    /// What those who watch its failures say.
    pub permission: HookPermission,
    /// How much it is sent at most.
    pub rate: Option<RateBound>,
    /// What tells the hook as it is now from what it was before it was changed: what was sent to that one shows nothing
    /// of this one.
    pub version: usize,
}

/// May a request be sent to a hook?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPermission {
    /// Yes.
    Free,
    /// Not for so long.
    NotFor(Duration),
    /// One, which shows whether the pause was long enough.
    OneProbe,
}

/// What may be in memory and in flight.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerLimits {
    /// Requests under way at once.
    pub in_flight: usize,
    /// Requests under way at once for one hook, however well its endpoint does.
    pub in_flight_per_hook: usize,
    /// How what an endpoint can take is found out.
    pub growth: ConcurrencyGrowth,
    /// Deliveries that wait in memory.
    pub waiting: usize,
    /// Bytes of payloads in memory: half for those that wait, half for those in flight.
    pub bytes: usize,
    /// From when on a request that has not ended is slow.
    pub slow_after: Duration,
}

/// How an endpoint gets more at once than it was seen to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrencyGrowth {
    /// By a quarter each time; what fails of that does not count against the hook.
    Quick,
    /// By four each time, and seldom more once that has failed: each failure counts.
    Careful,
}

/// How many requests a hook has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookConcurrency {
    /// How many it may have under way at once, as its endpoint does now.
    pub limit: usize,
    /// How many it has.
    pub in_flight: usize,
}

/// A delivery that may be sent from now on.
#[derive(Clone, Debug)]
pub struct DueDelivery {
    /// Its id; of a hook, they come in the order in which they are sent.
    pub id: i64,
    /// Its hook.
    pub hook: HookId,
    /// Whose it is.
    pub account: AccountPath,
    /// Bytes of its payload.
    pub bytes: usize,
    /// Its hook came with the event.
    pub carried: bool,
    /// What it keeps its order among, where its hook wants that: an earlier one of the same goes first to its end.
    pub line: Option<String>,
}

/// A payload in memory.
#[derive(Debug)]
pub struct HeldPayload<T> {
    /// The delivery with its payload.
    pub delivery: T,
    /// The same for those that share one payload, so that it counts once.
    pub shared: Option<u64>,
}

/// What is done next.
#[derive(Debug)]
pub enum NextDelivery<T> {
    /// This one is sent; it is in flight until [`Scheduler::ended`].
    Send {
        /// The delivery.
        id: i64,
        /// Its hook.
        hook: HookId,
        /// With its payload; nothing where that is in the store.
        delivery: Option<T>,
        /// It shows whether the hook's pause was long enough.
        probe: bool,
        /// With it more are under way than the endpoint was seen to take: if it is refused that does not count.
        beyond: bool,
        /// Where it is sent.
        thread: SendingThread,
    },
    /// The hook whose turn it was may not be sent to now.
    Blocked,
    /// Some are to be brought from the store: [`Scheduler::take_loads`].
    Load,
    /// Nothing can be sent now.
    Nothing,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightEnd {
    /// What it says of the endpoint, where it does.
    pub learnt: Option<FlightLesson>,
    /// The delivery is at its end, whichever. Otherwise it comes back by [`Scheduler::later`].
    pub over: bool,
}

/// What a request that has ended says of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightLesson {
    /// Whether it has too much to do.
    pub sign: LoadSign,
    /// How long it took to have a connection, which is not the endpoint's time.
    pub connecting: Duration,
}
