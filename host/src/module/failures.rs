//! What is remembered of a module's failures, and which of them are told with a backtrace: the last one, whichever
//! generation it was.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use time::OffsetDateTime;
use tracing::{Span, warn};

use super::backtraces::{BacktraceLines, GenerationBacktraces, KnownBacktrace, ToldBefore};
use super::failure_reason::FailureReason;
use super::jobs::CallFailure;
use super::symbols;
use crate::event::Event;
use crate::model::ModuleId;

/// Bytes of an event's identity that are shown.
const LONGEST_IDENTITY: usize = 256;

/// Frames of one panic that are looked at.
const MOST_FRAMES: usize = 64;

/// A module's failure on an event.
#[derive(Clone, Debug)]
pub struct NotedFailure {
    /// When.
    pub at: OffsetDateTime,
    /// Of which generation.
    pub generation: u64,
    /// What makes the event this one, where it has that.
    pub event: Option<String>,
    /// Why.
    pub reason: FailureReason,
    /// Where a panic came from, the innermost frame first: functions with their places, or offsets until they are known.
    pub backtrace: BacktraceLines,
}

/// The last failure of a module, over its generations.
#[derive(Default)]
pub(super) struct LastFailure(Mutex<Option<NotedFailure>>);

impl LastFailure {
    pub(super) fn get(&self) -> Option<NotedFailure> {
        self.0.lock().clone()
    }

    fn set(&self, noted: NotedFailure) {
        *self.0.lock() = Some(noted);
    }

    /// The backtrace of the failure that is remembered, if that is still the one with these offsets.
    fn amend(&self, generation: u64, offsets_shown: &BacktraceLines, read: &BacktraceLines) {
        if let Some(noted) = self.0.lock().as_mut()
            && noted.generation == generation
            && noted.backtrace == *offsets_shown
        {
            noted.backtrace = Arc::clone(read);
        }
    }
}

/// What one generation's failures are noted with.
pub(super) struct GenerationFailures {
    module: ModuleId,
    number: u64,
    backtraces: Arc<GenerationBacktraces>,
    /// Where they are remembered, once the generation serves.
    last: OnceLock<Arc<LastFailure>>,
}

impl GenerationFailures {
    pub(super) fn new(module: ModuleId, number: u64, copy: PathBuf) -> Self {
        let backtraces = Arc::new(GenerationBacktraces::new(copy));
        GenerationFailures { module, number, backtraces, last: OnceLock::new() }
    }

    /// They are remembered there from now on; its file is a copy of this one.
    pub(super) fn remember_in(&self, last: Arc<LastFailure>, original: PathBuf) {
        self.backtraces.came_from(original);
        _ = self.last.set(last);
    }

    /// Notes how a call for this event failed. Costs a look-up, whatever the module does.
    pub(super) fn note(&self, event: &Event, failure: &CallFailure) {
        // Of those there was no call.
        if matches!(failure, CallFailure::Stopped | CallFailure::Quarantined(_)) {
            return;
        }
        let offsets = failure.offsets();
        let offsets = &offsets[..offsets.len().min(MOST_FRAMES)];
        let reason = FailureReason::of(failure);
        let (lines, is_unread) = match offsets {
            [] => (BacktraceLines::default(), false),
            _ => match self.backtraces.look_up(offsets) {
                KnownBacktrace::Read(lines, told) => {
                    if told == ToldBefore::No {
                        self.tell(event.trail().lines(), &reason, &lines);
                    }
                    (lines, false)
                }
                KnownBacktrace::ToBeRead => (symbols::unnamed(offsets).into(), true),
                KnownBacktrace::Offsets => (symbols::unnamed(offsets).into(), false),
            },
        };
        if let Some(last) = self.last.get() {
            let identity = |text: &str| text[..text.floor_char_boundary(LONGEST_IDENTITY)].to_owned();
            last.set(NotedFailure {
                at: crate::clock::now(),
                generation: self.number,
                event: event.identity().map(identity),
                reason: reason.clone(),
                backtrace: Arc::clone(&lines),
            });
        }
        if is_unread {
            self.read(event.trail().lines().clone(), reason, offsets.to_vec(), lines);
        }
    }

    /// Reads the backtrace and tells it, without making anybody wait.
    fn read(&self, span: Span, reason: FailureReason, offsets: Vec<usize>, shown: BacktraceLines) {
        let (module, number) = (self.module.clone(), self.number);
        let last = self.last.get().cloned();
        self.backtraces.read(offsets, move |_, lines| {
            tell(&span, &module, number, &reason, &lines);
            if let Some(last) = last {
                last.amend(number, &shown, &lines);
            }
        });
    }

    fn tell(&self, span: &Span, reason: &FailureReason, lines: &BacktraceLines) {
        tell(span, &self.module, self.number, reason, lines);
    }
}

fn tell(span: &Span, module: &ModuleId, generation: u64, reason: &FailureReason, lines: &BacktraceLines) {
    let place = reason.place.as_deref().unwrap_or("an unknown place");
    let backtrace = lines.join(", called by ");
    span.in_scope(
        || warn!(%module, generation, place, error = reason.message, backtrace, "where the module panicked"),
    );
}
