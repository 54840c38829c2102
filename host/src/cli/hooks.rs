//! `hookline hooks`: what the host serves, in the columns of KAZOO's `hooks_configured`; how one does; and a sample sent to
//! one.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::ClientArgs;
use super::client::HostClient;
use super::listing::{all_pages, cell, harmless, table};

/// `hookline hooks`
#[derive(Debug, Clone, Args)]
pub struct HooksArgs {
    /// What to do; `list` unless told.
    #[command(subcommand)]
    pub action: Option<HooksAction>,
    /// The account: only its hooks are listed; `test` needs the one that the hook belongs to
    #[arg(long, global = true, value_name = "ID")]
    pub account: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What to do with hooks.
#[derive(Debug, Clone, Subcommand)]
pub enum HooksAction {
    /// List the hooks that the host serves (also without this word)
    List,
    /// Show one, with how many requests it has under way and may have
    Show {
        /// The hook's id
        id: String,
    },
    /// Send a sample to a hook of an account (--account), once, and show what came back
    ///
    /// It is sent as the hook's events are, with its form, headers and signature, and with the header webhook-test.
    /// Nothing counts for or against the hook, and a disabled one is sent to as well. The exit code is not 0 where
    /// the endpoint did not take it.
    Test(TestArgs),
}

/// `hookline hooks test`
#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// The hook
    #[arg(long, value_name = "ID")]
    pub hook: String,
    /// Which of its module's samples, from 0; without it the first that the hook would want
    #[arg(long, value_name = "N", conflicts_with = "payload")]
    pub sample: Option<u32>,
    /// Of a hook for all events: a sample of this one, such as channel_create
    #[arg(long, value_name = "EVENT")]
    pub event: Option<String>,
    /// Send the JSON object in this file in place of a sample; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
}

pub(super) async fn hooks(args: &HooksArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    match &args.action {
        None | Some(HooksAction::List) => list(args, out).await,
        Some(HooksAction::Show { id }) => show(args, id, out).await,
        Some(HooksAction::Test(test)) => send_test(args, test, out).await,
    }
}

async fn list(args: &HooksArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let query: Vec<(&str, &str)> = args.account.iter().map(|id| ("account", id.as_str())).collect();
    let hooks = all_pages(&HostClient::new(&args.client)?, &["hooks"], &query, usize::MAX).await?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&hooks)?)?;
        return Ok(());
    }
    if hooks.is_empty() {
        writeln!(out, "no webhooks configured")?;
        return Ok(());
    }
    let fields = ["uri", "http_verb", "hook", "retries", "account_id", "id"];
    let rows = hooks.iter().map(|hook| {
        let state = match hook.get("enabled").and_then(Value::as_bool) {
            Some(false) => "off",
            _ => "on",
        };
        let cells = fields.iter().map(|field| cell(hook, field));
        cells.chain([state.to_owned()]).collect()
    });
    table(out, &["URI", "VERB", "EVENT", "RETRIES", "ACCOUNT ID", "ID", "STATE"], rows)?;
    // KAZOO's words, whatever the number.
    writeln!(out, "found {} webhooks", hooks.len())?;
    Ok(())
}

async fn show(args: &HooksArgs, id: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let answer = HostClient::new(&args.client)?.get(&["hooks", id], &[]).await?;
    let hook = answer.get("data").unwrap_or(&answer);
    if args.json {
        writeln!(out, "{hook:#}")?;
        return Ok(());
    }
    for (name, field) in [
        ("id", "id"),
        ("account", "account_id"),
        ("event", "hook"),
        ("uri", "uri"),
        ("verb", "http_verb"),
        ("retries", "retries"),
        ("enabled", "enabled"),
        ("tried", "tried"),
    ] {
        writeln!(out, "{name:<10} {}", cell(hook, field))?;
    }
    writeln!(
        out,
        "{:<10} {} of at most {} now",
        "in flight",
        cell(hook, "in_flight"),
        cell(hook, "in_flight_limit")
    )?;
    Ok(())
}

async fn send_test(args: &HooksArgs, test: &TestArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(account) = &args.account else { bail!("say whose hook it is: --account ID") };
    let mut data = Map::new();
    data.extend(test.event.as_ref().map(|event| ("hook".to_owned(), event.as_str().into())));
    data.extend(test.sample.map(|nth| ("sample".to_owned(), nth.into())));
    if let Some(file) = &test.payload {
        data.insert("payload".to_owned(), payload(file)?);
    }
    let path = ["v2", "accounts", account, "webhooks", &test.hook, "test"];
    let body = json!({"data": data}).to_string();
    let answer = HostClient::new(&args.client)?.post(&path, &[], "application/json", body).await?;
    let attempt = answer.get("data").unwrap_or(&answer);
    match args.json {
        true => writeln!(out, "{attempt:#}")?,
        false => shown(attempt, out)?,
    }
    // Whoever calls this from a script sees the exit code.
    out.flush()?;
    match attempt.get("result").and_then(Value::as_str) {
        Some("success") => Ok(()),
        _ => bail!("the endpoint did not take it: {}", cell(attempt, "reason")),
    }
}

fn payload(file: &Path) -> anyhow::Result<Value> {
    let (name, text) = super::publish::read(Some(file))?;
    serde_json::from_str(&text).with_context(|| format!("{name} is not a JSON object"))
}

/// The request and the answer as they went over the wire, as far as the host shows them.
fn shown(attempt: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let method = cell(attempt, "method").to_uppercase();
    writeln!(out, "{method} {}", cell(attempt, "url"))?;
    message(attempt, "req", out)?;
    let total = attempt.pointer("/timing_ms/total").and_then(Value::as_f64).unwrap_or_default();
    writeln!(out, "{}, {}, after {total:.0} ms", cell(attempt, "result"), cell(attempt, "reason"))?;
    message(attempt, "resp", out)
}

fn message(attempt: &Value, side: &str, out: &mut dyn Write) -> std::io::Result<()> {
    let headers = attempt.get(format!("{side}_headers")).and_then(Value::as_object);
    for (name, value) in headers.into_iter().flatten() {
        writeln!(out, "  {}: {}", harmless(name), harmless(value.as_str().unwrap_or_default()))?;
    }
    let body = attempt.get(format!("{side}_body")).and_then(Value::as_str).unwrap_or_default();
    body.lines().try_for_each(|line| writeln!(out, "  {}", harmless(line)))
}
