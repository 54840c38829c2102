//! How one event with very many deliveries is stored: in pieces, each a commit of its own, so that others' commits go in
//! between. It is all or nothing all the same.
//!
//! The ids of each piece stand in the table `unfinished` until the commit of the last one, which takes them away and
//! remembers the event's identity. What stands there at a start is of a host that ended in between: the event was not
//! acknowledged and comes again, so these deliveries are removed. Until its last piece is there nobody is told the ids
//! of an event, so nothing of it is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use foldhash::HashSet;
use parking_lot::Mutex;
use rusqlite::{Connection, params};

use super::deliveries::insert;
use super::failed_events::{self, StepOutcome};
use super::identities::{is_known, remember};
use super::writer::StoreWriter;
use super::writing::StoreWrite;
use crate::store::{Accepted, AcceptedEvent, FailedEventStep, NewDelivery, Result};

/// Deliveries of one commit. About a millisecond is spent on them, for which everybody else's commits wait.
const PIECE: usize = 128;

/// Deliveries of events that are stored whole, as pieces are dearer.
const WHOLE: usize = 2 * PIECE;

/// Whether events are stored in pieces. Two commits' worth of small ones are not.
pub(super) fn are_needed(events: &[AcceptedEvent]) -> bool {
    let rows = |event: &AcceptedEvent| event.deliveries.len();
    events.iter().any(|event| rows(event) > WHOLE) || events.iter().map(rows).sum::<usize>() > 2 * WHOLE
}

/// Stores events in pieces; with an error nothing of them stays, and nothing of those whose identity is known.
pub(super) async fn accept(writer: &StoreWriter, events: Vec<AcceptedEvent>) -> Result<Vec<Accepted>> {
    let events: Arc<[AcceptedEvent]> = events.into();
    loop {
        let fates = {
            let events = Arc::clone(&events);
            writer.write(1, move |writing| fates(writing.connection, &events)).await?
        };
        // Another copy of one may have been on its way at the same time, and the first to end has won.
        if let Some(accepted) = accept_new(writer, &events, &fates).await? {
            return Ok(accepted);
        }
    }
}

/// What is to become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventFate {
    New,
    /// Its identity is known, or its kept event is gone.
    Known,
    /// There is no room to keep it, or one that it goes with.
    Full,
}

/// Stores those that are new; nothing of them where one has become known meanwhile.
async fn accept_new(
    writer: &StoreWriter,
    events: &Arc<[AcceptedEvent]>,
    fates: &[EventFate],
) -> Result<Option<Vec<Accepted>>> {
    let is_new = |(event, fate): (_, &EventFate)| (*fate == EventFate::New).then_some(event);
    let new = || events.iter().zip(fates).filter_map(is_new);
    let mut begun = BegunEvent::new(&writer.abandoned);
    let mut deliveries = new().flat_map(|event| &event.deliveries);
    let (mut left, mut ids) = (new().map(|event| event.deliveries.len()).sum::<usize>(), Vec::new());
    while left > PIECE {
        let (event, broken_off) = (begun.event, Arc::clone(&begun.broken_off));
        let piece = deliveries.by_ref().take(PIECE).cloned().collect::<Vec<_>>();
        let work = move |writing: &mut StoreWrite<'_>| match broken_off.load(Ordering::Acquire) {
            true => Ok(Vec::new()),
            false => unfinished(writing, event, &piece),
        };
        ids.extend(writer.write(PIECE, work).await?);
        left -= PIECE;
    }
    let (event, last) = (begun.event, deliveries.cloned().collect::<Vec<_>>());
    let identities: Vec<String> = new().filter_map(identity_of).map(str::to_owned).collect();
    let steps: Vec<PieceStep> = events.iter().zip(fates).filter_map(PieceStep::of).collect();
    let broken_off = Arc::clone(&begun.broken_off);
    let work = move |writing: &mut StoreWrite<'_>| match broken_off.load(Ordering::Acquire) {
        true => Ok(None),
        false => finish(writing, event, &identities, &steps, &last),
    };
    let Some((stored, outcomes)) = writer.write(PIECE, work).await? else { return Ok(None) };
    begun.ended = true;
    ids.extend(stored);
    let (mut ids, mut outcomes) = (ids.into_iter(), outcomes.into_iter());
    let answer = |(event, fate): (&AcceptedEvent, &EventFate)| {
        let outcome = if *fate == EventFate::Full { None } else { outcomes.next() };
        match (fate, outcome) {
            (EventFate::Full, _) => Accepted::Full,
            (EventFate::Known, _) | (_, Some(StepOutcome::Known)) => Accepted::AlreadyKnown,
            (EventFate::New, _) => Accepted::New(ids.by_ref().take(event.deliveries.len()).collect()),
        }
    };
    Ok(Some(events.iter().zip(fates).map(answer).collect()))
}

/// An event whose last piece is not stored. Whatever keeps it from that, later commits remove the pieces.
struct BegunEvent {
    /// What its pieces are found by; of this run of the host only, as a start removes what an earlier one left.
    event: i64,
    /// A piece may still be on its way to the writer when whoever waits for it goes: it is not stored then, or nothing
    /// would remove it.
    broken_off: Arc<AtomicBool>,
    ended: bool,
    abandoned: Arc<Mutex<Vec<i64>>>,
}

impl BegunEvent {
    fn new(abandoned: &Arc<Mutex<Vec<i64>>>) -> Self {
        static LAST: AtomicI64 = AtomicI64::new(0);
        BegunEvent {
            event: LAST.fetch_add(1, Ordering::Relaxed),
            broken_off: Arc::default(),
            ended: false,
            abandoned: Arc::clone(abandoned),
        }
    }
}

impl Drop for BegunEvent {
    fn drop(&mut self) {
        if !self.ended {
            // In this order: what is stored before the first is found by the second.
            self.broken_off.store(true, Ordering::Release);
            self.abandoned.lock().push(self.event);
        }
    }
}

/// What is done with the last piece beside storing its deliveries.
#[derive(Clone)]
struct PieceStep {
    identity: Option<String>,
    failed: Option<FailedEventStep>,
    /// Its identity is known, or its kept event is gone.
    known: bool,
    /// Deliveries that it causes.
    fired: usize,
}

impl PieceStep {
    fn of((event, fate): (&AcceptedEvent, &EventFate)) -> Option<Self> {
        let known = match fate {
            EventFate::New => false,
            EventFate::Known => true,
            EventFate::Full => return None,
        };
        let fired = if known { 0 } else { event.deliveries.len() };
        Some(PieceStep { identity: event.identity.clone(), failed: event.failed.clone(), known, fired })
    }
}

/// An event that causes nothing is not remembered.
fn identity_of(event: &AcceptedEvent) -> Option<&str> {
    event.identity.as_deref().filter(|_| !event.deliveries.is_empty())
}

/// Which of these are known, or come twice among them, and for which there is no room: not to write ten thousands of rows
/// for nothing.
fn fates(connection: &Connection, events: &[AcceptedEvent]) -> rusqlite::Result<Vec<EventFate>> {
    let mut seen = HashSet::default();
    let mut answers = Vec::with_capacity(events.len());
    for (event, full) in events.iter().zip(failed_events::without_room(connection, events)?) {
        let gone = event.failed.as_ref().map(|step| failed_events::is_gone(connection, step)).transpose()?;
        let known = match identity_of(event) {
            _ if full || gone == Some(true) => gone == Some(true),
            Some(identity) => !seen.insert(identity) || is_known(connection, identity)?,
            None => false,
        };
        answers.push(match (full, known) {
            (true, _) => EventFate::Full,
            (false, true) => EventFate::Known,
            (false, false) => EventFate::New,
        });
    }
    Ok(answers)
}

fn unfinished(writing: &mut StoreWrite<'_>, event: i64, piece: &[NewDelivery]) -> rusqlite::Result<Vec<i64>> {
    let ids = insert(writing, piece)?;
    if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
        writing
            .connection
            .prepare_cached("INSERT INTO unfinished (first, last, event) VALUES (?1, ?2, ?3)")?
            .execute(params![first, last, event])?;
    }
    Ok(ids)
}

/// The last piece; nothing, and nothing stored, where another copy of an event has ended before.
fn finish(
    writing: &mut StoreWrite<'_>,
    event: i64,
    identities: &[String],
    steps: &[PieceStep],
    last: &[NewDelivery],
) -> rusqlite::Result<Option<(Vec<i64>, Vec<StepOutcome>)>> {
    for identity in identities {
        if is_known(writing.connection, identity)? {
            return Ok(None);
        }
    }
    for step in steps.iter().filter(|step| !step.known).filter_map(|step| step.failed.as_ref()) {
        if failed_events::is_gone(writing.connection, step)? {
            return Ok(None);
        }
    }
    let outcomes: Vec<StepOutcome> = steps
        .iter()
        .map(|step| failed_events::step(writing, step.failed.as_ref(), step.identity.as_deref(), step.fired))
        .collect::<rusqlite::Result<_>>()?;
    for identity in identities {
        remember(writing, identity)?;
    }
    writing.connection.prepare_cached("DELETE FROM unfinished WHERE event = ?1")?.execute([event])?;
    let ids = insert(writing, last)?;
    Ok(Some((ids, outcomes)))
}
