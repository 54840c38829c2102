//! `[memory]`: how much of it events may take.

use super::rules::{self, SettingsReader};

/// `[memory]`: bounds of what is in memory at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySettings {
    /// Bytes that events in hand may take: bodies that arrive, events with their index, answers of modules.
    pub events_bytes: usize,
}

/// Less would not hold a single request of the default size.
const LEAST: usize = 8 << 20;

pub(super) fn read(reader: &mut SettingsReader<'_>) -> Option<MemorySettings> {
    let events_bytes = reader.read("memory.events_bytes", |v| rules::size(v, LEAST));
    Some(MemorySettings { events_bytes: events_bytes? })
}
