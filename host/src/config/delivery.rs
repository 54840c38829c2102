//! `[delivery]`: how requests go out.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::rules::{self, MOST_SHARDS, SettingsReader};
use crate::model::{Profile, rate};

/// The least memory that payloads can do with: some of the largest events at once.
const LEAST_MEMORY: usize = 16 << 20;

/// `[delivery]`: how requests go out.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Whose rules apply.
    pub profile: Profile,
    /// Milliseconds for a connection.
    pub connect_timeout_ms: u64,
    /// Milliseconds for the whole request.
    pub request_timeout_ms: u64,
    /// Milliseconds before each further try; never empty.
    pub retry_schedule_ms: Vec<u64>,
    /// Requests under way at once.
    pub max_in_flight: usize,
    /// Requests under way at once for one hook, however well its endpoint does.
    pub max_in_flight_per_hook: usize,
    /// What a hook without a limit of its own may be sent, in requests; 0: as many as it takes.
    pub rate_limit_count: u32,
    /// Within this time, milliseconds.
    pub rate_limit_per_ms: u64,
    /// Bytes of payloads in memory.
    pub memory_bytes: usize,
    /// Threads that send, each to some of the hooks; 0: half of the cores.
    pub shards: usize,
    /// Networks that the target guard lets through.
    pub allow_targets: Vec<IpNet>,
    /// Whether successes leave an attempt document too.
    pub log_successful_attempts: bool,
    /// Bytes of an answer's body that are read.
    pub response_body_limit: usize,
    /// Proxy for every delivery.
    pub proxy: Option<url::Url>,
    /// Certificates that are trusted besides the system's.
    pub extra_ca: Option<PathBuf>,
    /// Milliseconds for which a replaced secret goes on signing.
    pub secret_overlap_ms: u64,
    /// Milliseconds for which a dead delivery is kept.
    pub dead_retention_ms: u64,
}

impl Delivery {
    /// The limit for a connection.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// What a hook without a limit of its own may be sent.
    pub fn rate_limit(&self) -> Option<rate::RateBound> {
        rate::RateBound::new(self.rate_limit_count, self.rate_limit_per_ms)
    }

    /// The limit for a whole request.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

/// Reads the section.
pub(super) fn read(reader: &mut SettingsReader<'_>) -> Option<Delivery> {
    let profiles = [Profile::Standard, Profile::Kazoo].map(|profile| (profile.as_str(), profile));
    let profile = reader.read("delivery.profile", |v| rules::one_of(v, &profiles));
    let connect_timeout_ms = reader.read("delivery.connect_timeout_ms", rules::milliseconds);
    let request_timeout_ms = reader.read("delivery.request_timeout_ms", rules::milliseconds);
    let retry_schedule_ms = reader.read("delivery.retry_schedule_ms", rules::schedule);
    let max_in_flight = reader.read("delivery.max_in_flight", |v| rules::number(v, 1, 65_536_usize));
    let per_hook = reader.read("delivery.max_in_flight_per_hook", |v| rules::number(v, 1, 65_536_usize));
    let memory_bytes = reader.read("delivery.memory_bytes", |v| rules::size(v, LEAST_MEMORY));
    let shards = reader.read("delivery.shards", |v| rules::number(v, 0, MOST_SHARDS));
    let rate_limit_count = reader.read("delivery.rate_limit_count", |v| rules::number(v, 0, rate::MOST));
    let rate_limit_per_ms = reader.read("delivery.rate_limit_per_ms", rules::rate_period);
    let allow_targets = reader.read("delivery.allow_targets", rules::networks);
    let log_successful_attempts = reader.read("delivery.log_successful_attempts", rules::truth);
    let response_body_limit = reader.read("delivery.response_body_limit", |v| rules::size(v, 0));
    let proxy = reader.read("delivery.proxy", rules::web_address);
    let extra_ca = reader.read("delivery.extra_ca", rules::optional_text);
    let secret_overlap_ms = reader.read("delivery.secret_overlap_ms", rules::milliseconds_or_none);
    let dead_retention_ms = reader.read("delivery.dead_retention_ms", rules::milliseconds);
    Some(Delivery {
        profile: profile?,
        connect_timeout_ms: connect_timeout_ms?,
        request_timeout_ms: request_timeout_ms?,
        retry_schedule_ms: retry_schedule_ms?,
        max_in_flight: max_in_flight?,
        max_in_flight_per_hook: per_hook?,
        memory_bytes: memory_bytes?,
        shards: shards?,
        rate_limit_count: rate_limit_count?,
        rate_limit_per_ms: rate_limit_per_ms?,
        allow_targets: allow_targets?,
        log_successful_attempts: log_successful_attempts?,
        response_body_limit: response_body_limit?,
        proxy: proxy?,
        extra_ca: extra_ca?.map(PathBuf::from),
        secret_overlap_ms: secret_overlap_ms?,
        dead_retention_ms: dead_retention_ms?,
    })
}
