//! Whether a module survives being loaded, tried in a process that may die of it.

use std::path::Path;
use std::time::Duration;

use plugin_api::{BindingsAndResponders, Metadata};

use super::isolated::{CallOwner, ChildSession, ProcessDeath};
use super::library::LoadStep;
use super::program::ModuleProgram;
use super::services::LendableServices;
use crate::model::ModuleId;

/// What a module said when it was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeResult {
    /// The answer of `init`.
    pub metadata: Metadata,
    /// The answer of `bindings_and_responders`.
    pub wants: BindingsAndResponders,
}

/// Why a module does not load in a process of its own. Each text continues a sentence that begins with the
/// file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeRefusal {
    /// It was refused in order, with the words of a [`LoadError`](super::library::LoadError).
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

/// Loads a private copy of a module in a process that ends afterwards: opened, checked, `init` and
/// `bindings_and_responders` called, exactly as the host itself does it.
///
/// # Errors
/// [`ProbeRefusal`]. Whatever the module does, the process is gone when this returns.
pub async fn probe(
    program: &ModuleProgram,
    module: &ModuleId,
    number: u64,
    copy: &Path,
    lendable: &LendableServices,
    within: Duration,
) -> Result<ProbeResult, ProbeRefusal> {
    let (program, module, copy) = (program.clone(), module.clone(), copy.to_owned());
    let lendable = lendable.clone();
    // It ends within the limit, also where nobody waits for it any more.
    let tried = tokio::task::spawn_blocking(move || {
        let whose =
            CallOwner { program: &program, module: &module, number, copy: &copy, lendable: &lendable };
        // The process ends with the session. It is killed, so that no destructor of the library runs.
        ChildSession::load(&whose, within, |_| {}).map(|(_, said)| said)
    });
    match tried.await {
        Ok(said) => said.map(|(metadata, wants)| ProbeResult { metadata, wants }),
        Err(error) => Err(ProbeRefusal::Broken(error.to_string())),
    }
}
