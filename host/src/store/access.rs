//! What the host keeps about access: tokens, as hashes, and who changed what.

use async_trait::async_trait;

use super::Result;
use crate::model::AccountId;

/// Access tokens. A token itself is never stored.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// All tokens, in the order of their ids.
    async fn tokens(&self) -> Result<Vec<StoredToken>>;
    /// Keeps a token.
    async fn add_token(&self, token: StoredToken) -> Result<()>;
    /// Forgets tokens by their ids; says how many there were.
    async fn remove_tokens(&self, ids: Vec<String>) -> Result<usize>;
    /// Writes down when tokens were used last, Unix milliseconds, together with what others write. Unknown ids are
    /// passed over.
    async fn note_uses(&self, uses: Vec<(String, i64)>) -> Result<()>;
}

/// What is kept of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Its public name, part of the token's text.
    pub id: String,
    /// Whose it is.
    pub account: AccountId,
    /// Whether it reaches everything, not only its account's subtree.
    pub administrator: bool,
    /// What people call it.
    pub name: Option<String>,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// The id of the token that it was made with.
    pub created_by: String,
    /// When it was used last, Unix milliseconds, to the minute.
    pub used_ms: Option<i64>,
}

/// Who changed what.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Writes an entry down; returns once it is durable. Entries beyond what is to be kept go, the oldest first.
    async fn add_audit(&self, entry: AuditEntry, keep: AuditKeep) -> Result<()>;
    /// Entries, the newest first.
    async fn audit(&self, query: AuditQuery) -> Result<Vec<StoredAuditEntry>>;
}

/// How much of the audit log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditKeep {
    /// Entries.
    pub entries: u64,
    /// Milliseconds.
    pub age_ms: u64,
}

/// One change. It names documents and holds nothing of their content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// The id of the token with which it was asked for.
    pub token: String,
    /// Whose token that is; `None` for the one in `admin.token`.
    pub token_account: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// What was done, such as `webhook.create`.
    pub action: String,
    /// The account that it concerns.
    pub account: Option<String>,
    /// The document, by its id.
    pub document: Option<String>,
    /// The request's id, as log lines have it.
    pub request: String,
}

/// An entry with its number. Numbers rise and are never used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAuditEntry {
    /// Its number.
    pub id: i64,
    /// The change.
    pub entry: AuditEntry,
}

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only those that concern this account.
    pub account: Option<String>,
    /// Only those with this number or a lower one.
    pub up_to: Option<i64>,
    /// At most so many.
    pub limit: usize,
}
