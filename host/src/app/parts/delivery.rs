//! From a planned delivery to its outcome: the queue, what is due, who sends, and who writes down what became of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;

use super::{HookParts, HostStores};
use crate::app::health::HostCondition;
use crate::attempts::log::{AttemptLimits, AttemptQueue, AttemptsLog};
use crate::config::{self, Config};
use crate::delivery::client::{ClientLimits, EndpointClient};
use crate::delivery::dispatch::{DeliveryCounters, Dispatch};
use crate::delivery::due::DueDeliveries;
use crate::delivery::gate::SendGate;
use crate::delivery::outcomes::OutcomeWriter;
use crate::delivery::queue::DeliveryQueue;
use crate::delivery::resolve::NameResolver;
use crate::delivery::retries::{DueRetries, LongestWaits};
use crate::delivery::schedule;
use crate::delivery::scheduler::SchedulerLimits;
use crate::delivery::test_send::TestSends;
use crate::delivery::work::RetryPolicy;
use crate::model::guard::Guard;
use crate::replays::Replays;
use crate::store::Ledger;
use crate::stream::HostStream;
use crate::supervision::{ChildContext, ChildSpec, Restart, RuntimeThread};

/// What has become of a delivery is written within this time after its request has ended.
const WRITING: Duration = Duration::from_secs(1);

/// Everything between a planned delivery and its outcome.
pub struct DeliveryParts {
    /// Where deliveries become durable.
    pub queue: DeliveryQueue,
    /// Sends.
    pub dispatch: Arc<Dispatch>,
    /// Deliveries that wait for another try.
    pub retries: Arc<DueRetries>,
    /// Sends dead deliveries again.
    pub replays: Replays,
    /// Sends tests.
    pub test_sends: Arc<TestSends>,
    longest_waits: LongestWaits,
    outcomes: AsyncMutex<OutcomeWriter>,
    attempts: AsyncMutex<AttemptQueue>,
    ledger: Arc<dyn Ledger>,
    request_timeout: Duration,
    thread: Arc<RuntimeThread>,
}

/// What they are built from.
pub(super) struct DeliveryDeps<'a> {
    /// Where deliveries are stored.
    pub(super) stores: &'a HostStores,
    /// Whom they are sent to.
    pub(super) hooks: &'a HookParts,
    /// Which addresses are spoken to.
    pub(super) guard: Guard,
    /// Whom names are looked up with.
    pub(super) resolver: Arc<dyn NameResolver>,
    /// Connections to endpoints that may be open.
    pub(super) connections: usize,
    /// What payloads carry as `cluster_id`.
    pub(super) cluster_id: Arc<str>,
    /// Who is told what becomes of deliveries.
    pub(super) stream: &'a Arc<HostStream>,
    /// Where the children run.
    pub(super) thread: Arc<RuntimeThread>,
}

impl DeliveryParts {
    /// Nothing is due yet: what an earlier run left is taken up when the children start.
    ///
    /// # Errors
    /// The proxy or the further authorities in the settings cannot be used.
    pub(super) fn build(config: &Config, deps: DeliveryDeps<'_>) -> anyhow::Result<Arc<Self>> {
        let (settings, profile) = (&config.delivery, config.delivery.profile);
        let HookParts { table, accounts, editor, disabler, .. } = deps.hooks;
        let ledger = Arc::clone(&deps.stores.ledger);
        let gate = SendGate::new(Arc::clone(table), Arc::clone(disabler), settings.rate_limit());
        let gate = Arc::new(gate);
        let due = DueDeliveries::new(SchedulerLimits::of(settings), Arc::clone(accounts), Arc::clone(&gate));
        let due = Arc::new(due);
        let queue = DeliveryQueue::new(ledger.clone(), Arc::clone(&due), profile, deps.cluster_id);
        let (outcomes, outcome_writer) = OutcomeWriter::new();
        let retries = Arc::new(DueRetries::new(schedule::longest(&settings.retry_schedule_ms)));
        let (attempts, attempt_queue) = AttemptsLog::new(attempt_limits(config));
        let dispatch = Arc::new(Dispatch {
            due,
            ledger: ledger.clone(),
            queue: queue.clone(),
            table: Arc::clone(table),
            gate,
            disabler: Arc::clone(disabler),
            editor: Arc::clone(editor),
            client: client(settings, deps.connections, deps.guard, deps.resolver)?,
            rules: RetryPolicy { profile, retry_schedule_ms: settings.retry_schedule_ms.clone() },
            retries: Arc::clone(&retries),
            counters: Arc::new(DeliveryCounters::default()),
            outcomes,
            attempts: Arc::new(attempts),
            stream: Arc::clone(deps.stream),
        });
        Ok(Arc::new(DeliveryParts {
            replays: replays(settings, &ledger, deps.hooks, &retries),
            test_sends: Arc::new(test_sends(config, deps.hooks, &queue, &dispatch)),
            queue,
            dispatch,
            retries,
            longest_waits: longest_waits(settings, deps.hooks),
            outcomes: AsyncMutex::new(outcome_writer),
            attempts: AsyncMutex::new(attempt_queue),
            ledger,
            request_timeout: settings.request_timeout(),
            thread: deps.thread,
        }))
    }

    /// Writes what became of deliveries, and has an eye on the store that it writes to.
    pub(in crate::app) fn outcomes_child(self: &Arc<Self>, condition: &Arc<HostCondition>) -> ChildSpec {
        let condition = Arc::clone(condition);
        let run = move |parts: Arc<Self>, context: ChildContext| {
            let condition = Arc::clone(&condition);
            async move {
                context.ready.ready();
                let mut outcomes = parts.outcomes.lock().await;
                let writing = outcomes.write(&*parts.ledger, &parts.retries, context.stop.clone());
                tokio::select! {
                    written = writing => written,
                    never = condition.watch() => match never {},
                }
            }
        };
        ChildSpec::working_with("outcomes", Restart::Permanent, self, run).with_crew(&self.thread)
    }

    /// Writes what was sent and what came back, and forgets what is old.
    pub(in crate::app) fn attempts_child(self: &Arc<Self>) -> ChildSpec {
        let run = |parts: Arc<Self>, context: ChildContext| async move {
            context.ready.ready();
            let mut queue = parts.attempts.lock().await;
            let (attempts, stop) = (&*parts.dispatch.attempts, &context.stop);
            futures_util::join!(
                queue.write(attempts, parts.ledger.clone(), stop),
                attempts.clean(&*parts.ledger, stop)
            );
            Ok(())
        };
        ChildSpec::working_with("attempts", Restart::Permanent, self, run).with_crew(&self.thread)
    }

    /// Sends. When it is told to stop, requests under way may end.
    pub(in crate::app) fn dispatch_child(self: &Arc<Self>) -> ChildSpec {
        let run = |parts: Arc<Self>, context: ChildContext| async move {
            context.ready.ready();
            Arc::clone(&parts.dispatch).run(context.stop).await
        };
        ChildSpec::working_with("dispatch", Restart::Permanent, self, run)
            .stop_within(self.request_timeout + WRITING)
            .with_crew(&self.thread)
    }

    /// Takes up what an earlier run left, and brings back what is due.
    pub(in crate::app) fn retries_child(self: &Arc<Self>) -> ChildSpec {
        let run = |parts: Arc<Self>, context: ChildContext| async move {
            let (ledger, due, gate) = (parts.ledger.clone(), &parts.dispatch.due, &parts.dispatch.gate);
            let (longest, ready) = (&parts.longest_waits, context.ready.into_sender());
            parts.retries.run(ledger, due, gate, longest, ready, context.stop).await
        };
        ChildSpec::working_with("retries", Restart::Permanent, self, run).with_crew(&self.thread)
    }

    /// Works on the jobs that send dead deliveries again, and forgets what is dead for too long.
    pub(in crate::app) fn replays_child(self: &Arc<Self>) -> ChildSpec {
        ChildSpec::working_with("replays", Restart::Permanent, self, |parts, context| async move {
            context.ready.ready();
            futures_util::join!(parts.replays.run(&context.stop), parts.replays.clean(&context.stop));
            Ok(())
        })
    }
}

fn client(
    settings: &config::Delivery,
    connections: usize,
    guard: Guard,
    resolver: Arc<dyn NameResolver>,
) -> anyhow::Result<EndpointClient> {
    let limits = ClientLimits {
        connect_timeout: settings.connect_timeout(),
        request_timeout: settings.request_timeout(),
        response_body_limit: settings.response_body_limit,
        proxy: settings.proxy.as_ref().map(ToString::to_string).unwrap_or_default(),
        extra_ca: settings.extra_ca.clone(),
        connections,
    };
    EndpointClient::new(&limits, Arc::new(guard), resolver)
}

fn attempt_limits(config: &Config) -> AttemptLimits {
    AttemptLimits {
        profile: config.delivery.profile,
        successes: config.delivery.log_successful_attempts,
        body_limit: config.attempts.body_limit,
        retention: Duration::from_millis(config.attempts.retention_ms),
        max_rows: config.attempts.max_rows,
    }
}

fn longest_waits(settings: &config::Delivery, hooks: &HookParts) -> LongestWaits {
    LongestWaits { table: Arc::clone(&hooks.table), schedule_ms: settings.retry_schedule_ms.clone() }
}

fn replays(
    settings: &config::Delivery,
    ledger: &Arc<dyn Ledger>,
    hooks: &HookParts,
    retries: &Arc<DueRetries>,
) -> Replays {
    let retention = Duration::from_millis(settings.dead_retention_ms);
    Replays::new(Arc::clone(ledger), Arc::clone(&hooks.table), Arc::clone(retries), retention)
}

fn test_sends(config: &Config, hooks: &HookParts, queue: &DeliveryQueue, dispatch: &Dispatch) -> TestSends {
    TestSends::new(
        Arc::clone(&hooks.table),
        queue.clone(),
        dispatch.client.clone(),
        config.delivery.profile,
        Arc::clone(&dispatch.attempts),
    )
}
