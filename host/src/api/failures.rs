//! `/failures`: which hooks fail, and how their failures are forgotten. `/hooks/enable`: hooks on again that the host
//! has switched off. For whoever runs the host.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::envelope::{Answer, ListBody, PagedData, Reply};
use super::error::Failure;
use super::known::StrictQuery;
use super::{Api, listing};
use crate::clock::now_ms;
use crate::disabler::ShownFailing;
use crate::hooks::editor::{EnabledHooks, fields};
use crate::model::{AccountId, HookId};

/// What stands behind the `?` of `GET /failures`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FailureListQuery {
    /// Only hooks of this account.
    account: Option<String>,
    /// Only this hook.
    hook: Option<String>,
    /// How many a page has: 50 where it is not said.
    #[param(value_type = Option<u64>, minimum = 1)]
    page_size: Option<String>,
    /// `next_start_key` of the page before.
    start_key: Option<String>,
}

/// Lists the hooks that fail
///
/// By account and hook.
#[utoipa::path(get, path = "/failures", tag = "Operation", operation_id = "failures_list", params(FailureListQuery), responses(
    (status = 404, description = "There is no such account")
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    StrictQuery(wanted, _): StrictQuery<FailureListQuery>,
) -> Answer<PagedData<Failing>> {
    if let Some(account) = &wanted.account {
        api.editor.account(account).await?;
    }
    let account = wanted.account.map(AccountId::from);
    let now = now_ms();
    let size = listing::size(wanted.page_size.as_deref(), None)?;
    let start = wanted.start_key.as_deref().unwrap_or_default();
    let mut shown = api.disabler.list(account.as_ref(), now);
    shown.retain(|shown| wanted.hook.as_deref().is_none_or(|hook| shown.hook.as_str() == hook));
    // Sorted as they are listed: the page begins with the first that is not before the key.
    let begin = shown.partition_point(|shown| place(shown).as_str() < start);
    let next = shown.get(begin + size).map(place);
    let failing: Vec<Failing> =
        shown.iter().skip(begin).take(size).map(|failing| entry(failing, now)).collect();
    Ok(Reply::page(&failing, wanted.start_key, next))
}

/// Where an entry stands in the listing.
fn place(shown: &ShownFailing) -> String {
    format!("{}.{}", shown.account, shown.hook)
}

/// A hook that fails.
#[derive(Serialize, ToSchema)]
pub(super) struct Failing {
    account_id: String,
    hook_id: String,
    /// Failures within the time that counts.
    count: usize,
    /// Failures since the last success.
    failed: Option<u64>,
    failing_since: Option<String>,
    state: FailingPhase,
    /// The how manieth pause in a row this is.
    pause: Option<u32>,
    paused_until: Option<String>,
}

/// What is done about it: nothing yet; nothing is sent; one delivery tries whether it works again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Phase)]
pub(super) enum FailingPhase {
    Failing,
    Paused,
    Probing,
}

fn entry(shown: &ShownFailing, now_ms: i64) -> Failing {
    let time = |ms: i64| fields::iso_time(ms.div_euclid(1000));
    let failing = shown.failing.as_ref();
    let pause = failing.and_then(|failing| failing.pause);
    Failing {
        account_id: shown.account.to_string(),
        hook_id: shown.hook.to_string(),
        count: shown.count,
        failed: failing.map(|failing| failing.failed),
        failing_since: failing.and_then(|failing| time(failing.since_ms)),
        state: match pause {
            None => FailingPhase::Failing,
            Some(pause) if pause.until_ms > now_ms => FailingPhase::Paused,
            Some(_) => FailingPhase::Probing,
        },
        pause: pause.map(|pause| pause.step),
        paused_until: pause.and_then(|pause| time(pause.until_ms)),
    }
}

/// What stands behind the `?` of `DELETE /failures`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FlushQuery {
    /// The account whose hooks start anew.
    #[param(required = true, value_type = String)]
    account: Option<String>,
    /// Only this hook.
    hook: Option<String>,
}

/// How many failures were forgotten.
#[derive(Serialize, ToSchema)]
pub(super) struct Forgotten {
    flushed: usize,
}

/// Forgets failures
///
/// The hooks of the account, or the one, start anew as if they had never failed.
#[utoipa::path(delete, path = "/failures", tag = "Operation", operation_id = "failures_flush", params(FlushQuery), responses(
    (status = 404, description = "There is no such account")
))]
pub(super) async fn flush(
    State(api): State<Arc<Api>>,
    StrictQuery(wanted, _): StrictQuery<FlushQuery>,
) -> Answer<Forgotten> {
    let account = needed(wanted.account.as_deref())?;
    api.editor.account(account).await?;
    let hook = wanted.hook.as_deref().map(HookId::from);
    let flushed = api.disabler.flush(&AccountId::from(account), hook.as_ref());
    Ok(Reply::of(&Forgotten { flushed }))
}

fn needed(account: Option<&str>) -> Result<&str, Failure> {
    let missing = || fields::invalid("account", "required", "say which account: ?account=ID");
    account.ok_or_else(|| Failure::validation(missing()))
}

/// What stands behind the `?` of `POST /hooks/enable`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EnableQuery {
    /// The account whose hooks are switched on again.
    #[param(required = true, value_type = String)]
    account: Option<String>,
    /// Whether those of the accounts below are, too.
    #[param(value_type = Option<bool>)]
    descendants: Option<String>,
}

/// Switches hooks on again
///
/// Those that the host has switched off, and no others; says which.
#[utoipa::path(post, path = "/hooks/enable", tag = "Operation", operation_id = "hooks_enable", params(EnableQuery), responses(
    (status = 404, description = "There is no such account")
))]
pub(super) async fn enable(
    State(api): State<Arc<Api>>,
    StrictQuery(wanted, _): StrictQuery<EnableQuery>,
) -> Answer<ListBody<SwitchedOn>> {
    let account = needed(wanted.account.as_deref())?;
    let descendants = listing::flag("descendants", wanted.descendants.as_deref())?.unwrap_or(false);
    let done = api.editor.enable_hooks(account, descendants).await?;
    Ok(Reply::many(&done.iter().map(enabled).collect::<Vec<_>>()))
}

/// What was done for one account.
#[derive(Serialize, ToSchema)]
pub(super) struct SwitchedOn {
    account_id: String,
    /// How many hooks it has.
    hooks: usize,
    /// The ids of those that are on again.
    enabled: Vec<String>,
}

fn enabled(enabled: &EnabledHooks) -> SwitchedOn {
    SwitchedOn {
        account_id: enabled.account.to_string(),
        hooks: enabled.hooks,
        enabled: enabled.enabled.clone(),
    }
}
