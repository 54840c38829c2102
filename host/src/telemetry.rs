//! Where log lines go and how they look: stderr, as text or JSON. And where traces go, if anywhere.

mod export;
mod log_queue;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tracing::{Level, Metadata, error};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{LogFormat, LogSettings, TelemetrySettings};
use crate::harmless::harmless_line;
use export::TraceExporter;
use log_queue::LogQueue;
pub use log_queue::lost_lines;

/// How long the end of the process waits for log lines to be read.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Log and traces of the process, until it ends.
#[derive(Debug)]
pub struct ProcessTelemetry {
    exporter: TraceExporter,
    lines: Arc<LogQueue>,
}

impl ProcessTelemetry {
    /// Sends the traces that are left, for two seconds at most. The log goes on.
    pub async fn end_traces(&mut self) {
        std::mem::take(&mut self.exporter).end().await;
    }
}

impl Drop for ProcessTelemetry {
    /// Writes the log lines that are left, for a second at most.
    fn drop(&mut self) {
        self.lines.flush(LAST_LINES);
    }
}

/// Where the formatter puts a line: whole, at once.
struct LineWriter {
    coloured: bool,
    lines: Arc<LogQueue>,
}

impl std::io::Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.lines.push(harmless_line(line, self.coloured).as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Starts logging for the whole process, and tracing where there is a collector. `RUST_LOG` wins over the configured
/// level, which spans for the collector do not depend on. To be called in a runtime, which sends them.
///
/// # Errors
/// The level or `RUST_LOG` cannot be parsed, a variable of OpenTelemetry's is wrong, or logging was started before.
pub fn init(log: &LogSettings, telemetry: &TelemetrySettings) -> anyhow::Result<ProcessTelemetry> {
    let lines = LogQueue::to_stderr().context("a thread for the log")?;
    let exporter = match export::to_collector(telemetry)? {
        Some((exporter, spans)) => {
            init_log_and_traces(log, spans, Arc::clone(&lines))?;
            exporter
        }
        None => {
            init_log(log, Arc::clone(&lines))?;
            TraceExporter::default()
        }
    };
    // The usual one writes to stderr itself, and waits for whoever reads there.
    std::panic::set_hook(Box::new(|panic| error!("{panic}")));
    Ok(ProcessTelemetry { exporter, lines })
}

fn init_log_and_traces(
    log: &LogSettings,
    spans: impl Layer<Registry> + Send + Sync,
    lines: Arc<LogQueue>,
) -> anyhow::Result<()> {
    let coloured = is_coloured(log);
    let lines = fmt::layer().with_writer(move || LineWriter { coloured, lines: Arc::clone(&lines) });
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(coloured).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter(log)?);
    let subscriber = tracing_subscriber::registry().with(spans).with(lines).with(FilterFn::new(may_be_shown));
    subscriber.try_init().context("starting the log")
}

fn init_log(log: &LogSettings, lines: Arc<LogQueue>) -> anyhow::Result<()> {
    let coloured = is_coloured(log);
    let lines = move || LineWriter { coloured, lines: Arc::clone(&lines) };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(log)?).with_writer(lines);
    let shown = FilterFn::new(may_be_shown);
    let started = match log.format {
        LogFormat::Text => subscriber.with_ansi(coloured).finish().with(shown).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).finish().with(shown).try_init(),
    };
    started.context("starting the log")
}

fn is_coloured(log: &LogSettings) -> bool {
    log.format == LogFormat::Text && std::io::stderr().is_terminal()
}

/// Not what others write down of themselves with secrets in it, whatever level is asked for: at its finest level the
/// AMQP client shows frames as they are, with the password for the broker and whole messages.
fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    *metadata.level() != Level::TRACE || !metadata.target().starts_with("lapin")
}

fn filter(log: &LogSettings) -> anyhow::Result<EnvFilter> {
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(&directives)
            .with_context(|| format!("RUST_LOG: {directives:?} is not a filter")),
        _ => EnvFilter::try_new(with_quiet_clients(&log.level))
            .with_context(|| format!("log.level: {:?} is not a filter", log.level)),
    }
}

/// The AMQP client says as an error what the host handles and tells in its own words, and shows messages byte by byte. It
/// is heard where it is named.
fn with_quiet_clients(level: &str) -> String {
    if level.contains("lapin") { level.to_owned() } else { format!("{level},lapin=off,io_loop=off") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_level_is_the_filter() {
        let log = LogSettings { format: LogFormat::Text, level: "warn,hookline::bus=trace".to_owned() };
        if std::env::var_os(EnvFilter::DEFAULT_ENV).is_none() {
            assert_eq!(filter(&log).unwrap().to_string(), "hookline::bus=trace,io_loop=off,lapin=off,warn");
        }
    }
}
