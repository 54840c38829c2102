//! Where log lines go and how they look: stderr, as text or JSON.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging for the whole process. `RUST_LOG` wins over the configured level.
///
/// # Errors
/// The level or `RUST_LOG` cannot be parsed, or logging was started before.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(log)?).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!(error)).context("starting the log")
}

fn filter(log: &Log) -> anyhow::Result<EnvFilter> {
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(&directives)
            .with_context(|| format!("RUST_LOG: {directives:?} is not a filter")),
        _ => EnvFilter::try_new(&log.level)
            .with_context(|| format!("log.level: {:?} is not a filter", log.level)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_level_is_the_filter() {
        let log = Log { format: LogFormat::Text, level: "warn,hookline::bus=trace".to_owned() };
        if std::env::var_os(EnvFilter::DEFAULT_ENV).is_none() {
            assert_eq!(filter(&log).unwrap().to_string(), "hookline::bus=trace,warn");
        }
    }
}
