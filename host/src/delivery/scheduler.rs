//! Which delivery is sent next, and when. Pure: no I/O, no locks; times are passed in.
//!
//! Each delivery that is owed is in exactly one of these states (`DeliveryState`; in brackets the input that moves it):
//!
//! ```text
//!  (later) ──► Later ──(advance)──► Reading ──(due)──┬──► InLine ◄── an earlier one of its call is not over
//!    ▲                                               │      │ that one is over
//!    │                                   new: (due)──┤      └──► Later, now
//!    │                                               ▼
//!    │  failed, will                    ┌───────── Waiting ──────────────┐
//!    │  be tried again                  │  in memory ◄── loading         │  its hook may be blocked: by a pause, by the
//!    │                                  │      │ slow, paused    ▲       │  probe after it, or by its rate limit; then
//!    │                                  │      └──► in the store ┘       │  it has no turn
//!    │                                  └──────────────┬─────────────────┘
//!    └────────────────── (ended) ◄── InFlight ◄────────┘ (next)
//!                           └──► delivered, dead, or gone: not known here any more
//! ```
//!
//! A delivery is in the store in any case; what is bounded is what of it is in memory. A new one stays in memory where
//! its hook, its account and all together have room for it, and nothing of its hook waits in the store already.
//! Otherwise it is known here by its id alone, so any number of deliveries may wait for any number of hooks. Turns are
//! taken by accounts first (`tree`), then by their hooks; a hook's own deliveries keep their order, and those of one call
//! wait for each other where the hook wants that (`lines`). When the turn of a hook comes whose next delivery is in the
//! store, several are brought from there at once, its own and those whose turn follows; of a slow hook only the one that
//! is sent.
//!
//! Endpoints that are slow or not known have a part of what is in flight (`speed`). Of this part, of the memory and of
//! all that is in flight an account may have the more, the more is left free (`shares`): whatever number of slow hooks
//! somebody has, and however they are spread over accounts, a prompt hook of somebody else finds a place. Who has
//! nothing goes first to what is left, so no account waits for another one's request to end; and no account has a second
//! turn before each other one has had one, so where places are short it waits for as many turns as there are accounts.
//!
//! How many a hook has in flight at once is found out for each (`concurrency`), within these bounds.
//!
//! Several schedulers may divide the hooks among them, as long as each has a part of the limits: nothing here is known
//! of the others.

mod admission;
#[cfg(test)]
mod admission_tests;
mod beyond;
#[cfg(test)]
mod beyond_tests;
mod concurrency;
#[cfg(test)]
mod concurrency_tests;
mod due_times;
mod ends;
mod engine;
mod hook_queue;
mod later;
mod latency;
mod learnt;
mod lines;
mod loading;
#[cfg(test)]
mod model_tests;
mod rates;
mod rules;
mod shares;
mod speed;
mod states;
#[cfg(test)]
mod tests;
mod tree;

pub use due_times::StorePlace;
pub use engine::Scheduler;
pub use rules::{
    ConcurrencyGrowth, DueDelivery, FlightEnd, FlightLesson, HeldPayload, HookConcurrency, HookPermission,
    HookRules, NextDelivery, SchedulerLimits,
};
pub use speed::slow_after;
pub use tree::AccountPath;
