//! How changes are written down: each in the log and in the store, also when the client that asked for it has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::task::TaskTracker;

use crate::store::{AuditEntry, AuditKeep, AuditQuery, Ledger, StoreError, StoredAuditEntry};

/// The audit log.
pub struct Audit {
    ledger: Arc<dyn Ledger>,
    keep: AuditKeep,
    failures: AtomicU64,
    /// Changes under way: one that has begun is written down.
    pub(crate) changes: TaskTracker,
}

impl Audit {
    /// A log in this store, of which so much is kept.
    pub fn new(ledger: Arc<dyn Ledger>, keep: AuditKeep) -> Self {
        Self { ledger, keep, failures: AtomicU64::new(0), changes: TaskTracker::new() }
    }

    /// Writes a change down. It has been made; that this cannot be stored does not unmake it, so it then stands in
    /// the host's log alone, and is counted.
    pub async fn record(&self, entry: AuditEntry) {
        let told = entry.clone();
        let stored = self.ledger.add_audit(entry, self.keep).await;
        tracing::info!(
            token = told.token,
            address = told.address,
            action = told.action,
            account = told.account,
            document = told.document,
            "changed"
        );
        if let Err(error) = stored {
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(action = told.action, %error, "a change is missing in the audit log");
        }
    }

    /// Entries, the newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, query: AuditQuery) -> Result<Vec<StoredAuditEntry>, StoreError> {
        self.ledger.audit(query).await
    }

    /// Changes that could not be written down since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Waits for changes under way.
    pub(super) async fn close(&self) {
        self.changes.close();
        self.changes.wait().await;
    }
}
