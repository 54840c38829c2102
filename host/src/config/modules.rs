//! `[modules]`: what may be loaded, where it runs and how long a call may take.

use std::time::Duration;

use ::config::ValueKind;

use super::program::ModuleProgram;
use super::rules::{self, SettingsReader, WrongValue, each, string};
use crate::model::ModuleId;

/// `[modules]`: what may be loaded and how it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Modules {
    /// Whether the folder is watched.
    pub hot_reload: bool,
    /// Lower-case hexadecimal digests of the files that may be loaded; empty: any.
    pub allow_sha256: Vec<String>,
    /// Milliseconds after which a call is given up.
    pub call_timeout_ms: u64,
    /// Bytes that generations which cannot be unmapped may take together in the host's process.
    pub pinned_memory_limit: u64,
    /// Which modules run in processes of their own.
    pub isolation: Isolation,
    /// Milliseconds after which a quarantined module is tried again for the first time.
    pub quarantine_pause_ms: u64,
    /// How long events that a module failed on are kept, in milliseconds.
    pub failed_retention_ms: u64,
    /// How many of them are kept for one module.
    pub failed_max_events: u64,
    /// How many bytes of them are kept for one module.
    pub failed_max_bytes: u64,
    /// Whether events beyond that are accepted and lost for the module.
    pub failed_overflow: FailedOverflow,
    /// When they are handed to the module again.
    pub replay_failed: ReplayFailed,
    /// What such a process runs. No setting: whoever lends the host to another program names it.
    pub program: ModuleProgram,
}

/// What is done with an event that a module failed on where as many are kept as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedOverflow {
    /// It is not accepted.
    Refuse,
    /// It is accepted, lost for the module, and counted.
    Drop,
}

/// When events that a module failed on are handed to it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayFailed {
    /// When somebody asks for it.
    Manual,
    /// Also when a new generation serves.
    OnNewGeneration,
}

/// Which modules run in processes of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// None: all run in the host's process.
    None,
    /// Every one.
    Process,
    /// Those with these ids.
    Only(Vec<String>),
}

impl Modules {
    /// Whether a module runs in a process of its own.
    pub fn isolated(&self, module: &ModuleId) -> bool {
        match &self.isolation {
            Isolation::None => false,
            Isolation::Process => true,
            Isolation::Only(ids) => ids.iter().any(|id| id == module.as_str()),
        }
    }

    /// The limit for one call of a module.
    pub fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }
}

pub(super) fn read_modules(reader: &mut SettingsReader<'_>) -> Option<Modules> {
    let hot_reload = reader.read("modules.hot_reload", rules::truth);
    let allow_sha256 = reader.read("modules.allow_sha256", rules::digests);
    let call_timeout_ms = reader.read("modules.call_timeout_ms", rules::milliseconds);
    let pinned_memory_limit = reader.read("modules.pinned_memory_limit", |v| rules::size(v, 0));
    let isolation = reader.read("modules.isolation", isolation);
    let quarantine_pause_ms = reader.read("modules.quarantine_pause_ms", rules::milliseconds);
    let failed_retention_ms = reader.read("modules.failed_retention_ms", rules::milliseconds);
    let failed_max_events = reader.read("modules.failed_max_events", |kind| rules::number(kind, 0, 1 << 40));
    let failed_max_bytes = reader.read("modules.failed_max_bytes", |kind| rules::number(kind, 0, 1 << 50));
    let overflow = [("refuse", FailedOverflow::Refuse), ("drop", FailedOverflow::Drop)];
    let failed_overflow = reader.read("modules.failed_overflow", |kind| rules::one_of(kind, &overflow));
    let replay = [("manual", ReplayFailed::Manual), ("on_new_generation", ReplayFailed::OnNewGeneration)];
    let replay_failed = reader.read("modules.replay_failed", |kind| rules::one_of(kind, &replay));
    Some(Modules {
        hot_reload: hot_reload?,
        allow_sha256: allow_sha256?,
        call_timeout_ms: call_timeout_ms?,
        pinned_memory_limit: pinned_memory_limit? as u64,
        isolation: isolation?,
        quarantine_pause_ms: quarantine_pause_ms?,
        failed_retention_ms: failed_retention_ms?,
        failed_max_events: failed_max_events?,
        failed_max_bytes: failed_max_bytes?,
        failed_overflow: failed_overflow?,
        replay_failed: replay_failed?,
        program: ModuleProgram::own(),
    })
}

/// Which modules run in processes of their own: a word, or ids as a list or as text with commas, which is all
/// that an environment variable can be.
fn isolation(kind: &ValueKind) -> Result<Isolation, WrongValue> {
    let right = "write \"none\", \"process\" or a list of module ids such as [\"webhooks_x\"]";
    let id = |text: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        match text.strip_prefix("webhooks_") {
            Some(hook) if !hook.is_empty() && hook.chars().all(plain) => Ok(text.to_owned()),
            _ => Err("is not a module's id; write one such as \"webhooks_x\"".to_owned()),
        }
    };
    match kind {
        ValueKind::String(word) if word == "none" => Ok(Isolation::None),
        ValueKind::String(word) if word == "process" => Ok(Isolation::Process),
        ValueKind::String(ids) => {
            let ids: Result<Vec<String>, WrongValue> = ids.split(',').map(|text| id(text.trim())).collect();
            ids.map(Isolation::Only).map_err(|_| format!("is not one of the choices; {right}"))
        }
        ValueKind::Array(ids) => {
            let ids = ids.iter().map(|item| each(item, |kind| id(string(kind)?)));
            ids.collect::<Result<_, _>>().map(Isolation::Only)
        }
        _ => Err(format!("is not one of the choices; {right}")),
    }
}
