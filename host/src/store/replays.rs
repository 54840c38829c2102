//! Deliveries as people look at them, dead ones that are sent again, and the jobs that do so in bulk.

use async_trait::async_trait;
use bytes::Bytes;

use super::Result;
use crate::model::{AccountId, HookId};

/// Deliveries to look at, and to send again.
#[async_trait]
pub trait ReplayStore: Send + Sync {
    /// Deliveries that wait or are dead, the newest first.
    async fn deliveries(&self, wanted: DeliveryQuery) -> Result<Vec<DeliveryRow>>;
    /// One of them, with its payload.
    async fn delivery(&self, id: i64) -> Result<Option<(DeliveryRow, Bytes)>>;
    /// Makes a dead delivery pending and due, with no tries made; says whether it was dead.
    async fn revive(&self, id: i64) -> Result<bool>;
    /// Which of these are pending and were not tried yet: how many.
    async fn untried(&self, ids: &[i64]) -> Result<usize>;
    /// Forgets up to `limit` deliveries that died before `before_ms` (Unix milliseconds), and as many jobs that ended
    /// before; answers how many deliveries.
    async fn clean_dead(&self, before_ms: i64, limit: usize) -> Result<usize>;
    /// Begins a job over the dead deliveries that there are now.
    async fn begin_replay(&self, wanted: NewReplay) -> Result<Replay>;
    /// Jobs with ids below `below`, the newest first.
    async fn replays(&self, below: i64, limit: usize) -> Result<Vec<Replay>>;
    /// One job.
    async fn replay(&self, id: i64) -> Result<Option<Replay>>;
    /// The ids of the jobs that run.
    async fn running_replays(&self) -> Result<Vec<i64>>;
    /// Revives the next deliveries of a job that runs, at most `limit`, and notes how far it came, in one
    /// transaction; answers which these are. The job is done where there are none.
    async fn step_replay(&self, id: i64, limit: usize) -> Result<Vec<RevivedDelivery>>;
    /// Ends a job that runs; answers it as it is then.
    async fn cancel_replay(&self, id: i64) -> Result<Option<Replay>>;
}

/// A delivery that was dead and is pending again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevivedDelivery {
    /// Its id.
    pub id: i64,
    /// Whom it is for.
    pub hook: HookId,
}

/// Which deliveries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryQuery {
    /// Only dead ones, or only pending ones.
    pub dead: Option<bool>,
    /// Of this account.
    pub account: Option<AccountId>,
    /// Of this hook.
    pub hook: Option<HookId>,
    /// Accepted at this time or later, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Accepted at this time or before, Unix milliseconds.
    pub until_ms: Option<i64>,
    /// Begin with this id.
    pub start: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// A delivery without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its id.
    pub id: i64,
    /// Whether it was given up.
    pub dead: bool,
    /// The hook's `_id`.
    pub hook: HookId,
    /// The owner of the hook.
    pub account: AccountId,
    /// The `webhook-id` of every try.
    pub webhook_id: String,
    /// Tries made so far.
    pub tries: u32,
    /// When it was accepted, Unix milliseconds.
    pub created_ms: i64,
    /// When it is due, or when it died, Unix milliseconds.
    pub due_ms: i64,
    /// Why it is dead.
    pub reason: Option<String>,
    /// Whether the event carried the hook itself.
    pub carries_hook: bool,
}

/// What a job is to send again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewReplay {
    /// Deliveries of this account.
    pub account: Option<AccountId>,
    /// Deliveries of this hook.
    pub hook: Option<HookId>,
    /// Accepted at this time or later, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Accepted at this time or before, Unix milliseconds.
    pub until_ms: Option<i64>,
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayState {
    /// Deliveries are left.
    Running,
    /// All were handed to delivery.
    Done,
    /// Somebody ended it.
    Cancelled,
}

impl ReplayState {
    /// As clients are told.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A job that sends dead deliveries again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its id.
    pub id: i64,
    /// How it stands.
    pub state: ReplayState,
    /// What it sends again.
    pub wanted: NewReplay,
    /// When it began, Unix milliseconds.
    pub created_ms: i64,
    /// When it ended, Unix milliseconds.
    pub finished_ms: Option<i64>,
    /// Dead deliveries that it found when it began.
    pub total: u64,
    /// Deliveries handed to delivery so far.
    pub replayed: u64,
}
