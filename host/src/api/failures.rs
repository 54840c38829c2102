//! `/failures`: which hooks fail, and how their failures are forgotten. `/hooks/enable`: hooks on again that the host
//! has switched off. For whoever runs the host.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use super::envelope::Reply;
use super::error::Failure;
use super::known::Known;
use crate::delivery::retries::now_ms;
use crate::disabler::Shown;
use crate::hooks::editor::{Enabled, fields};
use crate::hooks::{AccountId, HookId};

type Answer = Result<Reply, Failure>;

/// What stands behind the `?`.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    account: Option<String>,
    hook: Option<String>,
}

/// What stands behind the `?` of `/hooks/enable`.
#[derive(Debug, Deserialize)]
pub(super) struct Enabling {
    account: Option<String>,
    #[serde(default)]
    descendants: bool,
}

fn needed(account: Option<&str>) -> Result<&str, Failure> {
    let missing = || fields::invalid("account", "required", "say which account: ?account=ID");
    account.ok_or_else(|| Failure::validation(missing()))
}

pub(super) async fn list(State(api): State<Arc<Api>>, Known(wanted, _): Known<Wanted>) -> Answer {
    if let Some(account) = &wanted.account {
        api.editor.account(account).await?;
    }
    let account = wanted.account.map(AccountId::from);
    let now = now_ms();
    let shown = api.disabler.list(account.as_ref(), now);
    let wanted = |shown: &&Shown| wanted.hook.as_deref().is_none_or(|hook| shown.hook.as_str() == hook);
    Ok(Reply::ok(shown.iter().filter(wanted).map(|failing| entry(failing, now)).collect::<Vec<_>>()))
}

fn entry(shown: &Shown, now_ms: i64) -> Value {
    let time = |ms: i64| fields::iso_time(ms.div_euclid(1000));
    let failing = shown.failing.as_ref();
    let pause = failing.and_then(|failing| failing.pause);
    json!({
        "account_id": shown.account.as_str(),
        "hook_id": shown.hook.as_str(),
        "count": shown.count,
        "failed": failing.map(|failing| failing.failed),
        "failing_since": failing.and_then(|failing| time(failing.since_ms)),
        "state": match pause {
            None => "failing",
            Some(pause) if pause.until_ms > now_ms => "paused",
            Some(_) => "probing",
        },
        "pause": pause.map(|pause| pause.step),
        "paused_until": pause.and_then(|pause| time(pause.until_ms)),
    })
}

pub(super) async fn flush(State(api): State<Arc<Api>>, Known(wanted, _): Known<Wanted>) -> Answer {
    let account = needed(wanted.account.as_deref())?;
    api.editor.account(account).await?;
    let hook = wanted.hook.as_deref().map(HookId::from);
    let flushed = api.disabler.flush(&AccountId::from(account), hook.as_ref());
    Ok(Reply::ok(json!({ "flushed": flushed })))
}

pub(super) async fn enable(State(api): State<Arc<Api>>, Known(wanted, _): Known<Enabling>) -> Answer {
    let account = needed(wanted.account.as_deref())?;
    let done = api.editor.enable_hooks(account, wanted.descendants).await?;
    Ok(Reply::ok(done.iter().map(enabled).collect::<Vec<_>>()))
}

fn enabled(enabled: &Enabled) -> Value {
    json!({
        "account_id": enabled.account.as_str(),
        "hooks": enabled.hooks,
        "enabled": enabled.enabled,
    })
}
