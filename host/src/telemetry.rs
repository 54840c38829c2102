//! Where log lines go and how they look: stderr, as text or JSON. And where traces go, if anywhere.

mod export;

use std::io::IsTerminal;

use anyhow::Context;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::config::{Log, LogFormat, Telemetry};
use crate::harmless::HarmlessLog;
pub use export::Exporter;

/// Starts logging for the whole process, and tracing where there is a collector. `RUST_LOG` wins over the configured
/// level, which spans for the collector do not depend on. To be called in a runtime, which sends them.
///
/// # Errors
/// The level or `RUST_LOG` cannot be parsed, a variable of OpenTelemetry's is wrong, or logging was started before.
pub fn init(log: &Log, telemetry: &Telemetry) -> anyhow::Result<Exporter> {
    let Some((exporter, spans)) = export::to_collector(telemetry)? else {
        init_log(log)?;
        return Ok(Exporter::default());
    };
    let coloured = is_coloured(log);
    let lines = fmt::layer().with_writer(move || HarmlessLog { coloured });
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(coloured).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter(log)?);
    let subscriber = tracing_subscriber::registry().with(lines).with(spans).with(FilterFn::new(may_be_shown));
    subscriber.try_init().context("starting the log")?;
    Ok(exporter)
}

fn init_log(log: &Log) -> anyhow::Result<()> {
    let coloured = is_coloured(log);
    let lines = move || HarmlessLog { coloured };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(log)?).with_writer(lines);
    let shown = FilterFn::new(may_be_shown);
    let started = match log.format {
        LogFormat::Text => subscriber.with_ansi(coloured).finish().with(shown).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).finish().with(shown).try_init(),
    };
    started.context("starting the log")
}

fn is_coloured(log: &Log) -> bool {
    log.format == LogFormat::Text && std::io::stderr().is_terminal()
}

/// Not what others write down of themselves with secrets in it, whatever level is asked for: at its finest level the
/// AMQP client shows frames as they are, with the password for the broker and whole messages.
fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    *metadata.level() != Level::TRACE || !metadata.target().starts_with("lapin")
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
