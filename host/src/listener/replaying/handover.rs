//! Asking a module about events that it failed on before, and what follows for each.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::background::spawn_background;
use crate::delivery::queue::{EventBatch, EventNovelty};
use crate::event::Event;
use crate::listener::asking::{ask, together};
use crate::listener::failed_events::module_failure;
use crate::listener::planning::{batch, log_failure};
use crate::listener::shared::SharedListener;
use crate::module::jobs::JobAnswer;
use crate::module::registry::LoadedModule;
use crate::store::{FailedEventStep, KeptEvent, ModuleFailure, StoreError};
use crate::trail::EventContext;

/// How often it is looked whether the deliveries of the last events were sent.
const PACE_LOOK: Duration = Duration::from_millis(10);

/// How long the next events wait for that at most: endpoints that do not answer slow a job down and do not end it.
const PACE: Duration = Duration::from_secs(1);

/// Deliveries that may wait without the next events waiting for them.
const FEW: usize = 128;

/// A module that is asked about events that it failed on before.
pub(super) struct ModuleHandover<'h> {
    pub(super) listener: &'h SharedListener,
    pub(super) module: &'h LoadedModule,
}

impl ModuleHandover<'_> {
    /// What becomes of these events when the module is asked now.
    pub(super) async fn hand_over(&self, job: i64, kept: Vec<KeptEvent>) -> Vec<EventBatch> {
        let module = self.module;
        let mut parts = Vec::with_capacity(kept.len());
        let mut events = Vec::with_capacity(kept.len());
        for (id, event) in parsed(kept).await {
            match event {
                Ok(event) if answers(module, &event) => events.push((id, event)),
                // The generation that serves does not want such events any more: it fires nothing.
                Ok(event) => {
                    let handled = FailedEventStep::Replayed { id, job };
                    parts.push(batch(&event, module, Vec::new(), Some(handled)));
                }
                Err(failure) => parts.push(no_event(id, job, module, failure)),
            }
        }
        let most = self.listener.memory.answers.size() / 4;
        while !events.is_empty() {
            let (count, bytes) = together(events.len(), most, std::iter::once(module.answer_bytes()));
            let _room = self.listener.memory.answers.take(bytes).await;
            let lot: Vec<(i64, Arc<Event>)> = events.drain(..count).collect();
            let asked: Vec<Arc<Event>> = lot.iter().map(|(_, event)| Arc::clone(event)).collect();
            let answers = ask(module, &asked).await;
            if self.was_removed() {
                // What it answered then is nothing, whatever it would have fired.
                return parts;
            }
            for ((id, event), answer) in lot.iter().zip(answers) {
                parts.extend(self.outcome(job, *id, event, answer).await);
            }
        }
        parts
    }

    async fn outcome(&self, job: i64, id: i64, event: &Event, answer: JobAnswer) -> Option<EventBatch> {
        let module = self.module;
        match answer {
            Ok(firings) => {
                let wanted = self.listener.planner().wanted(event, module, firings).await;
                Some(batch(event, module, wanted, Some(FailedEventStep::Replayed { id, job })))
            }
            Err(failure) => {
                log_failure(&self.listener.failures, event, module, &failure);
                let failure = Box::new(module_failure(event, module, &failure)?);
                let again = FailedEventStep::FailedAgain { id, job, failure };
                Some(batch(event, module, Vec::new(), Some(again)))
            }
        }
    }

    /// Stores what follows, and counts it.
    pub(super) async fn accept(&self, parts: Vec<EventBatch>) -> Result<(), StoreError> {
        let handled = |part: &EventBatch| matches!(part.failed, Some(FailedEventStep::Replayed { .. }));
        let handled: Vec<(bool, u64)> =
            parts.iter().map(|part| (handled(part), part.wanted.len() as u64)).collect();
        let novelties = self.listener.queue.accept_many(parts).await?;
        let figures = self.listener.failures.figures_of(&self.module.id);
        for ((handled, deliveries), novelty) in handled.into_iter().zip(novelties) {
            let counter = if handled { &figures.handled } else { &figures.failed_again };
            counter.fetch_add(1, Ordering::Relaxed);
            if novelty == EventNovelty::New {
                self.listener.counters.deliveries.fetch_add(deliveries, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Waits until about as few deliveries wait as did before, or for a while.
    pub(super) async fn keep_pace(&self, before: usize) {
        let begun = Instant::now();
        while self.listener.queue.waiting() > before.max(FEW) && begun.elapsed() < PACE {
            tokio::time::sleep(PACE_LOOK).await;
        }
    }

    /// What each of these events fires now, for people to see.
    pub(super) async fn ask(&self, events: &[Arc<Event>]) -> Vec<JobAnswer> {
        let most = self.listener.memory.answers.size() / 4;
        let mut answers = Vec::with_capacity(events.len());
        let mut left = events;
        while !left.is_empty() {
            let (count, bytes) = together(left.len(), most, std::iter::once(self.module.answer_bytes()));
            let _room = self.listener.memory.answers.take(bytes).await;
            let (lot, rest) = left.split_at(count);
            answers.extend(ask(self.module, lot).await);
            left = rest;
        }
        answers
    }

    /// Its file was taken away since: from then on it answers that it fires nothing.
    fn was_removed(&self) -> bool {
        let current = self.listener.registry.current();
        current.module(self.module.id.as_str()).is_none_or(|now| !now.goes_on_from(self.module))
    }
}

pub(super) fn answers(module: &LoadedModule, event: &Event) -> bool {
    let fits = |wanted: &str, found: &str| wanted == "*" || wanted == found;
    let responders = &module.wants().responders;
    responders.iter().any(|to| fits(&to.category, event.category()) && fits(&to.name, event.name()))
}

/// The events with their ids, parsed on a thread that nobody waits for; one that is none any more with the reason.
pub(super) async fn parsed(kept: Vec<KeptEvent>) -> Vec<(i64, Result<Arc<Event>, String>)> {
    let ids: Vec<i64> = kept.iter().map(|kept| kept.row.id).collect();
    let parse = |kept: KeptEvent| {
        let trail = EventContext::resumed(kept.row.origin);
        let event = Event::parse(kept.event.body).map_err(|error| error.to_string())?;
        let event = event.named_by(kept.event.cloud_event).followed_by(trail);
        // A digest over all of it, which nobody should wait for either.
        std::hint::black_box(event.identity());
        Ok(Arc::new(event))
    };
    match spawn_background(move || kept.into_iter().map(parse).collect::<Vec<_>>()).await {
        Ok(events) => ids.into_iter().zip(events).collect(),
        Err(error) => ids.into_iter().map(|id| (id, Err(error.to_string()))).collect(),
    }
}

/// A kept event that is none for this program, which an older or newer one has kept.
fn no_event(id: i64, job: i64, module: &LoadedModule, reason: String) -> EventBatch {
    let failure = ModuleFailure {
        generation: module.figures().generation,
        version: module.inspected.manifest.version.to_string(),
        sha256: module.inspected.sha256.to_string(),
        kind: "failed",
        reason: format!("was not asked: {reason}"),
        place: None,
        log: String::new(),
    };
    let again = FailedEventStep::FailedAgain { id, job, failure: Box::new(failure) };
    EventBatch {
        identity: None,
        wanted: Vec::new(),
        failed: Some(again),
        with_previous: false,
        trail: EventContext::default(),
    }
}
