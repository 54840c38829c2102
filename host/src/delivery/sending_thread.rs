//! On which of two threads a request is sent. Pure.
//!
//! The tasks of one thread take turns, and a turn takes as long as all of them together have work. Beside an account
//! that sends much at once, everybody's turns would come late, several times for each event. So whoever has much in
//! flight is sent for on a thread of their own, and the others stay where the scheduler is and no other thread has to
//! be woken for them.

/// Requests under way at once on the thread where the scheduler is: few enough that a turn there is short.
const MOST_BESIDE_SCHEDULER: usize = 64;

/// An account may have one part in so many of the places that are free there: alone a fifth of all.
const PART: usize = 4;

/// The thread that a request is sent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SendingThread {
    /// Where the scheduler is.
    #[default]
    Scheduler,
    /// That of accounts that have much in flight.
    Bulk,
}

impl SendingThread {
    /// The thread of an account's next request, where `of_account` of its own are in flight and `beside_scheduler` of
    /// all on the scheduler's thread. As elsewhere, an account may have the more, the more is free; who has nothing may
    /// as long as anything is. Endpoints that are not known to be `prompt` would keep places for long, and gain nothing
    /// there.
    #[must_use]
    pub fn of(prompt: bool, of_account: usize, beside_scheduler: usize) -> Self {
        let free = MOST_BESIDE_SCHEDULER.saturating_sub(beside_scheduler);
        let may = if of_account == 0 { free > 0 } else { of_account < free / PART };
        if prompt && may { SendingThread::Scheduler } else { SendingThread::Bulk }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_much_in_flight_is_sent_for_apart() {
        for (of_account, beside_scheduler, expected) in [
            (0, 0, SendingThread::Scheduler),
            (1, 1, SendingThread::Scheduler),
            (12, 12, SendingThread::Scheduler),
            (13, 13, SendingThread::Bulk),
            (300, 12, SendingThread::Bulk),
            (3, 48, SendingThread::Scheduler),
            (4, 48, SendingThread::Bulk),
            (1, 60, SendingThread::Bulk),
            (0, 63, SendingThread::Scheduler),
            (0, 64, SendingThread::Bulk),
            (0, 500, SendingThread::Bulk),
        ] {
            let found = SendingThread::of(true, of_account, beside_scheduler);
            assert_eq!(found, expected, "{of_account} of {beside_scheduler}");
            assert_eq!(SendingThread::of(false, of_account, beside_scheduler), SendingThread::Bulk);
        }
    }
}
