//! What would become of failed events if they were handed to the module now: asked of the module and of the hooks, and
//! nothing stored.

use super::handover::{ModuleHandover, answers, parsed};
use crate::model::{AccountId, HookId};
use crate::module::jobs::CallFailure;
use crate::module::{Firing, HookTarget};
use crate::store::{FailedEventQuery, FailedEventRow, KeptEvent, Ledger, Result};

/// Bytes of events that are looked at together.
const LOOKED_AT: usize = 8 * 1024 * 1024;

/// Bytes of a payload that are shown.
const PAYLOAD_SHOWN: usize = 64 * 1024;

/// Bytes of payloads that are shown together.
const PAYLOADS_SHOWN: usize = 2 * 1024 * 1024;

/// Deliveries of one event that are shown.
const DELIVERIES_SHOWN: usize = 1_000;

/// What would become of failed events.
#[derive(Debug, Clone)]
pub struct DryRun {
    /// The generation that was asked.
    pub generation: u64,
    /// The version of its module.
    pub version: String,
    /// The events, the newest first.
    pub events: Vec<DryRunEvent>,
    /// There are more than were looked at: beyond the limit, or behind one over which the module hung or lost its process.
    pub more: bool,
}

/// What would become of one event.
#[derive(Debug, Clone)]
pub struct DryRunEvent {
    /// What is known of it.
    pub row: FailedEventRow,
    /// Why the module fails on it again.
    pub failure: Option<String>,
    /// What it would fire.
    pub firings: Vec<DryRunFiring>,
    /// What hooks would be sent; up to a thousand.
    pub deliveries: Vec<DryRunDelivery>,
    /// How many these are.
    pub deliveries_total: usize,
}

/// What a module would fire.
#[derive(Debug, Clone)]
pub struct DryRunFiring {
    /// The hook event; none where the event carries the hook.
    pub hook_event: Option<String>,
    /// Whose.
    pub account: Option<AccountId>,
    /// The payload's JSON text, where it is not too long.
    pub payload: Option<String>,
}

/// What a hook would be sent.
#[derive(Debug, Clone)]
pub struct DryRunDelivery {
    /// Which.
    pub hook: HookId,
    /// Its account.
    pub account: AccountId,
    /// The header of the request; random for an event without an identity.
    pub webhook_id: String,
}

/// Asks about the newest of a module's events, or about one.
pub(super) async fn dry_run(
    ledger: &dyn Ledger,
    handover: &ModuleHandover<'_>,
    since_ms: Option<i64>,
    event: Option<i64>,
    limit: usize,
) -> Result<DryRun> {
    let module = handover.module;
    let wanted = FailedEventQuery {
        module: module.id.clone(),
        since_ms,
        until_ms: None,
        start: event,
        limit: if event.is_some() { 1 } else { limit + 1 },
    };
    let rows = ledger.failed_events(wanted).await?;
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for row in rows.iter().take(limit) {
        // Whatever became of it meanwhile.
        let Some(found) = ledger.failed_event(row.id).await? else { continue };
        bytes += found.event.body.len();
        kept.push(found);
        if bytes >= LOOKED_AT {
            break;
        }
    }
    let mut more = rows.len() > kept.len();
    let mut left = PAYLOADS_SHOWN;
    let mut events = Vec::with_capacity(kept.len());
    for kept in kept {
        let (outcome, costly) = one(handover, kept, &mut left).await;
        events.push(outcome);
        if costly {
            // Another one would quarantine the module that serves.
            more = true;
            break;
        }
    }
    let (generation, version) = (module.figures().generation, module.inspected.manifest.version.to_string());
    Ok(DryRun { generation, version, events, more })
}

/// Also says whether the call cost the module a thread or a process.
async fn one(handover: &ModuleHandover<'_>, kept: KeptEvent, left: &mut usize) -> (DryRunEvent, bool) {
    let module = handover.module;
    let row = kept.row.clone();
    let mut outcome =
        DryRunEvent { row, failure: None, firings: Vec::new(), deliveries: Vec::new(), deliveries_total: 0 };
    let event = match parsed(vec![kept]).await.pop() {
        Some((_, Ok(event))) => event,
        Some((_, Err(reason))) => {
            outcome.failure = Some(format!("was not asked: {reason}"));
            return (outcome, false);
        }
        None => return (outcome, false),
    };
    if !answers(module, &event) {
        return (outcome, false);
    }
    let mut costly = false;
    match handover.ask(&[std::sync::Arc::clone(&event)]).await.pop() {
        Some(Ok(firings)) => {
            outcome.firings = firings.iter().map(|firing| shown(firing, left)).collect();
            let wanted = handover.listener.planner().wanted(&event, module, firings).await;
            outcome.deliveries_total = wanted.len();
            let shown = wanted.into_iter().take(DELIVERIES_SHOWN);
            outcome.deliveries = shown
                .map(|wanted| DryRunDelivery {
                    hook: wanted.hook.id.clone(),
                    account: wanted.hook.account.clone(),
                    webhook_id: wanted.webhook_id,
                })
                .collect();
        }
        Some(Err(failure)) => {
            costly = failure.costs_a_process() || matches!(failure, CallFailure::Quarantined(_));
            outcome.failure = Some(failure.to_string());
        }
        None => {}
    }
    (outcome, costly)
}

fn shown(firing: &Firing, left: &mut usize) -> DryRunFiring {
    let json = firing.payload.json();
    let payload = (json.len() <= PAYLOAD_SHOWN && json.len() <= *left).then(|| {
        *left -= json.len();
        String::from_utf8_lossy(json).into_owned()
    });
    match &firing.target {
        HookTarget::Hooks { event, account, .. } => {
            DryRunFiring { hook_event: Some(event.clone()), account: Some(account.clone()), payload }
        }
        HookTarget::Carried(_) => DryRunFiring { hook_event: None, account: None, payload },
    }
}
