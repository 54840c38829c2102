//! The shared listener: event → modules → hooks → durable deliveries → answer to the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, error, warn};

use super::gathering::Gathering;
use super::large::{LargeCalls, STORED_TOGETHER};
use super::slices::WorkSlice;
use super::turns::{Turn, Turns, stretches};
use crate::bus::{Acker, Incoming, Refusal};
use crate::delivery::queue::{Caused, Novelty, Queue, Wanted, carried_hook};
use crate::event::{Event, RawEvent};
use crate::hooks::accounts::Accounts;
use crate::hooks::matching::{Candidate, candidates, wants};
use crate::hooks::table::Table;
use crate::module::jobs::{Answer, CallFailure};
use crate::module::registry::{Module, Registry};
use crate::module::{Firing, Target};
use crate::trail::Step;

/// Events in hand at once: enough to fill group commits, little enough to be answered soon.
pub const IN_HAND: usize = 512;

/// What the listener works with.
pub struct Shared {
    /// The loaded modules.
    pub registry: Arc<Registry>,
    /// The hooks.
    pub table: Arc<Table>,
    /// The account tree.
    pub accounts: Arc<Accounts>,
    /// Where deliveries become durable.
    pub queue: Queue,
    /// What was seen so far.
    pub counters: Counters,
}

/// What the listener has seen since the start. Each message counts once, when it is answered.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that modules were asked about, and whose deliveries are durable.
    pub accepted: AtomicU64,
    /// Accepted events that were recognised: they had come before, so they caused nothing.
    pub recognised: AtomicU64,
    /// Events for which no module is loaded.
    pub unanswered: AtomicU64,
    /// Messages that were no events.
    pub malformed: AtomicU64,
    /// Events that a module did not survive.
    pub killed: AtomicU64,
    /// Events whose deliveries could not be stored; the bus has them again.
    pub postponed: AtomicU64,
    /// Deliveries that events caused.
    pub deliveries: AtomicU64,
    /// Whether the last ones could not be stored: it is said once.
    failing: AtomicBool,
}

/// An event with the way to answer it.
type Taken = (Arc<Event>, Acker);

impl Shared {
    /// Takes events until `stop`, then finishes those in hand.
    ///
    /// # Errors
    /// Never; it ends early only when no bus can bring events any more.
    pub async fn run(
        &self,
        intake: Arc<Mutex<mpsc::Receiver<Incoming>>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut intake = intake.lock().await;
        let mut gathering = Gathering::default();
        let mut turns = Turns::default();
        let mut groups = FuturesUnordered::new();
        let mut in_hand = 0;
        loop {
            let arrived = tokio::select! {
                biased;
                Some(ended) = groups.next() => {
                    in_hand -= ended;
                    continue;
                }
                () = stop.cancelled() => break,
                arrived = gathering.next(&mut intake, IN_HAND - in_hand), if in_hand < IN_HAND => arrived,
            };
            let Some(arrived) = arrived else { break };
            for (group, turn) in self.groups(arrived, &mut turns) {
                in_hand += group.len();
                groups.push(self.take(group, turn));
            }
        }
        let rest = self.groups(gathering.into_rest(), &mut turns);
        groups.extend(rest.into_iter().map(|(group, turn)| self.take(group, turn)));
        while groups.next().await.is_some() {}
        Ok(())
    }

    /// The events among messages, by their kind: a module that an event does not concern never keeps it waiting.
    /// Where hooks want the events of a call in order, each group has its turn.
    fn groups(&self, arrived: Vec<Incoming>, turns: &mut Turns) -> Vec<(Vec<Taken>, Option<Turn>)> {
        let taken: Vec<Taken> = arrived.into_iter().filter_map(|incoming| self.parsed(incoming)).collect();
        if !self.table.has_ordered() {
            return by_kind(taken).into_iter().map(|group| (group, None)).collect();
        }
        let call = |(event, _): &Taken| event.call_id().map(str::to_owned);
        let calls = |group: &[Taken]| group.iter().filter_map(call).collect::<Vec<_>>();
        let kind = |(event, _): &Taken| (event.category().to_owned(), event.name().to_owned());
        let stretches = stretches(taken, call, kind);
        let groups = stretches.into_iter().flat_map(by_kind);
        let turn = |group: Vec<Taken>| {
            let turn = turns.give(calls(&group).into_iter());
            (group, Some(turn))
        };
        groups.map(turn).collect()
    }

    fn parsed(&self, incoming: Incoming) -> Option<Taken> {
        let Incoming { event: RawEvent { body, cloud_event }, acker, trail } = incoming;
        match Event::parse(body) {
            Ok(event) => Some((Arc::new(event.named_by(cloud_event).followed_by(trail)), acker)),
            Err(error) => {
                self.counters.malformed.fetch_add(1, Ordering::Relaxed);
                trail.failed();
                trail.lines().in_scope(|| warn!(%error, "message refused, it is not an event"));
                acker.refuse(Refusal::event(error));
                None
            }
        }
    }

    /// Events of one kind, up to their acknowledgement; says how many they were.
    async fn take(&self, group: Vec<Taken>, turn: Option<Turn>) -> usize {
        let count = group.len();
        let (events, ackers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let Some(first) = events.first() else { return 0 };
        // One snapshot of the modules answers all of it.
        let modules = self.registry.current().answering(first.category(), first.name());
        if modules.is_empty() {
            for event in &events {
                let lines = event.trail().lines();
                lines.in_scope(|| {
                    debug!(category = event.category(), event = event.name(), "no module answers this event")
                });
            }
            self.counters.unanswered.fetch_add(count as u64, Ordering::Relaxed);
            ackers.into_iter().for_each(Acker::accept);
            return count;
        }
        let answers = self.wanted(&events, &modules).await;
        if let Some(turn) = &turn {
            turn.comes().await;
        }
        let (mut causing, mut deliveries) = (Vec::new(), 0);
        let (mut large, mut calls) = (Vec::new(), LargeCalls::default());
        for ((event, acker), Wishes { parts, killed }) in events.iter().zip(ackers).zip(answers) {
            let ending = Ending { acker, killed, event: Arc::clone(event) };
            if parts.is_empty() {
                self.end(ending);
                continue;
            }
            let count = parts.iter().map(|part| part.wanted.len()).sum::<usize>();
            if calls.keeps_behind(event.call_id(), count) {
                large.push((parts, ending));
                continue;
            }
            deliveries += count;
            causing.push((parts, ending));
            if deliveries >= STORED_TOGETHER {
                self.accept(std::mem::take(&mut causing)).await;
                deliveries = 0;
            }
        }
        self.accept(causing).await;
        if let Some(turn) = &turn {
            let small = events.iter().filter_map(|event| event.call_id()).filter(|call| !calls.has(call));
            small.for_each(|call| turn.end_in(call));
        }
        // Each of them is stored in pieces, between which others go.
        for event in large {
            self.accept(vec![event]).await;
        }
        count
    }

    async fn accept(&self, causing: Vec<(Vec<Caused>, Ending)>) {
        let (parts, endings): (Vec<_>, Vec<_>) = causing.into_iter().unzip();
        let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
        let parts: Vec<Caused> = parts.into_iter().flatten().collect();
        let deliveries: Vec<usize> = parts.iter().map(|part| part.wanted.len()).collect();
        let committing: Vec<Step> =
            endings.iter().filter_map(|ending| ending.event.trail().commits()).collect();
        let accepted = self.queue.accept_many(parts).await;
        if accepted.is_err() {
            committing.iter().for_each(Step::failed);
        }
        drop(committing);
        match accepted {
            Ok(novelties) => {
                let new = |(novelty, count): (&Novelty, &usize)| match novelty {
                    Novelty::New => *count as u64,
                    Novelty::Recognised => 0,
                };
                let caused = novelties.iter().zip(&deliveries).map(new).sum();
                self.counters.deliveries.fetch_add(caused, Ordering::Relaxed);
                let mut novelties = novelties.into_iter();
                for (ending, size) in endings.into_iter().zip(sizes) {
                    // Nothing of it is new: the parts are those of its modules.
                    if novelties.by_ref().take(size).filter(|part| *part == Novelty::New).count() == 0 {
                        self.recognise(&ending.event);
                    }
                    self.end(ending);
                }
                self.counters.failing.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                let events = endings.len();
                self.counters.postponed.fetch_add(events as u64, Ordering::Relaxed);
                // One line for all of them; it has the ids of the first.
                let of_first = |ending: &Ending| ending.event.trail().lines().clone();
                let lines = endings.first().map_or_else(Span::none, of_first);
                lines.in_scope(|| {
                    if self.counters.failing.swap(true, Ordering::Relaxed) {
                        debug!(events, %error, "events still cannot be taken");
                    } else {
                        error!(events, %error, "events cannot be taken, their deliveries cannot be stored");
                    }
                });
                for Ending { acker, event, .. } in endings {
                    event.trail().failed();
                    acker.postpone();
                }
            }
        }
    }

    fn recognise(&self, event: &Event) {
        self.counters.recognised.fetch_add(1, Ordering::Relaxed);
        let (category, name, identity) = (event.category(), event.name(), event.identity());
        event.trail().lines().in_scope(|| {
            debug!(
                category,
                event = name,
                identity,
                "event recognised: it came before and causes nothing now"
            )
        });
    }

    /// An event that a module does not survive is not forgotten: the bus keeps it for people to see, with what
    /// it caused through other modules done.
    fn end(&self, Ending { acker, killed, event }: Ending) {
        match killed {
            None => {
                self.counters.accepted.fetch_add(1, Ordering::Relaxed);
                acker.accept();
            }
            Some(reason) => {
                self.counters.killed.fetch_add(1, Ordering::Relaxed);
                event.trail().failed();
                acker.refuse(reason);
            }
        }
    }

    /// What each of these events of one kind causes in the modules that answer it.
    async fn wanted(&self, events: &[Arc<Event>], modules: &[Arc<Module>]) -> Vec<Wishes> {
        let mut wishes: Vec<Wishes> = events.iter().map(|_| Wishes::default()).collect();
        let answers = join_all(modules.iter().map(|module| ask(module, events))).await;
        for (module, answers) in modules.iter().zip(answers) {
            for ((event, answer), wishes) in events.iter().zip(answers).zip(&mut wishes) {
                match answer {
                    Ok(firings) => wishes.parts.extend(self.caused(event, module, firings).await),
                    Err(failure) => {
                        let (generation, lines) = (module.figures().generation, event.trail().lines());
                        lines.in_scope(|| warn!(module = %module.id, generation, event = event.name(), error = %failure, "the module failed on an event"));
                        if matches!(failure, CallFailure::Killed { .. }) {
                            wishes.killed = Some(Refusal::event(format!("{} {failure}", module.id)));
                        }
                    }
                }
            }
        }
        wishes
    }

    /// What an event causes through one module, if anything. Each module's part has an identity of its own: when one
    /// module could not handle an event that others did, the event may come again, and causes just what is missing.
    async fn caused(&self, event: &Event, module: &Module, firings: Vec<Firing>) -> Option<Caused> {
        let mut wanted = Vec::new();
        self.want(event, module, firings, &mut wanted).await;
        if wanted.is_empty() {
            return None;
        }
        let identity = event.identity().map(|identity| format!("{identity}:{}", module.id));
        Some(Caused { identity, wanted, trail: event.trail().of_deliveries() })
    }

    async fn want(&self, event: &Event, module: &Module, firings: Vec<Firing>, wanted: &mut Vec<Wanted>) {
        let mut slice = WorkSlice::begin();
        for (nth, Firing { target, payload }) in firings.into_iter().enumerate() {
            let place = format!("{}/{nth}", module.id);
            match target {
                Target::Hooks { event: hook_event, account, internal_leg, filters } => {
                    let candidate = Candidate {
                        hook_event: &hook_event,
                        account: &account,
                        internal_leg,
                        filters: &filters,
                    };
                    let mut hooks = Vec::new();
                    for hook in candidates(&self.table, &self.accounts, &candidate) {
                        if wants(&hook, &candidate, &payload) {
                            hooks.push(hook);
                        }
                        slice.rest().await;
                    }
                    if hooks.is_empty() {
                        continue;
                    }
                    let bodies = self.queue.bodies(payload);
                    for hook in hooks {
                        wanted.push(Wanted {
                            webhook_id: webhook_id(event.identity(), &place, hook.id.as_str()),
                            hook,
                            carried: None,
                            bodies: Arc::clone(&bodies),
                        });
                        slice.rest().await;
                    }
                }
                Target::Carried(document) => match carried_hook(&document) {
                    Some(hook) => wanted.push(Wanted {
                        webhook_id: webhook_id(event.identity(), &place, hook.id.as_str()),
                        hook: Arc::new(hook),
                        carried: Some(document),
                        bodies: self.queue.bodies(payload),
                    }),
                    None => event.trail().lines().in_scope(|| {
                        warn!(module = %module.id, event = event.name(), "the hook that the event carries is not one");
                    }),
                },
            }
        }
    }
}

/// What the module fires for each event.
async fn ask(module: &Module, events: &[Arc<Event>]) -> Vec<Answer> {
    let steps = events.iter().map(|event| event.trail().asks(module.id.as_str()));
    let steps: Vec<(usize, Step)> = steps.enumerate().filter_map(|(nth, step)| Some((nth, step?))).collect();
    let answers = module.call_many(events.to_vec()).await;
    let failed = |nth: usize| answers.get(nth).is_none_or(Result::is_err);
    steps.iter().filter(|(nth, _)| failed(*nth)).for_each(|(_, step)| step.failed());
    answers
}

/// What an event causes.
#[derive(Default)]
struct Wishes {
    /// One for each module through which it causes anything.
    parts: Vec<Caused>,
    /// It ended a module's processes again and again.
    killed: Option<Refusal>,
}

/// How an event is answered once what it causes is durable.
struct Ending {
    acker: Acker,
    killed: Option<Refusal>,
    event: Arc<Event>,
}

fn by_kind(taken: Vec<Taken>) -> Vec<Vec<Taken>> {
    let mut groups: Vec<Vec<Taken>> = Vec::new();
    for taken in taken {
        // There are few kinds, and never more than are taken together.
        match groups.iter_mut().find(|group| same_kind(group, &taken)) {
            Some(group) => group.push(taken),
            None => groups.push(vec![taken]),
        }
    }
    groups
}

fn same_kind(group: &[Taken], (event, _): &Taken) -> bool {
    group
        .first()
        .is_some_and(|(first, _)| first.category() == event.category() && first.name() == event.name())
}

/// The `webhook-id` (Standard Webhooks) of one delivery: made from what makes the event, the firing and the
/// hook what they are, so that a redelivered event has the same one; random for an event without identity.
#[must_use]
pub fn webhook_id(identity: Option<&str>, place: &str, hook: &str) -> String {
    let Some(identity) = identity else {
        return format!("msg_{:032x}", rand::random::<u128>());
    };
    let mut digest = Sha256::new();
    for part in [identity, place, hook] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    let short = digest.iter().take(16).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    format!("msg_{short:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redelivered_event_has_the_same_webhook_id_and_every_other_delivery_another() {
        let id = webhook_id(Some("call_event/X/1"), "webhooks_x/0", "hook");
        assert_eq!(id, webhook_id(Some("call_event/X/1"), "webhooks_x/0", "hook"));
        assert_eq!(id.len(), "msg_".len() + 32);
        let others = [
            ("call_event/X/2", "webhooks_x/0", "hook"),
            ("call_event/X/1", "webhooks_x/1", "hook"),
            ("call_event/X/1", "webhooks_x/0", "hooks"),
            ("call_event/X/1w", "ebhooks_x/0", "hook"),
        ];
        for (identity, place, hook) in others {
            assert_ne!(id, webhook_id(Some(identity), place, hook));
        }
        assert_ne!(webhook_id(None, "webhooks_x/0", "hook"), webhook_id(None, "webhooks_x/0", "hook"));
    }
}
