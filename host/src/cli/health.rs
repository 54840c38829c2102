//! `hookline health`: whether a host does its work, as an exit code for those who watch over containers.

use std::io::Write;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use super::client::HostClient;
use super::listing::{entries, harmless};

/// `hookline health`
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Only whether it answers; a host without its broker is alive and not ready
    #[arg(long)]
    pub alive: bool,
    /// Address of the host's HTTP API
    #[arg(long, value_name = "URL", env = "HOOKLINE_URL", default_value = "http://127.0.0.1:8000")]
    pub url: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn health(args: &HealthArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (path, word) = if args.alive { ("healthz", "alive") } else { ("readyz", "ready") };
    let asked = async { HostClient::without_token(&args.url)?.open(&[path]).await }.await;
    if args.json {
        let reasons = match &asked {
            Ok((status, _)) if status.is_success() => Vec::new(),
            Ok((_, answer)) => reasons(answer),
            Err(error) => vec![format!("{error:#}")],
        };
        let degraded = asked.as_ref().map(|(_, answer)| degraded(answer)).unwrap_or_default();
        let told = json!({ word: reasons.is_empty(), "reasons": reasons, "degraded": degraded });
        writeln!(out, "{told:#}")?;
        out.flush()?;
    }
    let (status, answer) = asked?;
    if !status.is_success() {
        bail!("not {word}: {}", harmless(&reasons(&answer).join("; ")));
    }
    if !args.json {
        let degraded = degraded(&answer);
        match degraded.is_empty() {
            true => writeln!(out, "{word}")?,
            false => writeln!(out, "{word}, but degraded: {}", harmless(&degraded.join("; ")))?,
        }
    }
    Ok(())
}

/// What `/readyz` says does not work although the host is ready.
pub(super) fn degraded(answer: &Value) -> Vec<String> {
    let data = answer.get("data").unwrap_or(answer);
    let told = |part: &Value| {
        let of = ["module", "queue", "file"].iter().find_map(|field| part.get(field)?.as_str());
        let reason = part.get("reason").and_then(Value::as_str).unwrap_or_default();
        of.map_or_else(|| reason.to_owned(), |of| format!("{of}: {reason}"))
    };
    entries(data, "degraded").iter().map(told).collect()
}

/// What `/readyz` says is not ready; never nothing.
pub(super) fn reasons(answer: &Value) -> Vec<String> {
    let data = answer.get("data").unwrap_or(answer);
    let named = entries(data, "not_ready").iter().filter_map(Value::as_str).map(str::to_owned);
    let named: Vec<String> = named.collect();
    if named.is_empty() { vec![data.to_string()] } else { named }
}
