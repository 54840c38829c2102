//! `hookline attempts`: what was sent for an account and what came back, once or as it happens.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::ClientArgs;
use super::client::HostClient;
use super::listing::{ListingPages, cell, entries, harmless, pages, table};
use crate::clock;
use crate::clock::now_ms;
use crate::hooks::editor::fields;
use crate::times;

/// How often a host is asked for news.
const LOOK: Duration = Duration::from_secs(1);

/// Attempts of one answer while following.
const AT_ONCE: &str = "200";

/// What stands in the query for those that failed alone.
const FAILED: (&str, &str) = ("failed", "true");

/// `hookline attempts`
#[derive(Debug, Clone, Args)]
pub struct AttemptsArgs {
    /// The account whose hooks were sent to
    #[arg(long, value_name = "ID")]
    pub account: String,
    /// Only this hook
    #[arg(long, value_name = "ID")]
    pub hook: Option<String>,
    /// Only what failed (what did not is only there with delivery.log_successful_attempts)
    #[arg(long)]
    pub failed: bool,
    /// Only from this time on: 2026-07-01T12:00:00Z, or how long ago: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "T", value_parser = moment)]
    pub since: Option<String>,
    /// At most so many of the latest
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Go on with what is tried from now on, one line each
    #[arg(long)]
    pub follow: bool,
    /// Print JSON; with --follow one object a line
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// A time that the host will understand.
pub(super) fn moment(text: &str) -> Result<String, String> {
    times::moment(text, now_ms()).map(|_| text.to_owned())
}

pub(super) async fn attempts(args: &AttemptsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = HostClient::new(&args.client)?;
    let from = args.since.as_deref().and_then(|text| times::moment(text, now_ms()).ok());
    let from = from.map(|from_ms| clock::gregorian(from_ms.div_euclid(1000)).to_string());
    let mut query: Vec<(&str, &str)> =
        from.as_deref().map(|from| ("created_from", from)).into_iter().collect();
    query.extend(args.failed.then_some(FAILED));
    let limit = usize::try_from(args.limit)?;
    let ListingPages { found: mut latest, follow_key, .. } =
        pages(&client, &path(args), &query, limit).await?;
    latest.reverse();
    if args.follow {
        return follow(&client, args, follow_key.unwrap_or_default(), &latest, out).await;
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&latest)?)?;
        return Ok(());
    }
    if latest.is_empty() {
        writeln!(
            out,
            "no attempts; those that succeed are kept only with delivery.log_successful_attempts = true"
        )?;
        return Ok(());
    }
    let rows = latest.iter().map(|attempt| row(attempt).to_vec());
    table(out, &["TIME", "HOOK", "TRY", "RESULT", "ANSWER", "TOTAL"], rows)?;
    Ok(())
}

async fn follow(
    client: &HostClient,
    args: &AttemptsArgs,
    mut key: String,
    latest: &[Value],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    lines(latest, args.json, out)?;
    loop {
        let mut query = vec![("ascending", "true"), ("start_key", key.as_str()), ("page_size", AT_ONCE)];
        query.extend(args.failed.then_some(FAILED));
        let answer = client.get(&path(args), &query).await?;
        key = cell(&answer, "follow_key");
        lines(entries(&answer, "data"), args.json, out)?;
        if answer.get("next_start_key").is_none() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn path(args: &AttemptsArgs) -> Vec<&str> {
    let mut path = vec!["v2", "accounts", &args.account, "webhooks"];
    path.extend(args.hook.as_deref());
    path.push("attempts");
    path
}

fn lines(attempts: &[Value], json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    for attempt in attempts {
        if json {
            writeln!(out, "{attempt}")?;
        } else {
            writeln!(out, "{}", row(attempt).join("  "))?;
        }
    }
    // Whoever follows reads each line as it comes.
    out.flush()
}

fn row(attempt: &Value) -> [String; 6] {
    let time = match attempt.get("at") {
        Some(_) => cell(attempt, "at"),
        // The original's attempts have seconds alone.
        None => attempt
            .get("timestamp")
            .and_then(Value::as_i64)
            .and_then(|seconds| fields::iso_time(clock::unix(seconds)))
            .unwrap_or_default(),
    };
    let number = ["try", "retries"].into_iter().find(|field| attempt.get(*field).is_some());
    let total = attempt.pointer("/timing_ms/total").and_then(Value::as_f64);
    [
        time,
        cell(attempt, "hook_id"),
        number.map_or_else(|| "-".to_owned(), |field| cell(attempt, field)),
        cell(attempt, "result"),
        answer(attempt),
        total.map_or_else(|| "-".to_owned(), |total| format!("{total:.0} ms")),
    ]
}

/// A status, or why there is none.
fn answer(attempt: &Value) -> String {
    match attempt.get("resp_status_code") {
        Some(Value::String(code)) => harmless(code),
        Some(code) if !code.is_null() => code.to_string(),
        _ if attempt.get("client_error").is_some() => cell(attempt, "client_error"),
        _ => cell(attempt, "reason"),
    }
}
