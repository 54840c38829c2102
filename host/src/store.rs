//! What outlives the host: [`Documents`] and the [`Ledger`], each made of traits by use, which may have backends of their
//! own. `sqlite::SqliteStore` is both; every implementation passes the suites of `store/conformance`.

mod access;
#[cfg(test)]
#[macro_use]
mod conformance;
mod attempts;
mod backend;
mod documents;
mod error;
mod failed_events;
mod ledger;
mod listings;
mod replays;
pub mod sqlite;

pub use access::{AuditEntry, AuditKeep, AuditQuery, AuditStore, StoredAuditEntry, StoredToken, TokenStore};
pub use attempts::{AttemptKey, AttemptQuery, AttemptScan, AttemptStore, NewAttempt, StoredAttempt};
pub use backend::{Backup, StoreBackend, StoreRoom};
pub use documents::{AccountStore, Documents, HookStore, MetadataStore, SettingStore};
pub use error::{Result, StoreError};
pub use failed_events::{
    FailedEventChoice, FailedEventLimits, FailedEventQuery, FailedEventRow, FailedEventStep,
    FailedEventStore, FailedEventTotal, KeptEvent, ModuleFailure, ModuleReplay, ModuleReplayState,
    NewFailedEvent, NewModuleReplay,
};
pub use ledger::{
    Accepted, AcceptedEvent, DeliveryCounts, DeliveryStore, DisablerStore, FailureChange, HookFailure,
    LaterRow, Ledger, NewDelivery, StoredDelivery, StoredFailing, StoredOutcome, WaitingRow,
};
pub use listings::{DocumentVisitor, HookIdQuery, ListedDocuments, ListedKind, ListingStore};
pub use replays::{DeliveryQuery, DeliveryRow, NewReplay, Replay, ReplayState, ReplayStore, RevivedDelivery};
