//! `hookline modules failed`, `replay`, `replays` and `forget`: the events that a module could not handle, and handing them
//! to the generation that serves now.

use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::{Map, Value, json};

use super::attempts::moment;
use super::client::HostClient;
use super::listing::{ListingPages, all_pages, cell, entries, harmless, pages, table};

/// How often a host is asked how far a job is.
const LOOK: Duration = Duration::from_millis(300);

/// `hookline modules failed`
#[derive(Debug, Clone, Args)]
pub struct FailedArgs {
    /// The module's id, webhooks_<hook>
    pub id: String,
    /// Only what failed from this time on: 2026-07-01T12:00:00Z, or how long ago: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "T", value_parser = moment)]
    pub since: Option<String>,
    /// This event alone, with all that is known of it
    #[arg(long, value_name = "E", conflicts_with = "since")]
    pub event: Option<u64>,
    /// At most so many of the latest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// `hookline modules replay`
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The module's id, webhooks_<hook>
    pub id: String,
    /// Only what failed from this time on: 2026-07-01T12:00:00Z, or how long ago: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "T", value_parser = moment)]
    pub since: Option<String>,
    /// This event alone
    #[arg(long, value_name = "E", conflicts_with = "since")]
    pub event: Option<u64>,
    /// Only say what would be fired by which generation, and to whom
    ///
    /// The module that serves is asked, which counts as calls of it: an event on which it hangs costs a thread.
    #[arg(long)]
    pub dry_run: bool,
    /// How many events a dry run looks at: 100 unless told
    #[arg(long, value_name = "N", requires = "dry_run", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: Option<u32>,
    /// Wait until the job has ended; what failed again makes the exit code 1
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
}

/// `hookline modules replays`
#[derive(Debug, Clone, Args)]
pub struct ReplaysArgs {
    /// The module's id, webhooks_<hook>
    pub id: String,
    /// End this one; what it has fired is sent all the same
    #[arg(long, value_name = "REPLAY")]
    pub cancel: Option<u64>,
}

/// `hookline modules forget`
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["event", "all"]))]
pub struct ForgetArgs {
    /// The module's id, webhooks_<hook>
    pub id: String,
    /// This event alone
    #[arg(long, value_name = "E")]
    pub event: Option<u64>,
    /// All that failed until now
    #[arg(long)]
    pub all: bool,
}

/// A module's id, also where it was written without what all of them begin with.
pub(super) fn whole_id(id: &str) -> String {
    if id.starts_with("webhooks_") { id.to_owned() } else { format!("webhooks_{id}") }
}

pub(super) async fn failed(
    client: &HostClient,
    args: &FailedArgs,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let id = whole_id(&args.id);
    if let Some(event) = args.event {
        let answer = client.get(&["modules", &id, "failed", &event.to_string()], &[]).await?;
        return show_failed(&answer["data"], json, out);
    }
    let query: Vec<(&str, &str)> = args.since.iter().map(|since| ("since", since.as_str())).collect();
    let ListingPages { found, more, .. } =
        pages(client, &["modules", &id, "failed"], &query, usize::try_from(args.limit)?).await?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
        return Ok(());
    }
    if found.is_empty() {
        writeln!(out, "{} has failed on no event that is kept", harmless(&id))?;
        return Ok(());
    }
    let header = ["ID", "FAILED", "TIMES", "GENERATION", "EVENT", "ACCOUNT", "KIND", "REASON"];
    table(out, &header, found.iter().map(failed_row))?;
    if more {
        writeln!(out, "the latest {}; --limit shows more", found.len())?;
    }
    Ok(())
}

fn failed_row(failed: &Value) -> Vec<String> {
    let field = |name: &str| cell(failed, name);
    let event = format!("{} {}", field("category"), field("name"));
    let reason = match failed["place"].as_str().and_then(|place| place.lines().next()) {
        Some(place) => format!("{} at {}", field("reason"), harmless(place)),
        None => field("reason"),
    };
    let generation = format!("{} ({})", field("generation"), field("version"));
    vec![
        field("id"),
        field("failed_at"),
        field("times"),
        generation,
        event,
        field("account_id"),
        field("kind"),
        reason,
    ]
}

fn show_failed(failed: &Value, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{failed:#}")?;
        return Ok(());
    }
    for field in failed.as_object().into_iter().flat_map(Map::keys) {
        match &failed[field] {
            Value::Null => {}
            Value::Array(lines) => {
                let texts = lines.iter().filter_map(Value::as_str);
                texts.clone().next().iter().try_for_each(|_| writeln!(out, "{}:", harmless(field)))?;
                texts.into_iter().try_for_each(|line| writeln!(out, "  {}", harmless(line)))?;
            }
            Value::String(text) if text.contains('\n') => {
                writeln!(out, "{}:", harmless(field))?;
                text.lines().try_for_each(|line| writeln!(out, "  {}", harmless(line)))?;
            }
            Value::Object(event) => {
                writeln!(out, "{}: {}", harmless(field), harmless(&serde_json::to_string(event)?))?;
            }
            _ => writeln!(out, "{}: {}", harmless(field), cell(failed, field))?,
        }
    }
    Ok(())
}

pub(super) async fn replay(
    client: &HostClient,
    args: &ReplayArgs,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let id = whole_id(&args.id);
    let mut data = Map::new();
    data.extend(args.since.as_deref().map(|since| ("since".to_owned(), Value::from(since))));
    data.extend(args.event.map(|event| ("event".to_owned(), Value::from(event))));
    data.extend(args.limit.map(|limit| ("limit".to_owned(), Value::from(limit))));
    if args.dry_run {
        data.insert("dry_run".to_owned(), true.into());
    }
    let body = json!({"data": data}).to_string();
    let mut answer = client.post(&["modules", &id, "replay"], &[], "application/json", body).await?;
    if args.dry_run {
        return show_plan(&answer["data"], json, out);
    }
    let job = cell(&answer["data"], "id");
    while args.wait && answer["data"]["state"] == "running" {
        tokio::time::sleep(LOOK).await;
        answer = client.get(&["modules", &id, "replays", &job], &[]).await?;
    }
    let data = &answer["data"];
    let field = |name: &str| cell(data, name);
    if json {
        writeln!(out, "{data:#}")?;
    } else if args.wait {
        writeln!(
            out,
            "replay {job} is {}: {} of {} events handled, {} failed again, {} deliveries",
            field("state"),
            field("handled"),
            field("total"),
            field("failed"),
            field("fired")
        )?;
    } else {
        let total = field("total");
        writeln!(
            out,
            "replay {job}: {total} events are handed to the module (hookline modules replays {id})"
        )?;
    }
    if args.wait && (data["state"] != "done" || data["failed"] != 0) {
        let see = format!("see hookline modules failed {id}");
        let reason = data["reason"].as_str().unwrap_or(&see);
        bail!("not all events were handled: {}", harmless(reason));
    }
    Ok(())
}

/// What would be fired by which generation, and to whom.
fn show_plan(plan: &Value, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{plan:#}")?;
        return Ok(());
    }
    let (module, generation, version) =
        (cell(plan, "module"), cell(plan, "generation"), cell(plan, "version"));
    writeln!(out, "{module} {version}, generation {generation}, would fire; nothing is stored or sent:")?;
    let mut rows = Vec::new();
    for event in entries(plan, "events") {
        let name = format!("{} {}", cell(event, "category"), cell(event, "name"));
        let fires: Vec<String> = entries(event, "fires").iter().map(|fired| cell(fired, "event")).collect();
        let hooks: Vec<String> =
            entries(event, "deliveries").iter().map(|delivery| cell(delivery, "hook_id")).collect();
        let failure = event["failure"].as_str().map(|failure| format!("fails: {}", harmless(failure)));
        let fires = failure.unwrap_or_else(|| fires.join(", "));
        let listed = hooks.len() as u64;
        let more = event["deliveries_total"].as_u64().unwrap_or(listed).saturating_sub(listed);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        rows.push(vec![cell(event, "id"), name, fires, format!("{}{more}", hooks.join(", "))]);
    }
    table(out, &["ID", "EVENT", "FIRES", "TO HOOKS"], rows)?;
    if plan["more"] == true {
        writeln!(
            out,
            "there are more: --limit looks at up to 1000, and it ends where the module hangs or lost its process"
        )?;
    }
    Ok(())
}

pub(super) async fn replays(
    client: &HostClient,
    args: &ReplaysArgs,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let id = whole_id(&args.id);
    let data = match args.cancel {
        Some(job) => {
            let path = ["modules", &id, "replays", &job.to_string(), "cancel"];
            client.post(&path, &[], "application/json", String::new()).await?["data"].clone()
        }
        None => all_pages(client, &["modules", &id, "replays"], &[], usize::MAX).await?.into(),
    };
    if json {
        writeln!(out, "{data:#}")?;
        return Ok(());
    }
    let jobs = data.as_array().map_or_else(|| std::slice::from_ref(&data), Vec::as_slice);
    if jobs.is_empty() {
        writeln!(out, "no replays")?;
        return Ok(());
    }
    let header =
        ["ID", "STATE", "CAUSE", "HANDLED", "FAILED", "OF", "DELIVERIES", "BEGAN", "ENDED", "REASON"];
    let fields = [
        "id",
        "state",
        "cause",
        "handled",
        "failed",
        "total",
        "fired",
        "created_at",
        "finished_at",
        "reason",
    ];
    table(out, &header, jobs.iter().map(|job| fields.iter().map(|field| cell(job, field)).collect()))?;
    Ok(())
}

pub(super) async fn forget(
    client: &HostClient,
    args: &ForgetArgs,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let id = whole_id(&args.id);
    let event = args.event.map(|event| event.to_string());
    let mut path = vec!["modules", id.as_str(), "failed"];
    path.extend(event.as_deref());
    let answer = client.delete(&path, &[]).await?;
    if json {
        writeln!(out, "{:#}", answer["data"])?;
    } else {
        writeln!(out, "{} failed events are forgotten", cell(&answer["data"], "forgotten"))?;
    }
    Ok(())
}
