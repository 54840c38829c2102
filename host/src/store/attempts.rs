//! How attempts are kept: added in groups, listed by time, forgotten from the oldest on.

use async_trait::async_trait;

use super::Result;
use crate::model::{AccountId, HookId};

/// What was sent and what came back.
#[async_trait]
pub trait AttemptStore: Send + Sync {
    /// Keeps these, together with what others write within a few milliseconds, and forgets the oldest beyond
    /// `max_rows`.
    async fn add_attempts(&self, attempts: Vec<NewAttempt>, max_rows: u64) -> Result<()>;
    /// Attempts of an account in the order of time, each with its key, among the first `wanted.scan` that there are.
    async fn attempts(&self, wanted: AttemptQuery) -> Result<AttemptScan>;
    /// Forgets up to `limit` of those that were added before `before_ms` (Unix milliseconds); answers how many.
    async fn clean_attempts(&self, before_ms: i64, limit: usize) -> Result<usize>;
}

/// One attempt to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttempt {
    /// The owner of the hook.
    pub account: AccountId,
    /// The hook's `_id`.
    pub hook: HookId,
    /// Whether it counts as a failure.
    pub failed: bool,
    /// The document that clients are shown, a JSON object's text.
    pub document: String,
}

/// Where an attempt stands among all: by time, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptKey {
    /// When it was kept, Unix milliseconds.
    pub created_ms: i64,
    /// Its number.
    pub id: i64,
}

/// Which attempts are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptQuery {
    /// Of this account.
    pub account: AccountId,
    /// Of this hook alone.
    pub hook: Option<HookId>,
    /// Only those that failed, or that did not.
    pub failed: Option<bool>,
    /// From this time on, Unix milliseconds.
    pub from_ms: i64,
    /// Up to and with this time, Unix milliseconds.
    pub to_ms: i64,
    /// Begin with this one.
    pub start: Option<AttemptKey>,
    /// The oldest first.
    pub ascending: bool,
    /// At most so many.
    pub limit: usize,
    /// At most so many are looked at, of the account or of the hook, for those that are wanted.
    pub scan: usize,
    /// No more are read once they have so many bytes together.
    pub bytes: usize,
}

/// Those that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttemptScan {
    /// The wanted ones, in their order.
    pub attempts: Vec<StoredAttempt>,
    /// The last one that was looked at, where there may be more behind it.
    pub reached: Option<AttemptKey>,
    /// How many were looked at.
    pub scanned: usize,
}

/// An attempt as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAttempt {
    /// Where it stands.
    pub key: AttemptKey,
    /// The document that clients are shown.
    pub document: String,
}
