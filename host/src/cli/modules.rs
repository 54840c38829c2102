//! `hookline modules`: what is loaded, and what was refused and why. `hookline reset-metadata`: what is stored of them.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::HostClient;
use super::failed_events::{
    FailedArgs, ForgetArgs, ReplayArgs, ReplaysArgs, failed, forget, replay, replays, whole_id,
};
use super::listing::{cell, entries, harmless, table};
use super::{ClientArgs, progress};

/// `hookline modules`
#[derive(Debug, Clone, Args)]
pub struct ModulesArgs {
    /// What to do; `list` unless told.
    #[command(subcommand)]
    pub action: Option<ModulesAction>,
    /// Print the host's answer as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What to do with modules.
#[derive(Debug, Clone, Subcommand)]
pub enum ModulesAction {
    /// List the loaded modules and the files that were refused (also without this word)
    List,
    /// Everything about one module
    Show {
        /// The module's id, webhooks_<hook>
        id: String,
    },
    /// The events that a module could not handle, and why
    Failed(FailedArgs),
    /// Hand the events that a module could not handle to the generation that serves now
    Replay(ReplayArgs),
    /// How far the replays of a module have come
    Replays(ReplaysArgs),
    /// Forget events that a module could not handle
    Forget(ForgetArgs),
    /// Load the file of a module again, whether it changed or not; of every module without an id
    ///
    /// A file that is turned down leaves the generation that serves in its place.
    Reload {
        /// The module's id, webhooks_<hook>
        id: Option<String>,
    },
}

/// `hookline reset-metadata`
#[derive(Debug, Clone, Args)]
pub struct ResetArgs {
    /// Only this module's document, with or without webhooks_ in front
    pub id: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

pub(super) async fn modules(args: &ModulesArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = HostClient::new(&args.client)?;
    if let Some(ModulesAction::Reload { id }) = &args.action {
        return reload(&client, id.as_deref(), args.json, out).await;
    }
    match &args.action {
        Some(ModulesAction::Failed(wanted)) => return failed(&client, wanted, args.json, out).await,
        Some(ModulesAction::Replay(wanted)) => return replay(&client, wanted, args.json, out).await,
        Some(ModulesAction::Replays(wanted)) => return replays(&client, wanted, args.json, out).await,
        Some(ModulesAction::Forget(wanted)) => return forget(&client, wanted, args.json, out).await,
        None | Some(ModulesAction::List | ModulesAction::Show { .. } | ModulesAction::Reload { .. }) => {}
    }
    let answer = match &args.action {
        None | Some(ModulesAction::List) => client.get(&["modules"], &[]).await?,
        Some(ModulesAction::Show { id }) => client.get(&["modules", &whole_id(id)], &[]).await?,
        Some(_) => return Ok(()),
    };
    if args.json {
        writeln!(out, "{:#}", without_envelope(&answer))?;
        return Ok(());
    }
    match &args.action {
        None | Some(ModulesAction::List) => list(&answer, out)?,
        Some(_) => show(answer.get("data").unwrap_or(&answer), out)?,
    }
    Ok(())
}

/// What is told, without what stands around every answer: the token is among that.
fn without_envelope(answer: &Value) -> Value {
    let kept = ["data", "pinned", "refused"]
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), answer.get(field)?.clone())));
    Value::Object(kept.collect())
}

/// Reloads one module or each; those that can be are reloaded, whatever becomes of the others.
async fn reload(
    client: &HostClient,
    id: Option<&str>,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let ids = match id {
        Some(id) => vec![whole_id(id)],
        None => {
            let listed = client.get(&["modules"], &[]).await?;
            entries(&listed, "data").iter().map(|module| cell(module, "id")).collect()
        }
    };
    let mut failures = Vec::new();
    let bar = progress::steps(ids.len(), "modules");
    for id in bar.wrap_iter(ids.into_iter()) {
        match client.post(&["modules", &id, "reload"], &[], "application/json", String::new()).await {
            Ok(answer) if json => writeln!(out, "{}", without_envelope(&answer))?,
            Ok(answer) => {
                let module = answer.get("data").unwrap_or(&answer);
                writeln!(
                    out,
                    "{id} {} serves as generation {}",
                    cell(module, "version"),
                    cell(module, "generation")
                )?;
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => bail!("{}", failures.join("; ")),
    }
}

/// Answers in the words of KAZOO's `reset_hook_definitions`.
pub(super) async fn reset(args: &ResetArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let query: Vec<(&str, &str)> = args.id.iter().map(|id| ("id", id.as_str())).collect();
    let client = HostClient::new(&args.client)?;
    let answer = client.post(&["metadata", "reset"], &query, "application/json", String::new()).await?;
    let data = answer.get("data").unwrap_or(&answer);
    if args.json {
        writeln!(out, "{data:#}")?;
        return Ok(());
    }
    let ids = |field: &str| entries(data, field).iter().map(|id| harmless(&plain(id))).collect::<Vec<_>>();
    let (written, removed) = (ids("reinitialized"), ids("removed"));
    if !written.is_empty() {
        writeln!(out, "reinitialized hooks: {}", written.join(", "))?;
    }
    if !removed.is_empty() {
        writeln!(out, "removed, as their modules are not loaded: {}", removed.join(", "))?;
    }
    if written.is_empty() && removed.is_empty() {
        writeln!(out, "no hook definitions")?;
    }
    Ok(())
}

fn list(answer: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let modules = entries(answer, "data");
    if modules.is_empty() {
        writeln!(out, "no modules loaded")?;
    } else {
        let header =
            ["ID", "VERSION", "GENERATION", "STATE", "BINDINGS", "CALLS", "FAILURES", "KEPT", "TIME"];
        table(out, &header, modules.iter().map(row))?;
    }
    modules.iter().try_for_each(|module| stay_mapped(module, out))?;
    if let Some(used) = answer.get("pinned").filter(|used| number(used, "bytes") > 0) {
        pinned_use(used, out)?;
    }
    for refused in entries(answer, "refused") {
        writeln!(out, "refused {}: {}", cell(refused, "file"), cell(refused, "reason"))?;
    }
    Ok(())
}

fn row(module: &Value) -> Vec<String> {
    let mut row: Vec<String> =
        ["id", "version", "generation", "state"].iter().map(|field| cell(module, field)).collect();
    row.push(entries(module, "bindings").len().to_string());
    row.extend(["calls", "failures", "failed_events"].iter().map(|field| cell(module, field)));
    row.push(match module.get("time_spent_us").and_then(Value::as_u64) {
        Some(us) => format!("{}.{:03} ms", us / 1000, us % 1000),
        None => "-".to_owned(),
    });
    row
}

/// One field a line; lists one entry a line below their name.
fn show(module: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let Some(fields) = module.as_object() else {
        return writeln!(out, "{module}");
    };
    for (name, value) in fields {
        match value {
            Value::Array(items) => {
                writeln!(out, "{}:", harmless(name))?;
                items.iter().try_for_each(|item| writeln!(out, "  {}", harmless(&plain(item))))?;
            }
            Value::Object(_) if name == "last_failure" => failure(value, out)?,
            _ => writeln!(out, "{}: {}", harmless(name), cell(module, name))?,
        }
    }
    Ok(())
}

/// The old generations of a module that stay mapped: a line for those that do so for one reason.
fn stay_mapped(module: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let mut by_reason: BTreeMap<String, (usize, u64, String)> = BTreeMap::new();
    for pinned in entries(module, "pinned") {
        let (count, bytes, last) = by_reason.entry(cell(pinned, "reason")).or_default();
        *count += 1;
        *bytes += number(pinned, "bytes");
        *last = cell(pinned, "generation");
    }
    for (reason, (count, bytes, last)) in by_reason {
        let id = cell(module, "id");
        match count {
            1 => writeln!(out, "{id} generation {last} stays mapped with {}: {reason}", megabytes(bytes))?,
            _ => {
                let bytes = megabytes(bytes);
                writeln!(
                    out,
                    "{id}: {count} generations, the last {last}, stay mapped with {bytes}: {reason}"
                )?;
            }
        }
    }
    Ok(())
}

/// What old generations have used up, and what happens at the limits.
fn pinned_use(used: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "pinned: {} of {} and {} of {} thread-local keys\n\
         (modules.pinned_memory_limit; at either no file is loaded\n\
         until the host is started again, what serves goes on)",
        megabytes(number(used, "bytes")),
        megabytes(number(used, "limit_bytes")),
        cell(used, "thread_local_keys"),
        cell(used, "thread_local_keys_limit"),
    )
}

fn number(of: &Value, field: &str) -> u64 {
    of.get(field).and_then(Value::as_u64).unwrap_or_default()
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// The event that a module failed on last, with the backtrace of a panic, a frame a line.
fn failure(failure: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "last_failure:")?;
    for name in ["at", "generation", "event", "message", "place"] {
        writeln!(out, "  {name}: {}", cell(failure, name))?;
    }
    for (nth, frame) in entries(failure, "backtrace").iter().enumerate() {
        let said = if nth == 0 { "in" } else { "called by" };
        writeln!(out, "  {said} {}", harmless(&plain(frame)))?;
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
