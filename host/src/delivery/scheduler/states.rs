//! The states of a delivery.

use tokio::time::Instant;

use crate::delivery::sending_thread::SendingThread;
use crate::model::HookId;

/// Where a delivery is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeliveryState {
    /// It is due at this time.
    Later(Instant),
    /// Its time has come; the store is asked for its hook and its size.
    Reading,
    /// Behind an earlier one of its line.
    InLine,
    /// For a turn of its hook.
    Waiting(HookId),
    /// Under way.
    InFlight,
}

/// A delivery that is under way.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) hook: HookId,
    pub(super) begun: Instant,
    pub(super) bytes: usize,
    /// How many of its hook were in flight as it began, with it.
    pub(super) level: usize,
    pub(super) thread: SendingThread,
    /// It is due again at this time, which became known before its end was.
    pub(super) again: Option<Instant>,
}
