//! What holds of a delivery through all its tries, crashes, restarts and set clocks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::schedule;
use super::work::RetryPolicy;
use crate::model::DeliveryOutcome;
use crate::model::EndpointAnswer;
use crate::model::HttpExchange;
use crate::model::Profile;
use crate::model::{Hook, Verb};
use crate::store::sqlite::{Options, SqliteStore, Synchronous};
use crate::store::{Accepted, AcceptedEvent, DeliveryStore, NewDelivery, StoreBackend as _, StoredOutcome};

/// Something that happens. A delivery is picked among those that are pending.
#[derive(Clone, Debug)]
enum Step {
    /// An event comes, for the first time or again, or without an identity.
    Event { identity: Option<u8>, hooks: usize },
    /// A try ends and its outcome is written.
    Try { pick: usize, answer: EndpointAnswer },
    /// A try ends, and its outcome is written twice, as after an answer that was lost.
    TryWrittenTwice { pick: usize, answer: EndpointAnswer },
    /// A try ends and the host crashes before its outcome is written.
    TryLost { pick: usize },
    /// Outcomes of several tries make one group.
    Group { answers: Vec<EndpointAnswer> },
    /// The host ends and starts again.
    Restart,
    /// Somebody sets the clock.
    SetClock { by_ms: i64 },
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Pending { tries: u32 },
    Delivered,
    Dead,
}

/// What is known of it without the store.
struct Model {
    hook: Hook,
    rules: RetryPolicy,
    longest: Duration,
    now_ms: i64,
    known: Vec<u8>,
    deliveries: BTreeMap<i64, (String, State)>,
    made: usize,
}

fn answers() -> impl Strategy<Value = EndpointAnswer> {
    let seconds = prop_oneof![Just(0), 1..100_u64, Just(u64::MAX)];
    let retry_after = prop::option::of(seconds.prop_map(Duration::from_secs));
    prop_oneof![
        4 => (prop::sample::select(vec![200, 204, 301, 400, 404, 408, 410, 429, 500, 503, 599]), retry_after)
            .prop_map(|(code, retry_after)| EndpointAnswer::Status { code, retry_after }),
        2 => Just(EndpointAnswer::ClientError),
        1 => Just(EndpointAnswer::Refused),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (prop::option::of(0..5_u8), 1..4_usize).prop_map(|(identity, hooks)| Step::Event { identity, hooks }),
        4 => (any::<usize>(), answers()).prop_map(|(pick, answer)| Step::Try { pick, answer }),
        1 => (any::<usize>(), answers()).prop_map(|(pick, answer)| Step::TryWrittenTwice { pick, answer }),
        2 => any::<usize>().prop_map(|pick| Step::TryLost { pick }),
        1 => prop::collection::vec(answers(), 1..6).prop_map(|answers| Step::Group { answers }),
        1 => Just(Step::Restart),
        1 => (-100_000_000_000..100_000_000_000_i64).prop_map(|by_ms| Step::SetClock { by_ms }),
    ];
    prop::collection::vec(step, 1..40)
}

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, Options { synchronous: Synchronous::Normal }).unwrap()
}

impl Model {
    fn new(profile: Profile, retries: u8) -> Self {
        let document = json!({
            "_id": "h", "pvt_account_id": "a", "uri": "http://x/", "hook": "all", "retries": retries,
        });
        let schedule_ms = vec![1_000, 60_000];
        Model {
            hook: Hook::from_document(document.as_object().unwrap()).unwrap(),
            longest: schedule::longest(&schedule_ms),
            rules: RetryPolicy { profile, retry_schedule_ms: schedule_ms },
            now_ms: 1_700_000_000_000,
            known: Vec::new(),
            deliveries: BTreeMap::new(),
            made: 0,
        }
    }

    fn pending(&self) -> Vec<(i64, u32)> {
        let pending = |(id, (_, state)): (&i64, &(String, State))| match state {
            State::Pending { tries } => Some((*id, *tries)),
            _ => None,
        };
        self.deliveries.iter().filter_map(pending).collect()
    }

    async fn event(
        &mut self,
        store: &SqliteStore,
        identity: Option<u8>,
        hooks: usize,
    ) -> Result<(), TestCaseError> {
        let payload = Bytes::from_static(b"{}");
        let deliveries: Vec<NewDelivery> = (0..hooks)
            .map(|nth| NewDelivery {
                hook: self.hook.id.clone(),
                account: self.hook.account.clone(),
                webhook_id: format!("msg_{}_{nth}", self.made),
                payload: payload.clone(),
                direct_hook: None,
                origin: crate::trail::Origin::default(),
            })
            .collect();
        self.made += 1;
        let names: Vec<String> = deliveries.iter().map(|delivery| delivery.webhook_id.clone()).collect();
        let event = AcceptedEvent {
            identity: identity.map(|identity| identity.to_string()),
            deliveries,
            failed: None,
            with_previous: false,
        };
        let again = identity.is_some_and(|identity| self.known.contains(&identity));
        match store.accept(event).await.unwrap() {
            Accepted::AlreadyKnown => prop_assert!(again, "{identity:?} was new"),
            Accepted::Full => prop_assert!(false, "nothing was to be kept"),
            Accepted::New(ids) => {
                prop_assert!(!again, "{identity:?} was known");
                prop_assert_eq!(ids.len(), hooks);
                self.known.extend(identity);
                for (id, name) in ids.into_iter().zip(names) {
                    let before = self.deliveries.insert(id, (name, State::Pending { tries: 0 }));
                    prop_assert!(before.is_none(), "the id {id} was given twice");
                }
            }
        }
        Ok(())
    }

    /// What a try of a pending delivery leads to.
    fn tried(&mut self, id: i64, tries: u32, answer: EndpointAnswer) -> Result<StoredOutcome, TestCaseError> {
        let sent = HttpExchange { answer, told: "told".to_owned() };
        let next = self.rules.next(&self.hook, Verb::Post, tries, &sent, 0.7);
        let outcome = next.outcome(id, tries + 1, self.now_ms);
        let most = self.hook.total_tries(self.rules.profile);
        prop_assert!(tries < most, "a try beyond the last: {} of {most}", tries + 1);
        let state = match (&next, &outcome) {
            (DeliveryOutcome::Delivered, StoredOutcome::Delivered { .. }) => State::Delivered,
            (DeliveryOutcome::Retry(wait), StoredOutcome::Retry { tries: made, due_ms, .. }) => {
                prop_assert!(*wait > Duration::ZERO && *wait <= self.longest, "{wait:?}");
                prop_assert!(*made < most, "no try is left for {next:?}");
                // Whenever it is looked at, and whatever the clock says then, it is due in a bounded time.
                for clock in [self.now_ms, 0, i64::MAX, i64::MIN] {
                    prop_assert!(schedule::left(*due_ms, clock, self.longest) <= self.longest);
                }
                State::Pending { tries: *made }
            }
            (DeliveryOutcome::Dead(_) | DeliveryOutcome::Gone(_), StoredOutcome::Dead { .. }) => State::Dead,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        if let Some((_, known)) = self.deliveries.get_mut(&id) {
            *known = state;
        }
        Ok(outcome)
    }

    async fn step(&mut self, store: &SqliteStore, step: Step) -> Result<(), TestCaseError> {
        let pending = self.pending();
        let picked = |pick: usize| (!pending.is_empty()).then(|| pending[pick % pending.len()]);
        match step {
            Step::Event { identity, hooks } => self.event(store, identity, hooks).await?,
            Step::Try { pick, answer } => {
                if let Some((id, tries)) = picked(pick) {
                    store.finish(vec![self.tried(id, tries, answer)?]).await.unwrap();
                }
            }
            Step::TryWrittenTwice { pick, answer } => {
                if let Some((id, tries)) = picked(pick) {
                    let outcome = self.tried(id, tries, answer)?;
                    store.finish(vec![outcome.clone()]).await.unwrap();
                    store.finish(vec![outcome]).await.unwrap();
                }
            }
            // Nothing was written, so nothing is known of it: it will be made again under the same name.
            Step::TryLost { pick } => drop(picked(pick)),
            Step::Group { answers } => {
                let mut group = Vec::new();
                for ((id, tries), answer) in pending.iter().copied().zip(answers) {
                    group.push(self.tried(id, tries, answer)?);
                }
                store.finish(group).await.unwrap();
            }
            Step::Restart | Step::SetClock { .. } => {}
        }
        Ok(())
    }

    /// The store says the same as the model: nothing is lost, nothing comes back, no name changes.
    async fn check(&self, store: &SqliteStore) -> Result<(), TestCaseError> {
        let stored = store.pending(0, usize::MAX).await.unwrap();
        let found: Vec<(i64, u32)> = stored.iter().map(|delivery| (delivery.id, delivery.tries)).collect();
        prop_assert_eq!(&found, &self.pending());
        for delivery in &stored {
            prop_assert_eq!(&delivery.webhook_id, &self.deliveries[&delivery.id].0);
            prop_assert_eq!(&delivery.payload[..], b"{}");
        }
        let dead = self.deliveries.values().filter(|(_, state)| *state == State::Dead).count();
        prop_assert_eq!(store.counts().await.unwrap().dead, dead as u64);
        Ok(())
    }
}

async fn live(profile: Profile, retries: u8, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new(profile, retries);
    let mut store = open(dir.path());
    for step in steps {
        match step {
            Step::Restart => {
                store.close().await.unwrap();
                drop(store);
                store = open(dir.path());
            }
            Step::SetClock { by_ms } => model.now_ms += by_ms,
            step => model.step(&store, step).await?,
        }
        model.check(&store).await?;
    }
    store.close().await.unwrap();
    drop(store);
    model.check(&open(dir.path())).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_delivery_is_pending_delivered_or_dead_and_nothing_else_whatever_happens(
        kazoo in any::<bool>(),
        retries in 0_u8..5,
        steps in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let profile = if kazoo { Profile::Kazoo } else { Profile::Standard };
        // The original counts all tries, and knows no hook without one.
        let retries = if kazoo { retries.max(1) } else { retries };
        runtime.block_on(live(profile, retries, steps))?;
    }
}
