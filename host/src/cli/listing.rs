//! How listings look: columns that fit the terminal, colours that say what is well, and cells that cannot play tricks.
//!
//! Colours are always written; the program's output takes them off where it is no terminal, or `NO_COLOR` is set.

use std::io::Write;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

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
    writeln!(out, "{}", table.trim_fmt())
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

/// A field as a person reads it; `-` where there is none. Control characters are made harmless: an
/// address that somebody stored is not to write on the operator's terminal.
pub(super) fn cell(of: &Value, field: &str) -> String {
    let text = match of.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    harmless(&text)
}

/// The text with control characters replaced.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The entries of an answer's list.
pub(super) fn entries<'a>(answer: &'a Value, field: &str) -> &'a [Value] {
    answer.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
