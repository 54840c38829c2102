//! `[telemetry]` and `[log]`: what those who watch the host are told, and where.

use super::rules::{self, SettingsReader};

/// `[telemetry]`: where traces of events go.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySettings {
    /// The OTLP collector; `None`: nothing is traced.
    pub otlp_endpoint: Option<url::Url>,
    /// The share of events that are traced, 0 to 1.
    pub otlp_sample_ratio: f64,
    /// What the collector calls this host.
    pub service_name: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`: what is logged and how.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// A level, or directives of `tracing_subscriber::EnvFilter`.
    pub level: String,
}

pub(super) fn read_telemetry(reader: &mut SettingsReader<'_>) -> Option<TelemetrySettings> {
    let otlp_endpoint = reader.read("telemetry.otlp_endpoint", rules::collector);
    let otlp_sample_ratio = reader.read("telemetry.otlp_sample_ratio", rules::ratio);
    let service_name = reader.read("telemetry.service_name", |v| rules::text(v, 255));
    Some(TelemetrySettings {
        otlp_endpoint: otlp_endpoint?,
        otlp_sample_ratio: otlp_sample_ratio?,
        service_name: service_name?,
    })
}

pub(super) fn read_log(reader: &mut SettingsReader<'_>) -> Option<LogSettings> {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = reader.read("log.format", |v| rules::one_of(v, &formats));
    let level = reader.read("log.level", rules::log_level);
    Some(LogSettings { format: format?, level: level? })
}
