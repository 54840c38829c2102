//! `hookline deliveries`, `replay` and `replays`: what waits, what is dead, and sending it again.

use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::ClientArgs;
use super::attempts::moment;
use super::client::HostClient;
use super::listing::{ListingPages, all_pages, cell, pages, table};

/// How often a host is asked how far a job is.
const LOOK: Duration = Duration::from_millis(500);

/// `hookline deliveries`
#[derive(Debug, Clone, Args)]
pub struct DeliveriesArgs {
    /// Only what waits for its first or next try
    #[arg(long, conflicts_with = "dead")]
    pub pending: bool,
    /// Only what was given up
    #[arg(long)]
    pub dead: bool,
    /// Only those of this account
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// Only those of this hook
    #[arg(long, value_name = "ID")]
    pub hook: Option<String>,
    /// Only those accepted from this time on: 2026-07-01T12:00:00Z, or how long ago: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "T", value_parser = moment)]
    pub since: Option<String>,
    /// At most so many of the latest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `hookline replay`
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["since", "delivery"]))]
pub struct ReplayArgs {
    /// The hook whose dead deliveries are sent again; --delivery needs none
    #[arg(long, value_name = "ID", required_unless_present = "delivery")]
    pub hook: Option<String>,
    /// All that were accepted from this time on: 2026-07-01T12:00:00Z, or how long ago: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "T", value_parser = moment)]
    pub since: Option<String>,
    /// Only those accepted up to this time
    #[arg(long, value_name = "T", requires = "since", value_parser = moment)]
    pub until: Option<String>,
    /// This one alone
    #[arg(long, value_name = "ID")]
    pub delivery: Option<u64>,
    /// Wait until all of them were brought back
    #[arg(long, requires = "since")]
    pub wait: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `hookline replays`
#[derive(Debug, Clone, Args)]
pub struct ReplaysArgs {
    /// What to do; `list` unless told.
    #[command(subcommand)]
    pub action: Option<ReplaysAction>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What to do with jobs that send again.
#[derive(Debug, Clone, Subcommand)]
pub enum ReplaysAction {
    /// List the latest (also without this word)
    List,
    /// How far one is
    Show {
        /// The job's id
        id: u64,
    },
    /// End one; what it has brought back is sent all the same
    Cancel {
        /// The job's id
        id: u64,
    },
}

pub(super) async fn deliveries(args: &DeliveriesArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = HostClient::new(&args.client)?;
    let status = [("pending", args.pending), ("dead", args.dead)].into_iter().find(|(_, wanted)| *wanted);
    let chosen = [("account", &args.account), ("hook", &args.hook), ("since", &args.since)];
    let mut query: Vec<(&str, &str)> = status.map(|(status, _)| ("status", status)).into_iter().collect();
    query.extend(chosen.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))));
    let ListingPages { found, more, .. } =
        pages(&client, &["deliveries"], &query, usize::try_from(args.limit)?).await?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
        return Ok(());
    }
    if found.is_empty() {
        writeln!(out, "no deliveries")?;
        return Ok(());
    }
    let header = ["ID", "STATUS", "HOOK", "TRIES", "ACCEPTED", "DUE OR DIED", "REASON"];
    table(out, &header, found.iter().map(delivery))?;
    if more {
        writeln!(out, "the latest {}; --limit shows more", found.len())?;
    }
    Ok(())
}

fn delivery(delivery: &Value) -> Vec<String> {
    let when = if delivery.get("died_at").is_some() { "died_at" } else { "due_at" };
    let fields = ["id", "status", "hook_id", "tries", "created_at", when, "reason"];
    fields.iter().map(|field| cell(delivery, field)).collect()
}

pub(super) async fn replay(args: &ReplayArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = HostClient::new(&args.client)?;
    if let Some(id) = args.delivery {
        return replay_one(&client, args, &id.to_string(), out).await;
    }
    let mut data =
        Map::from_iter([("hook".to_owned(), Value::from(args.hook.as_deref().unwrap_or_default()))]);
    for (field, value) in [("since", &args.since), ("until", &args.until)] {
        data.extend(value.as_deref().map(|value| (field.to_owned(), value.into())));
    }
    let body = json!({"data": data}).to_string();
    let mut answer = client.post(&["deliveries", "replay"], &[], "application/json", body).await?;
    let id = cell(&answer["data"], "id");
    while args.wait && answer["data"]["state"] == "running" {
        tokio::time::sleep(LOOK).await;
        answer = client.get(&["replays", &id], &[]).await?;
    }
    let job = &answer["data"];
    if args.json {
        writeln!(out, "{job:#}")?;
    } else if args.wait {
        let (replayed, state) = (cell(job, "replayed"), cell(job, "state"));
        writeln!(out, "replay {id} is {state}: {replayed} dead deliveries were brought back")?;
    } else {
        let total = cell(job, "total");
        writeln!(
            out,
            "replay {id}: {total} dead deliveries will be sent again (hookline replays show {id})"
        )?;
    }
    Ok(())
}

async fn replay_one(
    client: &HostClient,
    args: &ReplayArgs,
    id: &str,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let found = client.get(&["deliveries", id], &[]).await?;
    let hook = cell(&found["data"], "hook_id");
    if let Some(named) = args.hook.as_ref().filter(|named| **named != hook) {
        bail!("delivery {id} belongs to hook {hook}, not to {named}");
    }
    let answer = client.post(&["deliveries", id, "replay"], &[], "application/json", String::new()).await?;
    if args.json {
        writeln!(out, "{:#}", answer["data"])?;
    } else {
        writeln!(out, "delivery {id} will be sent again")?;
    }
    Ok(())
}

pub(super) async fn replays(args: &ReplaysArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = HostClient::new(&args.client)?;
    let answer = match &args.action {
        None | Some(ReplaysAction::List) => {
            json!({"data": all_pages(&client, &["replays"], &[], usize::MAX).await?})
        }
        Some(ReplaysAction::Show { id }) => client.get(&["replays", &id.to_string()], &[]).await?,
        Some(ReplaysAction::Cancel { id }) => {
            let path = ["replays", &id.to_string(), "cancel"];
            client.post(&path, &[], "application/json", String::new()).await?
        }
    };
    let data = &answer["data"];
    if args.json {
        writeln!(out, "{data:#}")?;
        return Ok(());
    }
    let jobs = data.as_array().map_or_else(|| std::slice::from_ref(data), Vec::as_slice);
    if jobs.is_empty() {
        writeln!(out, "no replays")?;
        return Ok(());
    }
    let header = ["ID", "STATE", "BROUGHT BACK", "OF", "ACCOUNT", "HOOK", "SINCE", "BEGAN", "ENDED"];
    let fields =
        ["id", "state", "replayed", "total", "account_id", "hook_id", "since", "created_at", "finished_at"];
    table(out, &header, jobs.iter().map(|job| fields.iter().map(|field| cell(job, field)).collect()))?;
    Ok(())
}
