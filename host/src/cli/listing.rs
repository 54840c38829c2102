//! How listings look: columns that fit the terminal, colours that say what is well, and cells that cannot play tricks.
//!
//! What is no table is written to the byte: a payload may hold what a terminal takes for a colour.

use std::io::Write;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

use super::client::HostClient;

/// Entries that are asked for at once.
const PAGE: usize = 1_000;

/// Writes rows under a header, wrapped to the terminal's width where there is a terminal.
pub(super) fn table(
    out: &mut dyn Write,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> std::io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.enforce_styling();
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row.into_iter().map(|text| match colour(&text) {
            Some(colour) => Cell::new(text).fg(colour),
            None => Cell::new(text),
        }));
    }
    let table = table.trim_fmt();
    // By what standard output is, and `NO_COLOR`, `CLICOLOR` and their like.
    match AutoStream::choice(&std::io::stdout()) {
        ColorChoice::Never => writeln!(out, "{}", strip_str(&table)),
        _ => writeln!(out, "{table}"),
    }
}

/// Of a cell that holds nothing but a state.
fn colour(text: &str) -> Option<Color> {
    match text {
        "active" | "delivered" => Some(Color::Green),
        "retried" | "pending" | "paused" => Some(Color::Yellow),
        "quarantined" | "dead" | "disabled" | "failed" => Some(Color::Red),
        _ => None,
    }
}

/// A field as a person reads it; `-` where there is none. What a terminal obeys is escaped: an
/// address that somebody stored is not to write on the operator's terminal.
pub(super) fn cell(of: &Value, field: &str) -> String {
    let text = match of.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    harmless(&text)
}

/// The text with everything escaped that a terminal obeys.
pub(super) fn harmless(text: &str) -> String {
    crate::harmless::harmless(text).into_owned()
}

/// The first `most` entries of a listing, however many pages they are on.
pub(super) async fn all_pages(
    client: &HostClient,
    path: &[&str],
    query: &[(&str, &str)],
    most: usize,
) -> anyhow::Result<Vec<Value>> {
    pages(client, path, query, most).await.map(|pages| pages.found)
}

/// What the pages of a listing hold.
pub(super) struct ListingPages {
    pub(super) found: Vec<Value>,
    /// Whether there are more than were asked for.
    pub(super) more: bool,
    /// The first page's `follow_key`, of a listing that can be followed.
    pub(super) follow_key: Option<String>,
}

/// The same, with what else pages say.
pub(super) async fn pages(
    client: &HostClient,
    path: &[&str],
    query: &[(&str, &str)],
    most: usize,
) -> anyhow::Result<ListingPages> {
    let text = |answer: &Value, key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut found: Vec<Value> = Vec::new();
    let mut start: Option<String> = None;
    let mut follow_key: Option<String> = None;
    loop {
        let size = PAGE.min(most - found.len()).to_string();
        let mut asked = query.to_vec();
        asked.push(("page_size", &size));
        asked.extend(start.as_deref().map(|start| ("start_key", start)));
        let answer = client.get(path, &asked).await?;
        found.extend(entries(&answer, "data").iter().cloned());
        follow_key = follow_key.or_else(|| text(&answer, "follow_key"));
        start = text(&answer, "next_start_key");
        if start.is_none() || found.len() >= most {
            return Ok(ListingPages { found, more: start.is_some(), follow_key });
        }
    }
}

/// The entries of an answer's list.
pub(super) fn entries<'a>(answer: &'a Value, field: &str) -> &'a [Value] {
    answer.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
