//! The ledger: identities of events, deliveries, attempts, replays, events that modules failed on, failures of hooks,
//! tokens, what was changed by whom. Many, written all the time, in transactions.

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    AttemptStore, AuditStore, FailedEventStep, FailedEventStore, ReplayStore, Result, StoreBackend,
    StoreError, TokenStore,
};
use crate::model::{AccountId, HookId};
use crate::trail::Origin;

/// All of it, in one place.
pub trait Ledger:
    DeliveryStore
    + DisablerStore
    + AttemptStore
    + ReplayStore
    + FailedEventStore
    + TokenStore
    + AuditStore
    + StoreBackend
{
}

impl<S> Ledger for S where
    S: DeliveryStore
        + DisablerStore
        + AttemptStore
        + ReplayStore
        + FailedEventStore
        + TokenStore
        + AuditStore
        + StoreBackend
{
}

/// Deliveries that are owed: kept until their outcome is durable.
#[async_trait]
pub trait DeliveryStore: Send + Sync {
    /// Takes the deliveries that events cause; returns once all of them are durable, with an answer for each
    /// event in their order.
    ///
    /// All are taken or, with an error, none. An identity that was accepted within the last 24 hours, or by an
    /// event before it, adds nothing. An event without deliveries is not remembered: it caused nothing that
    /// could be repeated. What is to be done to events that modules failed on is done in the same transaction.
    async fn accept_many(&self, events: Vec<AcceptedEvent>) -> Result<Vec<Accepted>>;
    /// As [`accept_many`](DeliveryStore::accept_many), of one event.
    async fn accept(&self, event: AcceptedEvent) -> Result<Accepted> {
        let answers = self.accept_many(vec![event]).await?;
        let none = || StoreError::Unavailable("it gave no answer for an event".to_owned());
        answers.into_iter().next().ok_or_else(none)
    }
    /// Writes down what became of deliveries, together with what others write within a few milliseconds.
    /// Unknown ids are passed over, so that repeating it is harmless.
    async fn finish(&self, outcomes: Vec<StoredOutcome>) -> Result<()>;
    /// Up to `limit` pending deliveries with ids above `after_id`, ascending: the sweep at start.
    async fn pending(&self, after_id: i64, limit: usize) -> Result<Vec<StoredDelivery>>;
    /// The pending ones among `ids`, in their order: retries that became due.
    async fn load(&self, ids: &[i64]) -> Result<Vec<StoredDelivery>>;
    /// As [`pending`](DeliveryStore::pending), without payloads: memory for any number of large ones is not needed to
    /// know what waits.
    async fn waiting_after(&self, after_id: i64, limit: usize) -> Result<Vec<WaitingRow>>;
    /// As [`load`](DeliveryStore::load), without payloads.
    async fn waiting(&self, ids: &[i64]) -> Result<Vec<WaitingRow>>;
    /// Up to `limit` pending ones that were put off, by their times and then their ids, behind this one. Costs the same
    /// however many wait.
    async fn later(&self, after: LaterRow, limit: usize) -> Result<Vec<LaterRow>>;
    /// How many pending ones there are that were never put off.
    async fn never_put_off(&self) -> Result<u64>;
    /// Up to `limit` of those with ids below this one, the highest first. It may have to walk over others.
    async fn untried_below(&self, below: i64, limit: usize) -> Result<Vec<i64>>;
    /// A late time at which something was written, Unix milliseconds: a clock that is well behind it was set back.
    async fn written_ms(&self) -> Result<Option<i64>>;
    /// How many deliveries wait and how many are dead. Costs the same however many that are.
    async fn counts(&self) -> Result<DeliveryCounts>;
}

/// What is known of hooks that fail.
#[async_trait]
pub trait DisablerStore: Send + Sync {
    /// All failures that were noted and not forgotten.
    async fn failures(&self) -> Result<Vec<HookFailure>>;
    /// All hooks that fail.
    async fn failing(&self) -> Result<Vec<StoredFailing>>;
    /// Makes changes in their order; returns once they are durable. Repeating them is harmless.
    async fn note_failures(&self, changes: Vec<FailureChange>) -> Result<()>;
}

/// An event whose deliveries are to be made durable.
#[derive(Debug, Clone)]
pub struct AcceptedEvent {
    /// What makes a redelivered event recognisable; `None` is never recognised.
    pub identity: Option<String>,
    /// One for each hook that wants the event.
    pub deliveries: Vec<NewDelivery>,
    /// What this does to events that modules failed on.
    pub failed: Option<FailedEventStep>,
    /// It is another part of the event before it, and would not be recognised if that came again: both are accepted, or
    /// neither.
    pub with_previous: bool,
}

/// One payload that is owed to one hook.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// The hook's `_id`.
    pub hook: HookId,
    /// The owner of the hook.
    pub account: AccountId,
    /// The `webhook-id` of every try.
    pub webhook_id: String,
    /// A JSON object's text. Deliveries of one event that hold the same `Bytes` share one stored copy.
    pub payload: Bytes,
    /// A hook document that the event itself carried, in place of a stored hook.
    pub direct_hook: Option<Bytes>,
    /// Where the event came from.
    pub origin: Origin,
}

/// What accepting an event did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The ids of the deliveries, in their order. Ids rise and are never used again.
    New(Vec<i64>),
    /// The identity had been accepted before, or the kept event is gone; nothing was added.
    AlreadyKnown,
    /// The event, or one that it goes with, was to be kept for a module, and as many are kept as may be; nothing was added.
    Full,
}

/// A pending delivery as it comes back from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDelivery {
    /// Its id.
    pub id: i64,
    /// The hook's `_id`.
    pub hook: HookId,
    /// The owner of the hook.
    pub account: AccountId,
    /// The `webhook-id` of every try.
    pub webhook_id: String,
    /// A JSON object's text.
    pub payload: Bytes,
    /// A hook document that the event itself carried.
    pub direct_hook: Option<Bytes>,
    /// Where the event came from.
    pub origin: Origin,
    /// Tries made so far.
    pub tries: u32,
    /// When the next try is due, Unix milliseconds.
    pub due_ms: i64,
}

/// A pending delivery without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// Its id.
    pub id: i64,
    /// The hook's `_id`.
    pub hook: HookId,
    /// The owner of the hook.
    pub account: AccountId,
    /// How long its payload is.
    pub payload_bytes: usize,
    /// The event carried the hook's document.
    pub carries_hook: bool,
    /// Tries made so far.
    pub tries: u32,
    /// When the next try is due, Unix milliseconds.
    pub due_ms: i64,
    /// How long it was to wait for it when that was written, in milliseconds; unknown where an older program wrote it.
    pub wait_ms: Option<i64>,
}

/// When a pending delivery is due that was put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaterRow {
    /// Its id.
    pub id: i64,
    /// When the next try is due, Unix milliseconds.
    pub due_ms: i64,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredOutcome {
    /// It arrived; it is forgotten.
    Delivered {
        /// The delivery.
        id: i64,
    },
    /// It is tried again.
    Retry {
        /// The delivery.
        id: i64,
        /// Tries made so far.
        tries: u32,
        /// When the next try is due, Unix milliseconds.
        due_ms: i64,
    },
    /// It is given up: kept, no longer pending.
    Dead {
        /// The delivery.
        id: i64,
        /// Tries made.
        tries: u32,
        /// Why, for people.
        reason: String,
    },
}

/// How much is owed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Deliveries that wait for their first or next try.
    pub pending: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// When the earliest retry is due, Unix milliseconds.
    pub next_retry_ms: Option<i64>,
    /// When the oldest of those that wait was accepted, Unix milliseconds.
    pub oldest_ms: Option<i64>,
}

/// A failed try that may count against a hook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HookFailure {
    /// The owner of the hook.
    pub account: AccountId,
    /// The hook's `_id`.
    pub hook: HookId,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// How many in this millisecond.
    pub times: u32,
}

/// A hook whose last try failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFailing {
    /// The hook's `_id`.
    pub hook: HookId,
    /// The owner of the hook.
    pub account: AccountId,
    /// When the first try failed after the last success, Unix milliseconds.
    pub since_ms: i64,
    /// Tries that failed since.
    pub failed: u64,
    /// How many pauses it has had since; 0: it is in none.
    pub step: u32,
    /// When the pause ends, Unix milliseconds.
    pub until_ms: i64,
}

/// A change of what is known of hooks that fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureChange {
    /// Tries failed: so many in this millisecond, in place of what was known of it.
    Failed(HookFailure),
    /// How a hook that fails does now.
    Failing(StoredFailing),
    /// All failures of a hook are forgotten, and that it fails.
    Forgotten {
        /// The hook's `_id`.
        hook: HookId,
        /// The owner of the hook.
        account: AccountId,
    },
    /// Failures of a hook from before this time are forgotten.
    Expired {
        /// The hook's `_id`.
        hook: HookId,
        /// The owner of the hook.
        account: AccountId,
        /// Unix milliseconds.
        before_ms: i64,
    },
}
