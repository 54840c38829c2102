//! The embedded store as [`Ledger`](crate::store::Ledger): which query answers what, on which connection, and which writes
//! are waited for.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::SqliteStore;
use super::writer::PATIENCE;
use super::writing::StoreWrite;
use super::{access, attempts, deliveries, disabler, failed_events, module_replays, pieces, replays, totals};
use crate::clock::now_ms;
use crate::model::ModuleId;
use crate::store::{
    Accepted, AcceptedEvent, AttemptQuery, AttemptScan, AttemptStore, AuditEntry, AuditKeep, AuditQuery,
    AuditStore, DeliveryCounts, DeliveryQuery, DeliveryRow, DeliveryStore, DisablerStore, FailedEventChoice,
    FailedEventQuery, FailedEventRow, FailedEventStore, FailedEventTotal, FailureChange, HookFailure,
    KeptEvent, LaterRow, ModuleReplay, ModuleReplayState, NewAttempt, NewModuleReplay, NewReplay, Replay,
    ReplayStore, Result, RevivedDelivery, StoredAuditEntry, StoredDelivery, StoredFailing, StoredOutcome,
    StoredToken, TokenStore, WaitingRow,
};

/// An attempt, with what was sent and what came back, is about as much work as so many other rows.
const ROWS_OF_ATTEMPT: usize = 8;

#[async_trait]
impl DeliveryStore for SqliteStore {
    async fn accept_many(&self, events: Vec<AcceptedEvent>) -> Result<Vec<Accepted>> {
        let rows = |event: &AcceptedEvent| event.deliveries.len() + usize::from(event.failed.is_some());
        let rows = events.iter().map(rows).sum();
        if rows == 0 {
            return Ok(vec![Accepted::New(Vec::new()); events.len()]);
        }
        if pieces::are_needed(&events) {
            return pieces::accept(&self.writer, events).await;
        }
        self.writer.write(rows, move |writing| deliveries::accept_many(writing, &events)).await
    }

    async fn finish(&self, outcomes: Vec<StoredOutcome>) -> Result<()> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let (rows, soon_ms) = (outcomes.len(), now_ms() + i64::try_from(PATIENCE.as_millis()).unwrap_or(0));
        // Who is due before is not kept waiting by its own outcome.
        let is_due_soon = |outcome: &StoredOutcome| matches!(outcome, StoredOutcome::Retry { due_ms, .. } if *due_ms < soon_ms);
        let is_urgent = outcomes.iter().any(is_due_soon);
        let finish = move |writing: &mut StoreWrite<'_>| deliveries::finish(writing, &outcomes);
        match is_urgent {
            true => self.writer.write(rows, finish).await,
            false => self.writer.write_patiently(rows, finish).await,
        }
    }

    async fn pending(&self, after_id: i64, limit: usize) -> Result<Vec<StoredDelivery>> {
        self.read_deliveries(move |connection| deliveries::pending(connection, after_id, limit)).await
    }

    async fn load(&self, ids: &[i64]) -> Result<Vec<StoredDelivery>> {
        let ids = ids.to_vec();
        self.read_deliveries(move |connection| deliveries::load(connection, &ids)).await
    }

    async fn waiting_after(&self, after_id: i64, limit: usize) -> Result<Vec<WaitingRow>> {
        self.read_deliveries(move |connection| deliveries::waiting_after(connection, after_id, limit)).await
    }

    async fn waiting(&self, ids: &[i64]) -> Result<Vec<WaitingRow>> {
        let ids = ids.to_vec();
        self.read_deliveries(move |connection| deliveries::waiting(connection, &ids)).await
    }

    async fn later(&self, after: LaterRow, limit: usize) -> Result<Vec<LaterRow>> {
        self.read_deliveries(move |connection| deliveries::later(connection, after, limit)).await
    }

    async fn never_put_off(&self) -> Result<u64> {
        self.read(totals::untried).await
    }

    async fn untried_below(&self, below: i64, limit: usize) -> Result<Vec<i64>> {
        self.read_deliveries(move |connection| deliveries::untried_below(connection, below, limit)).await
    }

    async fn written_ms(&self) -> Result<Option<i64>> {
        self.read(deliveries::written_ms).await
    }

    async fn counts(&self) -> Result<DeliveryCounts> {
        let oldest = Arc::clone(&self.oldest);
        self.read(move |connection| totals::counts(connection, &oldest)).await
    }
}

#[async_trait]
impl DisablerStore for SqliteStore {
    async fn failures(&self) -> Result<Vec<HookFailure>> {
        self.read(disabler::failures).await
    }

    async fn failing(&self) -> Result<Vec<StoredFailing>> {
        self.read(disabler::failing).await
    }

    async fn note_failures(&self, changes: Vec<FailureChange>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let rows = changes.len();
        self.writer.write_patiently(rows, move |writing| disabler::note(writing.connection, &changes)).await
    }
}

#[async_trait]
impl AttemptStore for SqliteStore {
    async fn add_attempts(&self, attempts: Vec<NewAttempt>, max_rows: u64) -> Result<()> {
        if attempts.is_empty() {
            return Ok(());
        }
        let rows = ROWS_OF_ATTEMPT * attempts.len();
        self.writer.write_patiently(rows, move |writing| attempts::add(writing, &attempts, max_rows)).await
    }

    async fn attempts(&self, wanted: AttemptQuery) -> Result<AttemptScan> {
        self.look(move |connection| attempts::list(connection, &wanted)).await
    }

    async fn clean_attempts(&self, before_ms: i64, limit: usize) -> Result<usize> {
        self.writer.write(limit, move |writing| attempts::clean(writing.connection, before_ms, limit)).await
    }
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn tokens(&self) -> Result<Vec<StoredToken>> {
        self.read(access::tokens).await
    }

    async fn add_token(&self, token: StoredToken) -> Result<()> {
        self.writer.write(1, move |writing| access::add_token(writing.connection, &token)).await
    }

    async fn remove_tokens(&self, ids: Vec<String>) -> Result<usize> {
        self.writer.write(1, move |writing| access::remove_tokens(writing.connection, &ids)).await
    }

    async fn note_uses(&self, uses: Vec<(String, i64)>) -> Result<()> {
        let rows = uses.len();
        self.writer.write_patiently(rows, move |writing| access::note_uses(writing.connection, &uses)).await
    }
}

#[async_trait]
impl ReplayStore for SqliteStore {
    async fn deliveries(&self, wanted: DeliveryQuery) -> Result<Vec<DeliveryRow>> {
        self.look(move |connection| replays::list(connection, &wanted)).await
    }

    async fn delivery(&self, id: i64) -> Result<Option<(DeliveryRow, Bytes)>> {
        self.look(move |connection| replays::one(connection, id)).await
    }

    async fn revive(&self, id: i64) -> Result<bool> {
        let revived = self.writer.write(1, move |writing| replays::revive(writing, id)).await;
        self.oldest.forget();
        revived
    }

    async fn untried(&self, ids: &[i64]) -> Result<usize> {
        let ids = ids.to_vec();
        self.read(move |connection| replays::untried(connection, &ids)).await
    }

    async fn clean_dead(&self, before_ms: i64, limit: usize) -> Result<usize> {
        self.writer.write(limit, move |writing| replays::clean(writing, before_ms, limit)).await
    }

    async fn begin_replay(&self, wanted: NewReplay) -> Result<Replay> {
        self.writer.write(1, move |writing| replays::begin(writing, &wanted)).await
    }

    async fn replays(&self, below: i64, limit: usize) -> Result<Vec<Replay>> {
        self.look(move |connection| replays::jobs(connection, below, limit)).await
    }

    async fn replay(&self, id: i64) -> Result<Option<Replay>> {
        self.look(move |connection| replays::job(connection, id)).await
    }

    async fn running_replays(&self) -> Result<Vec<i64>> {
        self.read(replays::running).await
    }

    async fn step_replay(&self, id: i64, limit: usize) -> Result<Vec<RevivedDelivery>> {
        let step = self.writer.write(limit, move |writing| replays::step(writing, id, limit)).await;
        self.oldest.forget();
        step
    }

    async fn cancel_replay(&self, id: i64) -> Result<Option<Replay>> {
        self.writer.write(1, move |writing| replays::cancel(writing, id)).await
    }
}

#[async_trait]
impl FailedEventStore for SqliteStore {
    async fn failed_events(&self, wanted: FailedEventQuery) -> Result<Vec<FailedEventRow>> {
        self.look(move |connection| failed_events::list(connection, &wanted)).await
    }

    async fn failed_event(&self, id: i64) -> Result<Option<KeptEvent>> {
        self.look(move |connection| failed_events::one(connection, id)).await
    }

    async fn failed_totals(&self) -> Result<Vec<FailedEventTotal>> {
        self.read(failed_events::totals).await
    }

    async fn forget_failed(&self, wanted: FailedEventChoice, limit: usize) -> Result<usize> {
        self.writer.write(limit, move |writing| failed_events::forget(writing, &wanted, limit)).await
    }

    async fn clean_failed(&self, before_ms: i64, limit: usize) -> Result<Vec<(ModuleId, usize)>> {
        self.writer.write(limit, move |writing| failed_events::clean(writing, before_ms, limit)).await
    }

    async fn begin_module_replay(&self, wanted: NewModuleReplay) -> Result<Option<ModuleReplay>> {
        let counted = wanted.clone();
        // Beside the writer, for whom everybody waits.
        let found = self.look(move |connection| module_replays::count(connection, &counted)).await?;
        self.writer.write(1, move |writing| module_replays::begin(writing, &wanted, found)).await
    }

    async fn module_replays(&self, module: &ModuleId, below: i64, limit: usize) -> Result<Vec<ModuleReplay>> {
        let module = module.clone();
        self.look(move |connection| module_replays::list(connection, &module, below, limit)).await
    }

    async fn module_replay(&self, id: i64) -> Result<Option<ModuleReplay>> {
        self.look(move |connection| module_replays::one(connection, id)).await
    }

    async fn running_module_replays(&self) -> Result<Vec<ModuleReplay>> {
        self.read(module_replays::running).await
    }

    async fn next_failed(&self, job: i64, limit: usize, bytes: usize) -> Result<Vec<KeptEvent>> {
        self.look(move |connection| failed_events::next(connection, job, limit, bytes)).await
    }

    async fn end_module_replay(
        &self,
        id: i64,
        state: ModuleReplayState,
        reason: Option<String>,
    ) -> Result<Option<ModuleReplay>> {
        let end =
            move |writing: &mut StoreWrite<'_>| module_replays::end(writing, id, state, reason.as_deref());
        self.writer.write(1, end).await
    }
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn add_audit(&self, entry: AuditEntry, keep: AuditKeep) -> Result<()> {
        self.writer.write(1, move |writing| access::add_audit(writing, &entry, keep)).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<StoredAuditEntry>> {
        self.look(move |connection| access::audit(connection, &query)).await
    }
}
