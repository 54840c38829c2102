//! What the host is told: every setting, its type, and where its value came from.
//!
//! `config.default.toml` holds the names, the defaults and their explanation; this file gives them types.
//! Flags win over the environment, the environment over the file, the file over the defaults. A wrong
//! value or an unknown name is never skipped, and all of them are reported at once.

mod delivery;
mod errors;
mod layers;
pub mod limits;
mod memory;
pub(crate) mod rules;
#[cfg(test)]
mod tests;
mod watching;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use delivery::Delivery;
pub use errors::{ConfigErrors, SettingProblem};
pub use layers::{Flag, LoadOptions, SettingOrigin, SettingOrigins, SettingValue};
pub use limits::AccountLimits;
pub use memory::MemorySettings;
use rules::SettingsReader;
pub use watching::{LogFormat, LogSettings, TelemetrySettings};

use crate::model::ModuleId;
use crate::module::program::ModuleProgram;

/// The defaults and the documentation of every setting.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

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

/// `[api]`: the HTTP interface.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Largest single event, bytes.
    pub max_event_bytes: usize,
    /// Largest request body, bytes.
    pub max_request_bytes: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Milliseconds in which the headers of a request, or the next request, must have arrived.
    pub header_timeout_ms: u64,
    /// Milliseconds in which the body of a request must have arrived.
    pub body_timeout_ms: u64,
    /// Origins whose pages may read answers.
    pub cors_origins: Vec<String>,
    /// Entries of the audit log that are kept.
    pub audit_keep_entries: u64,
    /// Milliseconds for which they are kept.
    pub audit_keep_ms: u64,
}

impl Api {
    /// The limit for the headers of a request.
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// The limit for the body of a request.
    pub fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }
}

/// Where events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusKind {
    /// Posted to the API.
    Embedded,
    /// From RabbitMQ.
    Amqp,
}

/// How RabbitMQ keeps our queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueType {
    /// Replicated.
    Quorum,
    /// On one node.
    Classic,
}

impl QueueType {
    /// The value of the queue's `x-queue-type` argument.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        }
    }
}

/// `[bus]`: where events come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Bus {
    /// Which bus.
    pub kind: BusKind,
    /// The broker; an `amqp://` or `amqps://` address.
    pub uri: String,
    /// Name of our durable queue.
    pub queue: String,
    /// How the broker keeps it.
    pub queue_type: QueueType,
    /// Messages handed out before the broker waits for acknowledgements.
    pub prefetch: u16,
    /// Largest event that comes from the broker, unpacked, bytes.
    pub max_event_bytes: usize,
}

/// What keeps documents, or the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// The embedded database. The only kind that this version accepts.
    Sqlite,
}

/// `[documents]` or `[ledger]`: what keeps them.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendSettings {
    /// Which kind.
    pub kind: BackendKind,
    /// Its address, for one that is a server.
    pub url: Option<String>,
}

/// When a commit counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// It survives a power cut.
    Full,
    /// It survives a crash of the program.
    Normal,
}

/// `[store]`: what holds for documents and ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// The account that owns the installation; `None`: the oldest one.
    pub master_account_id: Option<String>,
    /// When a commit counts as done.
    pub synchronous: Synchronous,
    /// The file of the key of hooks' secrets; `None`: in the data folder.
    pub secrets_key_file: Option<PathBuf>,
    /// The key itself, in place of a file.
    pub secrets_key: Option<SecretsKey>,
    /// Whether secrets that cannot be decrypted keep the host from starting.
    pub start_with_lost_secrets: bool,
}

/// The key of hooks' secrets. It does not show itself in logs.
#[derive(Clone, PartialEq)]
pub struct SecretsKey(pub [u8; 32]);

impl std::fmt::Debug for SecretsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretsKey(…)")
    }
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

/// `[modules]`: what may be loaded and how it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Modules {
    /// Whether the folder is watched.
    pub hot_reload: bool,
    /// Lower-case hexadecimal digests of the files that may be loaded; empty: any.
    pub allow_sha256: Vec<String>,
    /// Milliseconds after which a call is given up.
    pub call_timeout_ms: u64,
    /// Which modules run in processes of their own.
    pub isolation: Isolation,
    /// What such a process runs. No setting: whoever lends the host to another program names it.
    pub program: ModuleProgram,
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
    let api = read_api(reader);
    let bus = read_bus(reader);
    let memory = memory::read(reader);
    let backends = read_backends(reader);
    let store = read_store(reader);
    let delivery = delivery::read(reader);
    let attempts = read_attempts(reader);
    let disabler = read_disabler(reader);
    let limits = limits::read(reader);
    let modules = read_modules(reader);
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

fn read_api(reader: &mut SettingsReader<'_>) -> Option<Api> {
    let listen = reader.read("api.listen", rules::socket);
    let max_event_bytes = reader.read("api.max_event_bytes", |v| rules::size(v, 1));
    let max_request_bytes = reader.read("api.max_request_bytes", |v| rules::size(v, 1));
    let max_connections = reader.read("api.max_connections", |v| rules::number(v, 1, 1_000_000_usize));
    let header_timeout_ms = reader.read("api.header_timeout_ms", rules::milliseconds);
    let body_timeout_ms = reader.read("api.body_timeout_ms", rules::milliseconds);
    let cors_origins = reader.read("api.cors_origins", rules::origins);
    let audit_keep_entries = reader.read("api.audit_keep_entries", |v| rules::number(v, 1, 10_000_000_u64));
    let audit_keep_ms = reader.read("api.audit_keep_ms", rules::milliseconds);
    Some(Api {
        listen: listen?,
        max_event_bytes: max_event_bytes?,
        max_request_bytes: max_request_bytes?,
        max_connections: max_connections?,
        header_timeout_ms: header_timeout_ms?,
        body_timeout_ms: body_timeout_ms?,
        cors_origins: cors_origins?,
        audit_keep_entries: audit_keep_entries?,
        audit_keep_ms: audit_keep_ms?,
    })
}

fn read_bus(reader: &mut SettingsReader<'_>) -> Option<Bus> {
    let kinds = [("embedded", BusKind::Embedded), ("amqp", BusKind::Amqp)];
    let kind = reader.read("bus.kind", |v| rules::one_of(v, &kinds));
    let uri = reader.read("bus.uri", rules::broker);
    let queue = reader.read("bus.queue", |v| rules::text(v, 250));
    let types = [("quorum", QueueType::Quorum), ("classic", QueueType::Classic)];
    let queue_type = reader.read("bus.queue_type", |v| rules::one_of(v, &types));
    let prefetch = reader.read("bus.prefetch", |v| rules::number(v, 1, u16::MAX));
    let max_event_bytes = reader.read("bus.max_event_bytes", |v| rules::size(v, 1024));
    Some(Bus {
        kind: kind?,
        uri: uri?,
        queue: queue?,
        queue_type: queue_type?,
        prefetch: prefetch?,
        max_event_bytes: max_event_bytes?,
    })
}

/// What keeps documents and what keeps the ledger: what `[store]` says of both goes for each that says nothing itself.
fn read_backends(reader: &mut SettingsReader<'_>) -> Option<(BackendSettings, BackendSettings)> {
    let kind = reader.read("store.kind", rules::backend_kind);
    let url = reader.read("store.url", rules::server_address);
    let mut read = |kind_name, url_name| {
        let own_kind = reader.read(kind_name, rules::own_backend_kind);
        let own_url = reader.read(url_name, rules::server_address);
        (own_kind, own_url)
    };
    let documents = read("documents.kind", "documents.url");
    let ledger = read("ledger.kind", "ledger.url");
    let (kind, url) = (kind?, url?);
    let backend = |(own_kind, own_url): (Option<Option<BackendKind>>, Option<Option<String>>)| {
        Some(BackendSettings { kind: own_kind?.unwrap_or(kind), url: own_url?.or_else(|| url.clone()) })
    };
    Some((backend(documents)?, backend(ledger)?))
}

fn read_store(reader: &mut SettingsReader<'_>) -> Option<Store> {
    let master_account_id = reader.read("store.master_account_id", rules::optional_text);
    let levels = [("full", Synchronous::Full), ("normal", Synchronous::Normal)];
    let synchronous = reader.read("store.synchronous", |v| rules::one_of(v, &levels));
    let secrets_key_file = reader.read("store.secrets_key_file", rules::optional_text);
    let secrets_key = reader.read("store.secrets_key", rules::secrets_key);
    let start_with_lost_secrets = reader.read("store.start_with_lost_secrets", rules::truth);
    Some(Store {
        master_account_id: master_account_id?,
        synchronous: synchronous?,
        secrets_key_file: secrets_key_file?.map(PathBuf::from),
        secrets_key: secrets_key?,
        start_with_lost_secrets: start_with_lost_secrets?,
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

fn read_modules(reader: &mut SettingsReader<'_>) -> Option<Modules> {
    let hot_reload = reader.read("modules.hot_reload", rules::truth);
    let allow_sha256 = reader.read("modules.allow_sha256", rules::digests);
    let call_timeout_ms = reader.read("modules.call_timeout_ms", rules::milliseconds);
    let isolation = reader.read("modules.isolation", rules::isolation);
    Some(Modules {
        hot_reload: hot_reload?,
        allow_sha256: allow_sha256?,
        call_timeout_ms: call_timeout_ms?,
        isolation: isolation?,
        program: ModuleProgram::own(),
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
