//! From a planned delivery to its outcome: the queue, what is due, who sends, and who writes down what became of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tracing::warn;

use super::{HookParts, HostStores};
use crate::app::health::HostCondition;
use crate::attempts::log::{AttemptLimits, AttemptsLog};
use crate::config::{self, Config};
use crate::delivery::client::{ClientLimits, EndpointClient};
use crate::delivery::dispatch::{BulkSending, DeliveryCounters, Dispatch};
use crate::delivery::due::{DueDeliveries, DueRules};
use crate::delivery::outcomes::OutcomeWriter;
use crate::delivery::queue::DeliveryQueue;
use crate::delivery::resolve::NameResolver;
use crate::delivery::scheduler::SchedulerLimits;
use crate::delivery::sending_thread::SendingThread;
use crate::delivery::shards::DueShards;
use crate::delivery::test_send::TestSends;
use crate::delivery::work::RetryPolicy;
use crate::delivery::worker::{DeliveryShard, DeliveryWorker};
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
    /// What is due.
    pub due: Arc<DueShards>,
    /// Send, each to some of the hooks.
    pub dispatch: Vec<Arc<Dispatch>>,
    /// Sends dead deliveries again.
    pub replays: Replays,
    /// Sends tests.
    pub test_sends: Arc<TestSends>,
    worker: Arc<DeliveryWorker>,
    request_timeout: Duration,
    thread: Arc<RuntimeThread>,
    _threads: (Vec<Arc<RuntimeThread>>, Vec<RuntimeThread>),
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
    /// Where the shards run; on the first one, also what there is one of.
    pub(super) threads: Vec<Arc<RuntimeThread>>,
    /// Where requests are sent for accounts of a shard that have much in flight.
    pub(super) bulk: Vec<RuntimeThread>,
}

impl DeliveryParts {
    /// Nothing is due yet: what an earlier run left is taken up when the children start.
    ///
    /// # Errors
    /// The proxy or the further authorities in the settings cannot be used.
    pub(super) fn build(config: &Config, deps: DeliveryDeps<'_>) -> anyhow::Result<Arc<Self>> {
        let (settings, profile) = (&config.delivery, config.delivery.profile);
        warn_of_few_files(deps.connections, settings.max_in_flight);
        let HookParts { table, accounts, editor, disabler, .. } = deps.hooks;
        let ledger = Arc::clone(&deps.stores.ledger);
        let rules = DueRules {
            table: Arc::clone(table),
            accounts: Arc::clone(accounts),
            disabler: Arc::clone(disabler),
            rate: settings.rate_limit(),
            schedule_ms: settings.retry_schedule_ms.clone(),
        };
        let limits = SchedulerLimits::of(settings, deps.connections);
        let due = Arc::new(DueShards::new(limits, deps.threads.len(), rules));
        let queue = DeliveryQueue::new(ledger.clone(), Arc::clone(&due), profile, deps.cluster_id);
        let (attempts, attempt_queue) = AttemptsLog::new(attempt_limits(config));
        let attempts = Arc::new(attempts);
        let clients = clients(settings, deps.connections, due.iter().len(), deps.guard, &deps.resolver)?;
        let test_client = clients.first().cloned().context("there is no shard")?;
        let thread = deps.threads.first().cloned().context("there is no thread")?;
        let dispatch = |due: &Arc<DueDeliveries>, client: EndpointClient, bulk: &RuntimeThread| {
            let (outcomes, outcome_writer) = OutcomeWriter::new();
            let bulk =
                BulkSending { runtime: bulk.runtime().clone(), client: client.on(SendingThread::Bulk) };
            let dispatch = Dispatch {
                due: Arc::clone(due),
                ledger: ledger.clone(),
                queue: queue.clone(),
                table: Arc::clone(table),
                disabler: Arc::clone(disabler),
                editor: Arc::clone(editor),
                client,
                bulk,
                rules: RetryPolicy { profile, retry_schedule_ms: settings.retry_schedule_ms.clone() },
                counters: Arc::new(DeliveryCounters::default()),
                outcomes,
                attempts: Arc::clone(&attempts),
                stream: Arc::clone(deps.stream),
            };
            (Arc::new(dispatch), outcome_writer)
        };
        let threads = deps.threads.iter().zip(&deps.bulk);
        let shards = due.iter().zip(clients).zip(threads).map(|((due, client), (thread, bulk))| {
            let (dispatch, outcomes) = dispatch(due, client, bulk);
            (Arc::clone(&dispatch), DeliveryShard::new(dispatch, outcomes, thread.runtime().clone()))
        });
        let (dispatch, shards): (Vec<_>, Vec<_>) = shards.unzip();
        Ok(Arc::new(DeliveryParts {
            replays: replays(settings, &ledger, deps.hooks, &due),
            test_sends: Arc::new(test_sends(config, deps.hooks, &queue, test_client, &attempts)),
            worker: Arc::new(DeliveryWorker::new(shards, Arc::clone(&due), ledger, attempts, attempt_queue)),
            due,
            queue,
            dispatch,
            request_timeout: settings.request_timeout(),
            thread,
            _threads: (deps.threads, deps.bulk),
        }))
    }

    /// Takes up what an earlier run left, sends, and writes what became of it; has an eye on the store that it writes to.
    /// When it is told to stop, requests under way may end.
    pub(in crate::app) fn delivery_child(self: &Arc<Self>, condition: &Arc<HostCondition>) -> ChildSpec {
        let condition = Arc::clone(condition);
        let run = move |parts: Arc<Self>, context: ChildContext| {
            let condition = Arc::clone(&condition);
            async move {
                let ready = || context.ready.ready();
                tokio::select! {
                    worked = Arc::clone(&parts.worker).run(ready, context.stop) => worked,
                    never = condition.watch() => match never {},
                }
            }
        };
        ChildSpec::working_with("delivery", Restart::Permanent, self, run)
            .stop_within(self.request_timeout + WRITING)
            .with_crew(&self.thread)
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

fn warn_of_few_files(connections: usize, max_in_flight: usize) {
    if connections < max_in_flight {
        warn!(
            connections,
            max_in_flight,
            "fewer requests than delivery.max_in_flight are under way at once, as few files may be open (ulimit -n)"
        );
    }
}

fn clients(
    settings: &config::Delivery,
    connections: usize,
    shards: usize,
    guard: Guard,
    resolver: &Arc<dyn NameResolver>,
) -> anyhow::Result<Vec<EndpointClient>> {
    let limits = ClientLimits {
        connect_timeout: settings.connect_timeout(),
        request_timeout: settings.request_timeout(),
        response_body_limit: settings.response_body_limit,
        proxy: settings.proxy.as_ref().map(ToString::to_string).unwrap_or_default(),
        extra_ca: settings.extra_ca.clone(),
        connections,
    };
    EndpointClient::several(&limits, shards, &Arc::new(guard), resolver)
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

fn replays(
    settings: &config::Delivery,
    ledger: &Arc<dyn Ledger>,
    hooks: &HookParts,
    due: &Arc<DueShards>,
) -> Replays {
    let retention = Duration::from_millis(settings.dead_retention_ms);
    Replays::new(Arc::clone(ledger), Arc::clone(&hooks.table), Arc::clone(due), retention)
}

fn test_sends(
    config: &Config,
    hooks: &HookParts,
    queue: &DeliveryQueue,
    client: EndpointClient,
    attempts: &Arc<AttemptsLog>,
) -> TestSends {
    TestSends::new(
        Arc::clone(&hooks.table),
        queue.clone(),
        client,
        config.delivery.profile,
        Arc::clone(attempts),
    )
}
