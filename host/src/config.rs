//! What the host is told: every setting, its type, and where its value came from.
//!
//! `config.default.toml` holds the names, the defaults and their explanation; this file gives them types.
//! Flags win over the environment, the environment over the file, the file over the defaults. A wrong
//! value or an unknown name is never skipped, and all of them are reported at once.

mod api;
mod bus;
mod delivery;
mod errors;
mod layers;
pub mod limits;
mod memory;
mod modules;
mod program;
pub(crate) mod rules;
mod store;
#[cfg(test)]
mod tests;
mod watching;

use std::path::PathBuf;
use std::time::Duration;

pub use api::Api;
pub use bus::{Bus, BusKind, QueueType};
pub use delivery::Delivery;
pub use errors::{ConfigErrors, SettingProblem};
pub use layers::{DEFAULTS, Flag, LoadOptions, SettingOrigin, SettingOrigins, SettingValue};
pub use limits::AccountLimits;
pub use memory::MemorySettings;
pub use modules::{FailedOverflow, Isolation, Modules, ReplayFailed};
pub use program::ModuleProgram;
use rules::SettingsReader;
pub use store::{BackendKind, BackendSettings, SecretsKey, Store, Synchronous};
pub use watching::{LogFormat, LogSettings, TelemetrySettings};

/// Every setting, checked. Field names are the names in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Folder with the compiled modules. Not checked for existence here.
    pub plugins_dir: PathBuf,
    /// Folder of the database and of `admin.token`.
    pub data_dir: PathBuf,
    /// How long a stop waits for requests under way before it breaks them off.
    pub stop_timeout: Duration,
    /// `[api]`
    pub api: Api,
    /// `[bus]`
    pub bus: Bus,
    /// `[memory]`
    pub memory: MemorySettings,
    /// `[documents]`
    pub documents: BackendSettings,
    /// `[ledger]`
    pub ledger: BackendSettings,
    /// `[store]`
    pub store: Store,
    /// `[delivery]`
    pub delivery: Delivery,
    /// `[attempts]`
    pub attempts: Attempts,
    /// `[disabler]`
    pub disabler: Disabler,
    /// `[limits]`
    pub limits: AccountLimits,
    /// `[modules]`
    pub modules: Modules,
    /// `[kazoo]`
    pub kazoo: Kazoo,
    /// `[telemetry]`
    pub telemetry: TelemetrySettings,
    /// `[log]`
    pub log: LogSettings,
}

/// `[attempts]`: what was sent and what came back, and for how long it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempts {
    /// Milliseconds for which an attempt is kept.
    pub retention_ms: u64,
    /// Attempts beyond which the oldest are forgotten.
    pub max_rows: u64,
    /// Bytes of each body that are kept.
    pub body_limit: usize,
}

/// `[disabler]`: when a failing hook is paused or switched off.
#[derive(Debug, Clone, PartialEq)]
pub struct Disabler {
    /// Failures within the window that pause a hook, or switch it off in profile `kazoo`.
    pub attempt_failure_count: u32,
    /// The window, milliseconds.
    pub attempt_failure_expiry_ms: u64,
    /// Never pause a hook or switch it off.
    pub disable_disabler: bool,
    /// The first pause, milliseconds; each further one is twice as long.
    pub pause_first_ms: u64,
    /// The longest pause, milliseconds.
    pub pause_longest_ms: u64,
    /// Milliseconds without a success after which a hook is switched off.
    pub disable_after_ms: u64,
}

/// `[kazoo]`: what KAZOO keeps in its system configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Kazoo {
    /// Channel variables that no payload carries.
    pub reserved_ccv_keys: Vec<String>,
    /// Document types of `object` hooks.
    pub object_types: Vec<String>,
    /// What payloads carry as `cluster_id`; `None`: made at the first start.
    pub cluster_id: Option<String>,
}

impl Config {
    /// Merges the layers and checks every setting.
    ///
    /// # Errors
    /// Everything that is wrong, at once: unknown names, wrong types, values out of range, a file that
    /// cannot be read or is not TOML.
    pub fn load(options: LoadOptions) -> Result<(Self, SettingOrigins), ConfigErrors> {
        let (origins, mut problems) = layers::merge(&options);
        let mut reader = SettingsReader::new(&origins);
        let config = read(&mut reader);
        problems.extend(reader.into_problems());
        match config {
            Some(config) if problems.is_empty() => Ok((config, origins)),
            _ => Err(ConfigErrors::new(problems)),
        }
    }

    /// The defaults alone.
    ///
    /// # Errors
    /// None that a user can cause: the defaults are part of the program and a test loads them.
    pub fn defaults() -> Result<Self, ConfigErrors> {
        Self::load(LoadOptions::default()).map(|(config, _)| config)
    }

    /// A TOML text over the defaults, without environment or flags; `name` is how problems call it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(text: &str, name: &str) -> Result<Self, ConfigErrors> {
        let options =
            LoadOptions { text: Some((name.to_owned(), text.to_owned())), ..LoadOptions::default() };
        Self::load(options).map(|(config, _)| config)
    }
}

/// Reads every setting before it gives up on any, so that no problem hides another.
fn read(reader: &mut SettingsReader<'_>) -> Option<Config> {
    let plugins_dir = reader.read("plugins_dir", rules::folder);
    let data_dir = reader.read("data_dir", rules::folder);
    let stop_timeout_ms = reader.read("stop_timeout_ms", rules::milliseconds_or_none);
    let api = api::read_api(reader);
    let bus = bus::read_bus(reader);
    let memory = memory::read(reader);
    let backends = store::read_backends(reader);
    let store = store::read_store(reader);
    let delivery = delivery::read(reader);
    let attempts = read_attempts(reader);
    let disabler = read_disabler(reader);
    let limits = limits::read(reader);
    let modules = modules::read_modules(reader);
    let kazoo = read_kazoo(reader);
    let telemetry = watching::read_telemetry(reader);
    let log = watching::read_log(reader);
    let (documents, ledger) = backends?;
    Some(Config {
        plugins_dir: plugins_dir?,
        data_dir: data_dir?,
        stop_timeout: Duration::from_millis(stop_timeout_ms?),
        api: api?,
        bus: bus?,
        memory: memory?,
        documents,
        ledger,
        store: store?,
        delivery: delivery?,
        attempts: attempts?,
        disabler: disabler?,
        limits: limits?,
        modules: modules?,
        kazoo: kazoo?,
        telemetry: telemetry?,
        log: log?,
    })
}

fn read_attempts(reader: &mut SettingsReader<'_>) -> Option<Attempts> {
    let retention_ms = reader.read("attempts.retention_ms", rules::milliseconds);
    let max_rows = reader.read("attempts.max_rows", |v| rules::number(v, 1, 1_000_000_000_u64));
    let body_limit = reader.read("attempts.body_limit", |v| rules::size(v, 0));
    Some(Attempts { retention_ms: retention_ms?, max_rows: max_rows?, body_limit: body_limit? })
}

fn read_disabler(reader: &mut SettingsReader<'_>) -> Option<Disabler> {
    let attempt_failure_count =
        reader.read("disabler.attempt_failure_count", |v| rules::number(v, 1, u32::MAX));
    let attempt_failure_expiry_ms = reader.read("disabler.attempt_failure_expiry_ms", rules::milliseconds);
    let disable_disabler = reader.read("disabler.disable_disabler", rules::truth);
    let pause_first_ms = reader.read("disabler.pause_first_ms", rules::milliseconds);
    let pause_longest_ms = reader.read("disabler.pause_longest_ms", rules::milliseconds);
    let disable_after_ms = reader.read("disabler.disable_after_ms", rules::milliseconds);
    Some(Disabler {
        attempt_failure_count: attempt_failure_count?,
        attempt_failure_expiry_ms: attempt_failure_expiry_ms?,
        disable_disabler: disable_disabler?,
        pause_first_ms: pause_first_ms?,
        pause_longest_ms: pause_longest_ms?,
        disable_after_ms: disable_after_ms?,
    })
}

fn read_kazoo(reader: &mut SettingsReader<'_>) -> Option<Kazoo> {
    let reserved_ccv_keys = reader.read("kazoo.reserved_ccv_keys", rules::texts);
    let object_types = reader.read("kazoo.object_types", rules::texts);
    let cluster_id = reader.read("kazoo.cluster_id", rules::optional_text);
    Some(Kazoo {
        reserved_ccv_keys: reserved_ccv_keys?,
        object_types: object_types?,
        cluster_id: cluster_id?,
    })
}
