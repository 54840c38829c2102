//! `--demo`: a receiver, an account with hooks and a stream of synthetic calls, to watch deliveries at once.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes as Body;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::HostParts;
use crate::hooks::editor::Editor;
use crate::model::{AccountId, Document};
use crate::supervision::ChildContext;

/// Name of the account that the demo makes and finds again.
const ACCOUNT: &str = "Hookline demo";

/// Hook events that the demo listens to, with the call events that cause them.
const STEPS: [(&str, &str); 3] = [
    ("channel_create", "CHANNEL_CREATE"),
    ("channel_answer", "CHANNEL_ANSWER"),
    ("channel_destroy", "CHANNEL_DESTROY"),
];

/// From one step of a call to the next.
const PACE: Duration = Duration::from_millis(700);

/// Where the demo's receiver listens. The target guard lets this one address through, so it is known early.
///
/// # Errors
/// It cannot listen.
pub(super) fn receiver() -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").context("starting the demo's receiver")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Runs the demo until it is told to stop.
///
/// # Errors
/// The account or its hooks cannot be made, or the receiver fails.
pub(super) async fn run(
    parts: &HostParts,
    listener: TcpListener,
    context: ChildContext,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let receiver = format!("http://{}/", listener.local_addr()?);
    let account = account(parts).await?;
    hooks(&parts.hooks.editor, &account, &receiver).await?;
    info!(account = %account, receiver, "demo started");
    context.ready.ready();
    let stop = context.stop;
    let served = axum::serve(listener, Router::new().fallback(received));
    let (serving, calling) =
        (served.with_graceful_shutdown(stop.clone().cancelled_owned()), calls(parts, &account));
    tokio::select! {
        served = async { serving.await } => served.context("the demo's receiver"),
        () = calling => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}

async fn received(headers: HeaderMap, body: Body) -> StatusCode {
    let payload: Value = serde_json::from_slice(&body).unwrap_or_default();
    let webhook = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let text = |field: &str| payload[field].as_str().unwrap_or_default().to_owned();
    info!(event = text("hook_event"), call = text("call_id"), webhook, "the demo's receiver got a webhook");
    StatusCode::OK
}

async fn account(parts: &HostParts) -> anyhow::Result<AccountId> {
    let known =
        parts.hooks.accounts.all().into_iter().find(|account| account.name.as_deref() == Some(ACCOUNT));
    if let Some(known) = known {
        return Ok(known.id.clone());
    }
    let made = parts.hooks.editor.create_account(None, document(json!({"name": ACCOUNT}))).await;
    let made = made.context("making the demo's account")?;
    let id = made.get("_id").and_then(Value::as_str).context("the demo's account has no id")?;
    Ok(AccountId::from(id))
}

/// The receiver has another port at each start, so the hooks of the last one are replaced.
async fn hooks(editor: &Editor, account: &AccountId, receiver: &str) -> anyhow::Result<()> {
    for old in editor.hooks(account.as_str()).await.context("reading the demo's hooks")? {
        if let Some(id) = old.get("_id").and_then(Value::as_str) {
            editor.delete_hook(account.as_str(), id).await.context("removing a hook of the last demo")?;
        }
    }
    for (hook, _) in STEPS {
        let wanted = json!({"name": format!("demo {hook}"), "hook": hook, "uri": receiver, "format": "json"});
        if let Err(error) = editor.create_hook(account.as_str(), document(wanted)).await {
            warn!(hook, %error, "the demo goes on without this hook; is its module in the plugins folder?");
        }
    }
    Ok(())
}

fn document(value: Value) -> Document {
    value.as_object().cloned().unwrap_or_default()
}

async fn calls(parts: &HostParts, account: &AccountId) {
    let mut pace = tokio::time::interval(PACE);
    loop {
        let call_id = format!("demo-{:08x}", rand::random::<u32>());
        for (_, name) in STEPS {
            pace.tick().await;
            let event = call_event(name, account, &call_id).to_string();
            if let Err(error) = parts.listener.inlet.post(vec![Bytes::from(event)], None).await {
                warn!(%error, "a call of the demo was not taken");
            }
        }
    }
}

fn call_event(name: &str, account: &AccountId, call_id: &str) -> Value {
    json!({
        "App-Name": "hookline", "App-Version": env!("CARGO_PKG_VERSION"),
        "Event-Category": "call_event", "Event-Name": name, "Msg-ID": format!("{call_id}-{name}"),
        "Call-ID": call_id, "Call-Direction": "inbound",
        "Timestamp": crate::clock::gregorian_now(),
        "Caller-ID-Name": "Ada Demo", "Caller-ID-Number": "+15550100001",
        "Callee-ID-Name": "Bo Demo", "Callee-ID-Number": "1002",
        "From": "1001@demo.example.com", "To": "1002@demo.example.com", "Request": "1002@demo.example.com",
        "Custom-Channel-Vars": {"Account-ID": account.as_str(), "Authorizing-Type": "device"},
    })
}
