//! Events that modules could not handle: how they are kept, looked at and forgotten, and the jobs that hand them to the
//! generation that serves.

use std::sync::Arc;

use async_trait::async_trait;

use super::Result;
use crate::event::RawEvent;
use crate::model::{AccountId, ModuleId};
use crate::trail::Origin;

/// Events that modules could not handle. They are kept and taken up with what is accepted, by
/// [`accept_many`](super::DeliveryStore::accept_many).
#[async_trait]
pub trait FailedEventStore: Send + Sync {
    /// Those of a module, the newest first.
    async fn failed_events(&self, wanted: FailedEventQuery) -> Result<Vec<FailedEventRow>>;
    /// One of them, with the event.
    async fn failed_event(&self, id: i64) -> Result<Option<KeptEvent>>;
    /// How many there are of each module. A module of which none is left may be missing.
    async fn failed_totals(&self) -> Result<Vec<FailedEventTotal>>;
    /// Forgets up to `limit` of a module's that failed first until `until_ms` (Unix milliseconds), or the one with this
    /// id; answers how many.
    async fn forget_failed(&self, wanted: FailedEventChoice, limit: usize) -> Result<usize>;
    /// Forgets up to `limit` that failed first before `before_ms` (Unix milliseconds), whatever module they are of, and as
    /// many jobs that ended before; answers how many of each module.
    async fn clean_failed(&self, before_ms: i64, limit: usize) -> Result<Vec<(ModuleId, usize)>>;
    /// Begins a job over the events that there are now; nothing where there are none and it is only wanted for some.
    async fn begin_module_replay(&self, wanted: NewModuleReplay) -> Result<Option<ModuleReplay>>;
    /// Jobs of a module with ids below `below`, the newest first.
    async fn module_replays(&self, module: &ModuleId, below: i64, limit: usize) -> Result<Vec<ModuleReplay>>;
    /// One job.
    async fn module_replay(&self, id: i64) -> Result<Option<ModuleReplay>>;
    /// The jobs that run.
    async fn running_module_replays(&self) -> Result<Vec<ModuleReplay>>;
    /// The next events of a job that runs, in the order in which they failed: at most `limit`, and none after the one with
    /// which they have `bytes` together.
    async fn next_failed(&self, job: i64, limit: usize, bytes: usize) -> Result<Vec<KeptEvent>>;
    /// Ends a job that runs; answers it as it is then.
    async fn end_module_replay(
        &self,
        id: i64,
        state: ModuleReplayState,
        reason: Option<String>,
    ) -> Result<Option<ModuleReplay>>;
}

/// What accepting an event does to those that failed before, in the same transaction.
#[derive(Debug, Clone)]
pub enum FailedEventStep {
    /// The module failed on it: it is kept, unless its identity is known or there is no room.
    Keep(Box<NewFailedEvent>, FailedEventLimits),
    /// The module handled it: what was kept under its identity is forgotten.
    Handled,
    /// A job had it handled: it is forgotten. Where it is not there any more, nothing of this is accepted.
    Replayed {
        /// The kept event.
        id: i64,
        /// The job.
        job: i64,
    },
    /// A job had it handled, and the module failed again. Where it is not there any more, nothing happens.
    FailedAgain {
        /// The kept event.
        id: i64,
        /// The job.
        job: i64,
        /// Who failed, and why.
        failure: Box<ModuleFailure>,
    },
}

/// How many failed events of one module are kept at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedEventLimits {
    /// Events.
    pub events: u64,
    /// Bytes of these, with what is said of them.
    pub bytes: u64,
}

/// Who failed on an event, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFailure {
    /// The generation that failed.
    pub generation: u64,
    /// The version of its module.
    pub version: String,
    /// Digest of its file, hexadecimal.
    pub sha256: String,
    /// `failed`, `timed_out`, `killed` or `quarantined`.
    pub kind: &'static str,
    /// Why, continuing a sentence that begins with the module's name.
    pub reason: String,
    /// Where in the module's code, and from where that was called; one place a line.
    pub place: Option<String>,
    /// What the module logged during the call, the latest lines.
    pub log: String,
}

/// An event that a module could not handle.
#[derive(Debug, Clone)]
pub struct NewFailedEvent {
    /// The module.
    pub module: ModuleId,
    /// Who failed, and why.
    pub failure: ModuleFailure,
    /// `Event-Category`.
    pub category: String,
    /// `Event-Name`.
    pub name: String,
    /// The account that it names, if any.
    pub account: Option<AccountId>,
    /// The event as it came.
    pub event: RawEvent,
    /// Where it came from.
    pub origin: Origin,
}

impl NewFailedEvent {
    /// What it counts against the limit of its module, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.event.body.len() + self.failure.bytes() + BESIDE) as u64
    }
}

/// What a kept event takes beside its texts, about.
const BESIDE: usize = 512;

impl ModuleFailure {
    /// Bytes of what is said.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.reason.len() + self.place.as_ref().map_or(0, String::len) + self.log.len()
    }
}

/// Which failed events are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedEventQuery {
    /// Of this module.
    pub module: ModuleId,
    /// That failed first at this time or later, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// That failed first at this time or before, Unix milliseconds.
    pub until_ms: Option<i64>,
    /// Begin with this id.
    pub start: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// Which failed events are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailedEventChoice {
    /// This one.
    One {
        /// Its module.
        module: ModuleId,
        /// Its id.
        id: i64,
    },
    /// All of a module that failed first until then.
    Until {
        /// The module.
        module: ModuleId,
        /// Unix milliseconds.
        until_ms: i64,
    },
}

/// A failed event without the event itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedEventRow {
    /// Its id.
    pub id: i64,
    /// The module that failed.
    pub module: ModuleId,
    /// The generation that failed last.
    pub generation: u64,
    /// The version of its module.
    pub version: String,
    /// Digest of its file, hexadecimal.
    pub sha256: String,
    /// When it failed first, Unix milliseconds.
    pub failed_ms: i64,
    /// When it failed last, Unix milliseconds.
    pub last_ms: i64,
    /// How often it failed.
    pub times: u64,
    /// What it counts against the limit of its module, in bytes.
    pub bytes: u64,
    /// `Event-Category`.
    pub category: String,
    /// `Event-Name`.
    pub name: String,
    /// The account that it names, if any.
    pub account: Option<AccountId>,
    /// What makes the event's part for this module recognisable.
    pub identity: Option<String>,
    /// `failed`, `timed_out`, `killed` or `quarantined`.
    pub kind: String,
    /// Why, continuing a sentence that begins with the module's name.
    pub reason: String,
    /// Where in the module's code.
    pub place: Option<String>,
    /// What the module logged during the call, the latest lines.
    pub log: String,
    /// Where the event came from.
    pub origin: Origin,
}

/// A failed event with the event as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEvent {
    /// What is known of it.
    pub row: FailedEventRow,
    /// The event.
    pub event: RawEvent,
}

/// How many failed events of a module are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedEventTotal {
    /// The module.
    pub module: ModuleId,
    /// Events.
    pub events: u64,
    /// Bytes of these, with what is said of them.
    pub bytes: u64,
}

/// What a job is to hand to the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewModuleReplay {
    /// The module.
    pub module: ModuleId,
    /// Who began it: `request` or `generation`.
    pub cause: Arc<str>,
    /// Only what failed first at this time or later, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Only this event.
    pub event: Option<i64>,
    /// Only what another file than this one failed on, or what was kept without a call, as the module was quarantined: its
    /// digest, hexadecimal.
    pub not_sha256: Option<String>,
    /// At most so many events.
    pub limit: Option<u64>,
    /// Only where there are any.
    pub for_some: bool,
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleReplayState {
    /// Events are left.
    Running,
    /// The module was handed all of them.
    Done,
    /// Somebody ended it.
    Cancelled,
    /// It ended itself: the module cannot be called, or failed again and again.
    Stopped,
}

impl ModuleReplayState {
    /// As clients are told.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        }
    }
}

/// A job that hands failed events to the generation that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleReplay {
    /// Its id.
    pub id: i64,
    /// How it stands.
    pub state: ModuleReplayState,
    /// What it is to hand to the module; its `limit` is in `total`, and its `for_some` was seen to.
    pub wanted: NewModuleReplay,
    /// When it began, Unix milliseconds.
    pub created_ms: i64,
    /// When it ended, Unix milliseconds.
    pub finished_ms: Option<i64>,
    /// Events that it found when it began.
    pub total: u64,
    /// Events that the module handled.
    pub handled: u64,
    /// Events that the module failed on again.
    pub failed: u64,
    /// How many of these came last, one after the other.
    pub failed_in_a_row: u64,
    /// Deliveries that these caused.
    pub fired: u64,
    /// Why it was stopped.
    pub reason: Option<String>,
}
