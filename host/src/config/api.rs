//! `[api]`: where the HTTP interface listens, and what a request may take.

use std::net::SocketAddr;
use std::time::Duration;

use super::rules::{self, SettingsReader};

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

pub(super) fn read_api(reader: &mut SettingsReader<'_>) -> Option<Api> {
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
