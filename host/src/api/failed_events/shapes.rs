//! Events that modules could not handle and their replays, as the API shows them.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::listener::replaying::dry_run::{DryRun, DryRunEvent};
use crate::store::{FailedEventRow, KeptEvent, ModuleReplay};
use crate::times;

/// An event that a module could not handle.
#[derive(Serialize, ToSchema)]
#[schema(as = FailedEvent)]
pub(in crate::api) struct FailedEventShape {
    id: i64,
    /// The module that failed.
    module: String,
    /// The generation that failed last.
    generation: u64,
    /// The version of its module.
    version: String,
    /// Digest of its file.
    sha256: String,
    category: String,
    name: String,
    /// The account that the event names.
    account_id: Option<String>,
    /// What makes the event recognisable when it comes again.
    identity: Option<String>,
    /// `failed`, `timed_out`, `killed` or `quarantined`.
    kind: String,
    /// Why.
    reason: String,
    /// Where in the module's code, and from where that was called.
    place: Option<String>,
    /// What the module logged during the call, the latest lines.
    log: Vec<String>,
    /// When it failed first.
    failed_at: Option<String>,
    /// When it failed last.
    last_failed_at: Option<String>,
    /// How often it failed.
    times: u64,
    /// What it counts against `modules.failed_max_bytes`.
    bytes: u64,
    /// The request that brought it.
    request_id: Option<String>,
}

impl FailedEventShape {
    pub(super) fn of(row: &FailedEventRow) -> Self {
        FailedEventShape {
            id: row.id,
            module: row.module.to_string(),
            generation: row.generation,
            version: row.version.clone(),
            sha256: row.sha256.clone(),
            category: row.category.clone(),
            name: row.name.clone(),
            account_id: row.account.as_ref().map(ToString::to_string),
            identity: row.identity.clone(),
            kind: row.kind.clone(),
            reason: row.reason.clone(),
            place: row.place.clone(),
            log: row.log.lines().map(str::to_owned).collect(),
            failed_at: times::shown_ms(row.failed_ms),
            last_failed_at: times::shown_ms(row.last_ms),
            times: row.times,
            bytes: row.bytes,
            request_id: row.origin.request.as_deref().map(str::to_owned),
        }
    }
}

/// An event that a module could not handle, with the event.
#[derive(Serialize, ToSchema)]
#[schema(as = FailedEventWithBody)]
pub(in crate::api) struct FailedEventWithBody {
    #[serde(flatten)]
    failed: FailedEventShape,
    /// The event as it came.
    event: Value,
}

impl FailedEventWithBody {
    pub(super) fn of(kept: &KeptEvent) -> Self {
        let event = serde_json::from_slice(&kept.event.body).unwrap_or_default();
        FailedEventWithBody { failed: FailedEventShape::of(&kept.row), event }
    }
}

/// A request to hand failed events to a module.
#[derive(Serialize, ToSchema)]
#[schema(as = ModuleReplay)]
pub(in crate::api) struct ModuleReplayShape {
    id: i64,
    module: String,
    /// `running`, `done`, `cancelled` or `stopped`.
    state: &'static str,
    /// `request`, or `generation`: a new generation took them up.
    cause: String,
    since: Option<String>,
    event: Option<i64>,
    created_at: Option<String>,
    finished_at: Option<String>,
    /// How many events there were.
    total: u64,
    /// How many the module handled.
    handled: u64,
    /// How many it failed on again.
    failed: u64,
    /// How many deliveries that caused.
    fired: u64,
    /// Why it was stopped.
    reason: Option<String>,
}

impl ModuleReplayShape {
    pub(super) fn of(job: &ModuleReplay) -> Self {
        ModuleReplayShape {
            id: job.id,
            module: job.wanted.module.to_string(),
            state: job.state.as_str(),
            cause: job.wanted.cause.to_string(),
            since: job.wanted.since_ms.and_then(times::shown_ms),
            event: job.wanted.event,
            created_at: times::shown_ms(job.created_ms),
            finished_at: job.finished_ms.and_then(times::shown_ms),
            total: job.total,
            handled: job.handled,
            failed: job.failed,
            fired: job.fired,
            reason: job.reason.clone(),
        }
    }
}

/// What a replay would do.
#[derive(Serialize, ToSchema)]
#[schema(as = ModuleDryRun)]
pub(in crate::api) struct DryRunShape {
    module: String,
    /// The generation that was asked.
    generation: u64,
    /// The version of its module.
    version: String,
    /// The events that were looked at, the newest first.
    events: Vec<PlannedEventShape>,
    /// There are more.
    more: bool,
}

/// What a replay would do with one event.
#[derive(Serialize, ToSchema)]
#[schema(as = ModuleDryRunEvent)]
struct PlannedEventShape {
    id: i64,
    category: String,
    name: String,
    /// Why the module fails on it again.
    failure: Option<String>,
    /// What it would fire.
    fires: Vec<PlannedFiringShape>,
    /// What hooks would be sent; up to a thousand.
    deliveries: Vec<PlannedDeliveryShape>,
    /// How many these are.
    deliveries_total: usize,
}

/// A firing that there would be.
#[derive(Serialize, ToSchema)]
#[schema(as = ModuleDryRunFiring)]
struct PlannedFiringShape {
    /// The hook event; none where the event carries the hook.
    event: Option<String>,
    account_id: Option<String>,
    /// The payload, unless it is very long.
    payload: Option<Value>,
}

/// A delivery that there would be.
#[derive(Serialize, ToSchema)]
#[schema(as = ModuleDryRunDelivery)]
struct PlannedDeliveryShape {
    hook_id: String,
    account_id: String,
    webhook_id: String,
}

impl DryRunShape {
    pub(super) fn of(module: &str, planned: &DryRun) -> Self {
        DryRunShape {
            module: module.to_owned(),
            generation: planned.generation,
            version: planned.version.clone(),
            events: planned.events.iter().map(PlannedEventShape::of).collect(),
            more: planned.more,
        }
    }
}

impl PlannedEventShape {
    fn of(planned: &DryRunEvent) -> Self {
        PlannedEventShape {
            id: planned.row.id,
            category: planned.row.category.clone(),
            name: planned.row.name.clone(),
            failure: planned.failure.clone(),
            fires: planned
                .firings
                .iter()
                .map(|firing| PlannedFiringShape {
                    event: firing.hook_event.clone(),
                    account_id: firing.account.as_ref().map(ToString::to_string),
                    payload: firing.payload.as_deref().and_then(|text| serde_json::from_str(text).ok()),
                })
                .collect(),
            deliveries: planned
                .deliveries
                .iter()
                .map(|delivery| PlannedDeliveryShape {
                    hook_id: delivery.hook.to_string(),
                    account_id: delivery.account.to_string(),
                    webhook_id: delivery.webhook_id.clone(),
                })
                .collect(),
            deliveries_total: planned.deliveries_total,
        }
    }
}
