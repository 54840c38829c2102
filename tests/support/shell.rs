//! Commands of a page, run by a shell as somebody types them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{PATIENCE, hookline};

/// How long a build may take that begins with nothing; generous, as machines that run tests are busy.
const PATIENCE_WITH_BUILDS: Duration = Duration::from_mins(10);

/// Where new modules are built, kept from run to run: only the first one compiles what they are built with.
///
/// # Panics
/// The program lies in no folder.
#[must_use]
pub fn scratch() -> PathBuf {
    hookline().parent().and_then(Path::parent).expect("a target folder").join("new_modules")
}

/// The blocks of a page between fences, each with its language, in their order.
///
/// # Panics
/// The page cannot be read, or a fence is not closed.
#[must_use]
#[track_caller]
pub fn fenced(page: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(page).expect("a page");
    let parts: Vec<&str> = text.split("```").collect();
    assert!(parts.len() % 2 == 1, "{} has a fence that is not closed", page.display());
    let inside = parts.iter().skip(1).step_by(2);
    inside
        .map(|part| part.split_once('\n').expect("lines between fences"))
        .map(|(language, block)| (language.to_owned(), block.to_owned()))
        .collect()
}

/// The `sh` blocks of a page, in their order.
///
/// # Panics
/// As [`fenced`].
#[must_use]
#[track_caller]
pub fn blocks(page: &Path) -> Vec<String> {
    fenced(page).into_iter().filter(|(language, _)| language == "sh").map(|(_, block)| block).collect()
}

/// Words for a shell, as somebody types them in a folder who has `hookline` at hand.
///
/// # Panics
/// The program is not built.
#[must_use]
pub fn shell(folder: &Path, words: &str) -> Command {
    let path = std::env::var("PATH").expect("a PATH");
    let program = hookline();
    let mut command = Command::new("sh");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOOKLINE_") {
            command.env_remove(name);
        }
    }
    command.args(["-eu", "-c", words]).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command.env("PATH", format!("{}:{path}", program.parent().expect("its folder").display()));
    command.env("CARGO_TARGET_DIR", scratch()).env("CARGO_NET_OFFLINE", "true");
    command
}

/// What a command says that has to succeed, however long it builds.
///
/// # Panics
/// It fails, or does not end.
#[track_caller]
pub fn done(mut command: Command) -> impl Future<Output = String> {
    let place = std::panic::Location::caller();
    async move {
        let ended = tokio::time::timeout(PATIENCE_WITH_BUILDS, command.output());
        let output = ended.await.expect("it should have ended by now").expect("a shell");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{place}: {command:?}\n{out}{err}");
        out
    }
}

/// A page's command that goes on, such as its server that shows what it is sent.
pub struct Shown {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Shown {
    /// Starts it, in place of the shell; it takes a free port where it asks `PORT`.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(folder: &Path, words: &str) -> Self {
        Self::of(shell(folder, &format!("exec {words}")))
    }

    /// Starts a prepared command.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn of(mut command: Command) -> Self {
        let mut process = command.env("PORT", "0").stdout(Stdio::piped()).spawn().expect("a process");
        let lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        Shown { lines, _process: process }
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// It prints none.
    pub async fn next(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        line.expect("it should have printed something by now").expect("text").expect("a line, not its end")
    }
}
