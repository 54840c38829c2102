//! `hookline health`: whether a host does its work, as an exit code for those who watch over containers.

use std::io::Write;

use anyhow::bail;
use serde_json::Value;

use super::HealthArgs;
use super::client::Client;
use super::listing::{entries, harmless};

pub(super) async fn health(args: &HealthArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Client::without_token(&args.url)?;
    let (path, word) = if args.alive { ("healthz", "alive") } else { ("readyz", "ready") };
    let (status, answer) = client.open(&[path]).await?;
    if !status.is_success() {
        bail!("not {word}: {}", harmless(&reasons(&answer)));
    }
    writeln!(out, "{word}")?;
    Ok(())
}

/// What `/readyz` says is not ready.
pub(super) fn reasons(answer: &Value) -> String {
    let data = answer.get("data").unwrap_or(answer);
    let parts: Vec<&str> = entries(data, "not_ready").iter().filter_map(Value::as_str).collect();
    if parts.is_empty() { data.to_string() } else { parts.join("; ") }
}
