//! What becomes of events that a module fails on: they are kept with the reason, up to a bound, and handed to the module
//! again when somebody asks for that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::HashSet;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::failure_lines::FailureLines;
use crate::config::FailedOverflow;
use crate::event::Event;
use crate::model::ModuleId;
use crate::module::failure_reason::FailureReason;
use crate::module::jobs::CallFailure;
use crate::module::registry::LoadedModule;
use crate::store::{FailedEventLimits, FailedEventStep, FailedEventTotal, ModuleFailure, NewFailedEvent};

/// Bytes that are left where a module's failed events take as much as they may, about.
const NEARLY: u64 = 4 * 1024;

/// How failed events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedEventRules {
    /// How many of one module.
    pub limits: FailedEventLimits,
    /// What is done beyond that.
    pub overflow: FailedOverflow,
}

/// What was seen of one module's failed events since the start, and how many are kept.
#[derive(Debug, Default)]
pub struct FailedEventFigures {
    /// Events that were kept.
    pub kept: AtomicU64,
    /// Events that were not accepted, as there was no room.
    pub refused: AtomicU64,
    /// Events that were accepted and not kept, as there was no room.
    pub dropped: AtomicU64,
    /// Events that were forgotten, as they were too old.
    pub expired: AtomicU64,
    /// Events that were handed to the module again and handled.
    pub handled: AtomicU64,
    /// Events that were handed to the module again and failed again.
    pub failed_again: AtomicU64,
    /// Events that are kept, as of the last look.
    pub events: AtomicU64,
    /// Bytes of these.
    pub bytes: AtomicU64,
    lines: FailureLines,
    /// It was said that there is no room.
    told_full: AtomicBool,
}

impl FailedEventFigures {
    /// Whether there is no room for more, as of the last look. An event of a few kilobytes may still not fit before that.
    #[must_use]
    pub fn is_full(&self, limits: FailedEventLimits) -> bool {
        let (events, bytes) = (self.events.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        events > 0 && (events >= limits.events || bytes.saturating_add(NEARLY) >= limits.bytes)
    }

    /// Whether it is news that there is no room.
    pub(super) fn becomes_full(&self) -> bool {
        !self.told_full.swap(true, Ordering::Relaxed)
    }

    /// Whether a failure now gets a line in the log, and how many before it got none.
    pub(super) fn line(&self) -> Option<u64> {
        self.lines.take(Instant::now())
    }
}

/// Keeps events that modules fail on.
pub struct FailedEventKeeping {
    rules: FailedEventRules,
    /// Modules of which events may be kept. Only of these an event that is handled may have failed before.
    failed: RwLock<HashSet<ModuleId>>,
    /// What the store has was looked at.
    looked: AtomicBool,
    figures: Mutex<BTreeMap<ModuleId, Arc<FailedEventFigures>>>,
}

impl FailedEventKeeping {
    /// Nothing is known of the store yet.
    #[must_use]
    pub fn new(rules: FailedEventRules) -> Self {
        let (failed, looked, figures) = (RwLock::default(), AtomicBool::new(false), Mutex::default());
        FailedEventKeeping { rules, failed, looked, figures }
    }

    /// How they are kept.
    #[must_use]
    pub fn rules(&self) -> FailedEventRules {
        self.rules
    }

    /// The figures of a module.
    pub fn figures_of(&self, module: &ModuleId) -> Arc<FailedEventFigures> {
        let mut figures = self.figures.lock();
        match figures.get(module) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(figures.entry(module.clone()).or_default()),
        }
    }

    /// The figures of all modules of which there are any.
    #[must_use]
    pub fn figures(&self) -> Vec<(ModuleId, Arc<FailedEventFigures>)> {
        self.figures.lock().iter().map(|(module, figures)| (module.clone(), Arc::clone(figures))).collect()
    }

    /// What the store has now.
    pub(super) fn look(&self, totals: &[FailedEventTotal]) {
        for (module, figures) in self.figures() {
            let total = totals.iter().find(|total| total.module == module);
            figures.events.store(total.map_or(0, |total| total.events), Ordering::Relaxed);
            figures.bytes.store(total.map_or(0, |total| total.bytes), Ordering::Relaxed);
            if !figures.is_full(self.rules.limits) {
                figures.told_full.store(false, Ordering::Relaxed);
            }
        }
        for total in totals {
            let figures = self.figures_of(&total.module);
            figures.events.store(total.events, Ordering::Relaxed);
            figures.bytes.store(total.bytes, Ordering::Relaxed);
            if !self.failed.read().contains(&total.module) {
                self.failed.write().insert(total.module.clone());
            }
        }
        self.looked.store(true, Ordering::Release);
    }

    /// What is done with an event that the module failed on; nothing where the module just does not run.
    pub(super) fn keep(
        &self,
        event: &Event,
        module: &LoadedModule,
        failure: &CallFailure,
    ) -> Option<FailedEventStep> {
        let failure = module_failure(event, module, failure)?;
        // Before it is stored, so that no success after that passes it over.
        if !self.failed.read().contains(&module.id) {
            self.failed.write().insert(module.id.clone());
        }
        let new = NewFailedEvent {
            module: module.id.clone(),
            failure,
            category: event.category().to_owned(),
            name: event.name().to_owned(),
            account: event.accounts().next().map(Into::into),
            event: event.raw(),
            origin: event.trail().origin().clone(),
        };
        Some(FailedEventStep::Keep(Box::new(new), self.rules.limits))
    }

    /// What is done with an event that the module handled.
    pub(super) fn handled(&self, module: &LoadedModule) -> Option<FailedEventStep> {
        let may_have_failed = !self.looked.load(Ordering::Acquire) || self.failed.read().contains(&module.id);
        may_have_failed.then_some(FailedEventStep::Handled)
    }
}

/// Who failed, and why; nothing where the module just does not run.
pub(super) fn module_failure(
    event: &Event,
    module: &LoadedModule,
    failure: &CallFailure,
) -> Option<ModuleFailure> {
    let kind = kind_of(failure)?;
    let FailureReason { message, place } = FailureReason::of(failure);
    Some(ModuleFailure {
        generation: module.figures().generation,
        version: module.inspected.manifest.version.to_string(),
        sha256: module.inspected.sha256.to_string(),
        kind,
        reason: message,
        place,
        log: event.said().of(module.id.as_str()),
    })
}

fn kind_of(failure: &CallFailure) -> Option<&'static str> {
    match failure {
        CallFailure::Failed(_) => Some("failed"),
        CallFailure::TimedOut(_) => Some("timed_out"),
        CallFailure::Killed { .. } => Some("killed"),
        CallFailure::Quarantined(_) => Some("quarantined"),
        CallFailure::Stopped => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_has_is_shown_until_it_is_gone() {
        let limits = FailedEventLimits { events: 1, bytes: 1 };
        let keeping = FailedEventKeeping::new(FailedEventRules { limits, overflow: FailedOverflow::Refuse });
        let module = ModuleId::new("webhooks_x");
        let total = FailedEventTotal { module: module.clone(), events: 3, bytes: 30 };
        keeping.look(&[total]);
        let figures = keeping.figures_of(&module);
        let seen = || (figures.events.load(Ordering::Relaxed), figures.bytes.load(Ordering::Relaxed));
        assert_eq!(seen(), (3, 30));
        keeping.look(&[]);
        assert_eq!(seen(), (0, 0));
    }
}
