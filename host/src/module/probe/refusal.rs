//! Why a module does not load in a process of its own, in the words that the file's owner reads.

use std::time::Duration;

use crate::module::isolated::ProcessDeath;
use crate::module::library::LoadStep;

/// Why a module does not load in a process of its own. Each text continues a sentence that begins with the
/// file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeRefusal {
    /// It was refused in order, with the words of a [`LoadError`](crate::module::library::LoadError).
    #[error("{text}{}", told(last_words.as_deref()))]
    Refused {
        /// The words.
        text: String,
        /// The last line that it wrote on standard error.
        last_words: Option<String>,
    },
    /// It ended the process.
    #[error("ended the process that tried it by {how} {}{}", during(*step), told(last_words.as_deref()))]
    Died {
        /// What was being done; nothing: the program had not begun.
        step: Option<LoadStep>,
        /// How the process ended.
        how: ProcessDeath,
        /// The last line that it wrote on standard error.
        last_words: Option<String>,
    },
    /// It took too long.
    #[error("did not finish loading within {} ms, {}{}", within.as_millis(), stuck(*step), told(last_words.as_deref()))]
    TimedOut {
        /// What was being done; nothing: the program had not begun.
        step: Option<LoadStep>,
        /// The limit.
        within: Duration,
        /// The last line that it wrote on standard error.
        last_words: Option<String>,
    },
    /// Somebody had stopped the process that loaded it, and it did not go on.
    #[error("was not loaded: its process was stopped {}, and did not go on", during(*step))]
    Halted {
        /// What was being done; nothing: the program had not begun.
        step: Option<LoadStep>,
    },
    /// It wrote into the host's line, or the program is another version.
    #[error("cannot be tried: {0}")]
    Broken(String),
    /// The system starts no process.
    #[error("cannot be tried: {program} does not start: {reason}")]
    Start {
        /// The executable.
        program: String,
        /// What the system said.
        reason: String,
    },
}

fn during(step: Option<LoadStep>) -> &'static str {
    match step {
        None => "before it was opened; the program of the host itself may be at fault",
        Some(LoadStep::Open) => "while it was opened; look at what runs before init, such as constructors",
        Some(LoadStep::Init) => "in init",
        Some(LoadStep::Wants) => "in bindings_and_responders",
    }
}

fn stuck(step: Option<LoadStep>) -> &'static str {
    match step {
        None => "nor begin to; the machine may be overloaded",
        Some(LoadStep::Open) => {
            "it hangs while it is opened; look at what runs before init, such as constructors"
        }
        Some(LoadStep::Init) => "it hangs in init, which must not wait for anything",
        Some(LoadStep::Wants) => "it hangs in bindings_and_responders, which must not wait for anything",
    }
}

fn told(last_words: Option<&str>) -> String {
    last_words.map(|words| format!("; its last words were {words:?}")).unwrap_or_default()
}
