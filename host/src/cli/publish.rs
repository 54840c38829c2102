//! `hookline publish`: events from a file or standard input onto the bus of the running host.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::de::IgnoredAny;
use serde_json::json;
use serde_json::value::RawValue;

use super::client::HostClient;
use super::{ClientArgs, progress};

/// Bytes of events in one request; half of what a host takes by default.
const REQUEST_BYTES: usize = 4 << 20;

/// `hookline publish`
#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    /// Where to read events from; - or nothing: standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Publish on this exchange instead of where the event's category belongs
    #[arg(long, value_name = "X", requires = "routing_key")]
    pub exchange: Option<String>,
    /// The routing key on that exchange
    #[arg(long, value_name = "K", requires = "exchange")]
    pub routing_key: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the host.
    #[command(flatten)]
    pub client: ClientArgs,
}

pub(super) async fn publish(args: &PublishArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (name, text) = read(args.file.as_deref())?;
    let events = events(&name, &text)?;
    let client = HostClient::new(&args.client)?;
    let mut query = Vec::new();
    query.extend(args.exchange.as_deref().map(|exchange| ("exchange", exchange)));
    query.extend(args.routing_key.as_deref().map(|key| ("routing_key", key)));

    let mut sent = 0;
    let bar = progress::steps(events.len(), "events");
    for batch in batches(&events) {
        let published = match batch {
            [only] => client.post(&["events"], &query, "application/json", (*only).to_owned()).await,
            many => client.post(&["events"], &query, "application/x-ndjson", many.join("\n")).await,
        };
        published.with_context(|| match sent {
            0 => "nothing was published".to_owned(),
            sent => format!("only the first {sent} of {} events were published", events.len()),
        })?;
        sent += batch.len();
        bar.set_position(sent as u64);
    }
    bar.finish_and_clear();
    match args.json {
        true => writeln!(out, "{:#}", json!({"accepted": sent}))?,
        false => writeln!(out, "published {sent} {}", if sent == 1 { "event" } else { "events" })?,
    }
    Ok(())
}

/// The input and what to call it.
pub(super) fn read(file: Option<&Path>) -> anyhow::Result<(String, String)> {
    let mut text = String::new();
    let Some(file) = file.filter(|file| *file != Path::new("-")) else {
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
        return Ok(("standard input".to_owned(), text));
    };
    text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    Ok((file.display().to_string(), text))
}

/// The events of a text, each on one line of its own: a single object however it is laid out, an array of
/// objects, or one object a line.
pub(super) fn events(name: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let whole = text.trim_start_matches('\u{feff}').trim();
    if whole.is_empty() {
        bail!("{name} holds no event; write a JSON object, or one a line");
    }
    if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(whole) {
        let numbered = items.iter().enumerate().map(|(at, item)| (at + 1, item.get()));
        return numbered
            .map(|(at, item)| event(item).with_context(|| format!("{name}: item {at}")))
            .collect();
    }
    // A single object may be laid out over many lines; several never parse as one.
    let single = serde_json::from_str::<IgnoredAny>(whole);
    match single {
        Ok(_) => Ok(vec![event(whole).with_context(|| name.to_owned())?]),
        Err(error) if whole.lines().count() == 1 || error.is_eof() => {
            Err(error).with_context(|| format!("{name} is not a JSON object"))
        }
        Err(_) => {
            let lines = whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            lines.map(|(at, line)| event(line).with_context(|| format!("{name}: line {}", at + 1))).collect()
        }
    }
}

/// One object, without line breaks (JSON has them only between its tokens), otherwise as it was written.
fn event(text: &str) -> anyhow::Result<String> {
    serde_json::from_str::<IgnoredAny>(text).context("not JSON")?;
    if !text.trim_start().starts_with('{') {
        bail!("not a JSON object");
    }
    Ok(text.trim().replace(['\r', '\n'], " "))
}

/// Runs of events that fit one request; one that is too large goes alone, for the host to refuse.
fn batches(events: &[String]) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, event) in events.iter().enumerate() {
        if at > from && bytes + event.len() > REQUEST_BYTES {
            batches.push(&events[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += event.len() + 1;
    }
    batches.push(&events[from..]);
    batches.retain(|batch| !batch.is_empty());
    batches
}
