//! A module in a process of its own, without a host around it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hookline::event::Event;
use hookline::hooks::accounts::{AccountRecord, Accounts};
use hookline::model::ModuleId;
use hookline::module::Firing;
use hookline::module::generation::CallFailure;
use hookline::module::isolated::{IsolatedFigures, IsolatedRunner, IsolationLimits};
use hookline::module::program::ModuleProgram;
use hookline::module::services::LendableServices;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, cdylib, hookline};

/// A module in a process of its own; all of it blocks.
pub struct IsolatedModule {
    /// The module.
    pub isolated: Arc<IsolatedRunner>,
    /// Where its copy is, and room for files of the test.
    pub folder: TempDir,
}

/// What the host lends: one account, `acme`, with the reseller `boss`.
///
/// # Panics
/// Never.
#[must_use]
pub fn lendable() -> LendableServices {
    let accounts = Accounts::new();
    let document = json!({"_id": "acme", "pvt_reseller_id": "boss"});
    accounts.put(AccountRecord::from_document(document.as_object().expect("an object")).expect("an account"));
    let settings = [("delivery.profile".to_owned(), "\"standard\"".to_owned())].into();
    LendableServices { settings: Arc::new(settings), accounts: Arc::new(accounts) }
}

/// A private copy of a module's library, as the host makes one.
///
/// # Panics
/// It cannot be made.
#[must_use]
#[track_caller]
pub fn private_copy(module: &str, folder: &Path) -> PathBuf {
    let copy = folder.join(format!("{module}.g1.{}", std::env::consts::DLL_EXTENSION));
    std::fs::copy(cdylib(module), &copy).expect("a copy");
    copy
}

impl IsolatedModule {
    /// A module whose calls may take as long as anything may.
    ///
    /// # Panics
    /// It does not load.
    #[must_use]
    #[track_caller]
    pub fn start(module: &str) -> Self {
        Self::limited(module, PATIENCE)
    }

    /// A module whose calls may take this long.
    ///
    /// # Panics
    /// It does not load.
    #[must_use]
    #[track_caller]
    pub fn limited(module: &str, call_timeout: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = private_copy(module, folder.path());
        let limits = IsolationLimits { load_within: PATIENCE, call_timeout };
        let program = ModuleProgram::at(hookline());
        let started = IsolatedRunner::start(&program, ModuleId::new(module), 1, &copy, lendable(), limits);
        let (isolated, ..) = started.unwrap_or_else(|refusal| panic!("{module} {refusal}"));
        IsolatedModule { isolated: Arc::new(isolated), folder }
    }

    /// What events answer, in their order.
    ///
    /// # Panics
    /// They are answered in another order, or not once each.
    #[must_use]
    pub fn answers(&self, events: &[Value]) -> Vec<Result<Vec<Firing>, CallFailure>> {
        let parsed = |event: &Value| Arc::new(Event::parse(event.to_string().into()).expect("an event"));
        let events: Vec<Arc<Event>> = events.iter().map(parsed).collect();
        let mut answers = Vec::new();
        self.isolated.handle(&events, &mut |index, answer| {
            assert_eq!(index, answers.len(), "answers come in order");
            answers.push(answer);
        });
        assert_eq!(answers.len(), events.len());
        answers
    }

    /// What one event answers: the payloads, or the words of the failure.
    ///
    /// # Errors
    /// The words.
    ///
    /// # Panics
    /// A payload is not JSON.
    pub fn answer(&self, event: &Value) -> Result<Vec<Value>, String> {
        let firings =
            self.answers(std::slice::from_ref(event)).remove(0).map_err(|error| error.to_string())?;
        Ok(firings.iter().map(payload).collect())
    }

    /// Figures about its processes.
    #[must_use]
    pub fn figures(&self) -> IsolatedFigures {
        self.isolated.figures()
    }

    /// The number of its process.
    ///
    /// # Panics
    /// It has none.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.figures().pid.expect("a process")
    }
}

/// What hooks would be sent of a firing.
///
/// # Panics
/// It is not JSON.
#[must_use]
pub fn payload(firing: &Firing) -> Value {
    serde_json::from_slice(firing.payload.json()).expect("JSON")
}

/// Whether a process runs: a zombie does not.
#[must_use]
pub fn runs(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the name, which may hold anything but ends with the last parenthesis.
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// Sends a signal (`TERM`, `KILL`) to a process.
///
/// # Panics
/// It cannot be sent.
pub fn send_signal(signal: &str, pid: u32) {
    // `kill` is built into every shell; as a program it need not be there.
    let sent = std::process::Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid.to_string()])
        .status();
    assert!(sent.expect("a shell").success(), "the signal could not be sent");
}
