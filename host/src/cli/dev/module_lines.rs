//! What a module says while it is tried: its log lines, what it writes to standard error, and what the host says of it.
//! Kept until they are printed, and no more of them than somebody reads.

use std::fmt::Debug;
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, registry};

use super::bounded::shortened;

/// Lines that are kept from one print to the next.
const MOST: usize = 50;

/// Fields that say nothing new to who tries one module.
const KNOWN: [&str; 4] = ["module", "generation", "pid", "hung"];

/// The lines that wait to be printed.
#[derive(Clone, Default)]
pub(super) struct ModuleLines(Arc<Mutex<WaitingLines>>);

#[derive(Default)]
struct WaitingLines {
    lines: Vec<String>,
    more: u64,
}

impl ModuleLines {
    /// Listens from now on, for the whole process.
    ///
    /// # Errors
    /// Somebody else does.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let lines = ModuleLines::default();
        let heard = lines.clone().with_filter(FilterFn::new(is_heard));
        registry().with(heard).try_init().context("listening to the module's log lines")?;
        Ok(lines)
    }

    /// What was said since the last time, and a line about what was too much.
    pub(super) fn take(&self) -> Vec<String> {
        let WaitingLines { mut lines, more } = std::mem::take(&mut *self.0.lock());
        if more > 0 {
            lines.push(format!("… and {more} more lines"));
        }
        lines
    }

    fn push(&self, line: &str) {
        let mut waiting = self.0.lock();
        if waiting.lines.len() < MOST {
            waiting.lines.push(shortened(line));
        } else {
            waiting.more += 1;
        }
    }
}

/// Whatever modules say, and what the host says of them when something is wrong. What it says of events stands in what is
/// shown of them.
fn is_heard(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("hookline::module")
        && (is_speech(metadata) || *metadata.level() <= Level::WARN)
}

fn is_speech(metadata: &Metadata<'_>) -> bool {
    metadata.fields().field("said").is_some()
}

impl<S: Subscriber> Layer<S> for ModuleLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = LineWords::default();
        event.record(&mut words);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        match words.said {
            Some(said) => said.lines().for_each(|line| self.push(&format!("{level}: {line}"))),
            None => self.push(&format!("host: {}{}", words.message, words.rest)),
        }
    }
}

#[derive(Default)]
struct LineWords {
    message: String,
    said: Option<String>,
    rest: String,
}

impl Visit for LineWords {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "said" => self.said = Some(value.to_owned()),
            name if KNOWN.contains(&name) || value.is_empty() => {}
            name => self.rest.push_str(&format!(", {name} {value:?}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name if KNOWN.contains(&name) => {}
            name => self.rest.push_str(&format!(", {name} {value:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_says_is_kept_with_its_level_and_no_more_than_somebody_reads() {
        let lines = ModuleLines::default();
        let heard = lines.clone().with_filter(FilterFn::new(is_heard));
        tracing::subscriber::with_default(registry().with(heard), || {
            let target = "hookline::module::x";
            tracing::debug!(target: "hookline::module::x", module = "m", said = "one\ntwo", "a module speaks");
            tracing::warn!(target: "hookline::module::x", module = "m", how = %"signal 11", "a process has died");
            tracing::info!(target: "hookline::module::x", "a module's process serves");
            tracing::error!(target: "hookline::listener", "the module failed on an event");
            assert_eq!(
                lines.take(),
                ["debug: one", "debug: two", "host: a process has died, how signal 11"],
                "{target}"
            );
            for _ in 0..MOST + 3 {
                tracing::info!(target: "hookline::module::x", said = "x", "a module speaks");
            }
        });
        let taken = lines.take();
        assert_eq!((taken.len(), taken[MOST].as_str()), (MOST + 1, "… and 3 more lines"));
        assert_eq!(lines.take(), Vec::<String>::new());
    }
}
