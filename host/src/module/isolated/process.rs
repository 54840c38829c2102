//! One process of a module: how it is started, heard, ended, and what its end is called.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::halts::{HaltWatch, ProcessHalt};
use super::running_time::ProcessLook;
use crate::module::program::{self, ModuleProgram};

/// Bytes of a line on standard error that are kept; the rest of the line is read and dropped.
const LONGEST_LINE: usize = 1024;

/// How a module's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessDeath {
    /// By a signal.
    Signal(i32),
    /// By leaving with this code.
    Exit(i32),
    /// It could not be started again.
    NotStarted(String),
}

impl ProcessDeath {
    fn of(status: ExitStatus) -> Self {
        match (status.signal(), status.code()) {
            (Some(signal), _) => ProcessDeath::Signal(signal),
            (None, code) => ProcessDeath::Exit(code.unwrap_or_default()),
        }
    }
}

impl fmt::Display for ProcessDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match self {
            ProcessDeath::Signal(number) => *number,
            ProcessDeath::Exit(code) => return write!(f, "exit code {code}"),
            ProcessDeath::NotStarted(reason) => return write!(f, "not starting again: {reason}"),
        };
        let Ok(signal) = Signal::try_from(number) else { return write!(f, "signal {number}") };
        let meaning = match signal {
            Signal::SIGSEGV => " (segmentation fault)",
            Signal::SIGABRT => " (abort)",
            Signal::SIGBUS => " (bus error)",
            Signal::SIGILL => " (illegal instruction)",
            Signal::SIGFPE => " (arithmetic error)",
            Signal::SIGSYS => " (forbidden system call)",
            Signal::SIGKILL => " (killed, perhaps for want of memory)",
            _ => "",
        };
        write!(f, "{}{meaning}", signal.as_str())
    }
}

/// A running process. Dropping it kills it, with all that it started in its process group, and leaves neither a
/// zombie nor a thread.
pub(super) struct ChildProcess {
    child: Mutex<Child>,
    pid: u32,
    /// Our end of its standard output and error. It watches the other end: where ours is closed, because the
    /// host died, it kills itself.
    lifeline: UnixStream,
    last_line: Arc<Mutex<Option<String>>>,
    listener: Mutex<Option<JoinHandle<()>>>,
    halts: HaltWatch,
    /// It was killed because it was halted and could not be waited for.
    let_go: AtomicBool,
}

impl ChildProcess {
    /// Starts a process; with it the socket that is its standard input. `heard` is told each line that it writes
    /// on standard output or error, on a thread of its own.
    pub(super) fn start(
        program: &ModuleProgram,
        label: &str,
        heard: impl Fn(&str) + Send + 'static,
    ) -> std::io::Result<(Self, UnixStream)> {
        let (socket, theirs) = UnixStream::pair()?;
        let (lifeline, their_lifeline) = UnixStream::pair()?;
        let ear = lifeline.try_clone()?;
        let child = program::command(program, label)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(OwnedFd::from(their_lifeline)))
            .spawn()?;
        let pid = child.id();
        let last_line = Arc::new(Mutex::new(None));
        let process = ChildProcess {
            child: Mutex::new(child),
            pid,
            lifeline,
            last_line: Arc::clone(&last_line),
            listener: Mutex::new(None),
            halts: HaltWatch::new(pid, label),
            let_go: AtomicBool::new(false),
        };
        let listen = move || {
            lines(ear, |line| {
                heard(line);
                *last_line.lock() = Some(line.to_owned());
            });
        };
        let listener = std::thread::Builder::new().name(format!("{label}.err")).spawn(listen)?;
        *process.listener.lock() = Some(listener);
        Ok((process, socket))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks it to send what it has answered and to say how long the call in hand takes, also where that hangs.
    pub(super) fn nudge(&self) {
        // Whether it is dead or deaf is for the reader to find out.
        _ = (&self.lifeline).write(&[0]);
    }

    /// What the system says of it now; nothing where it has ended.
    pub(super) fn look(&self) -> Option<ProcessLook> {
        self.halts.look()
    }

    /// Notices whether it is halted, for those who show that.
    pub(super) fn look_now_and_then(&self) {
        self.halts.look_now_and_then();
    }

    /// Whether somebody has stopped it, as far as it was looked at.
    pub(super) fn halted(&self) -> Option<ProcessHalt> {
        self.halts.halted()
    }

    /// Kills it if it is halted, as nobody can wait until it goes on.
    pub(super) fn let_go_if_halted(&self) {
        if self.look().is_some_and(|look| look.halted.is_some()) {
            self.let_go.store(true, Ordering::Release);
            self.kill();
        }
    }

    /// Whether it was killed for that.
    pub(super) fn was_let_go(&self) -> bool {
        self.let_go.load(Ordering::Acquire)
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<ProcessDeath> {
        // An error means that there is no such child any more, which cannot be while we hold it.
        self.child.lock().try_wait().ok().flatten().map(ProcessDeath::of)
    }

    /// Kills it and whatever it started in its process group. Nothing happens to one that was reaped already,
    /// whose number may be another's by now.
    pub(super) fn kill(&self) {
        let mut child = self.child.lock();
        if matches!(child.try_wait(), Ok(None)) {
            let group = i32::try_from(self.pid).ok().map(Pid::from_raw);
            // It has ended between the two calls, or has left its group; both are covered by the second kill.
            _ = group.map(|group| killpg(group, Signal::SIGKILL));
            _ = child.kill();
        }
    }

    /// Ends it and says how it ended. One that was about to end by itself keeps its own way: the system has
    /// noted that before it closes the socket, which is how we know.
    pub(super) fn reap(&self) -> ProcessDeath {
        self.kill();
        let status = self.child.lock().wait();
        self.hear_out();
        status.map_or_else(|error| ProcessDeath::NotStarted(error.to_string()), ProcessDeath::of)
    }

    /// The last line that it wrote on standard error, once it was reaped.
    pub(super) fn last_words(&self) -> Option<String> {
        self.last_line.lock().clone()
    }

    /// Reads what it has written before its end. A descendant that outlives it cannot make us wait: our end of
    /// the socket is shut first, and then only what had arrived is left.
    fn hear_out(&self) {
        _ = self.lifeline.shutdown(Shutdown::Both);
        if let Some(listener) = self.listener.lock().take() {
            // It has panicked; what it heard is what we have.
            _ = listener.join();
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.reap();
    }
}

/// Tells each line that is not blank, shortened, until the end.
fn lines(mut from: UnixStream, mut tell: impl FnMut(&str)) {
    let mut line = Vec::new();
    let mut end = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line);
        if !text.trim().is_empty() {
            tell(text.trim());
        }
        line.clear();
    };
    let mut chunk = [0; 4096];
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // It died with something unread, which says no more than its end.
            Err(_) => break,
        };
        for byte in &chunk[..read] {
            match byte {
                b'\n' => end(&mut line),
                _ if line.len() < LONGEST_LINE => line.push(*byte),
                _ => {}
            }
        }
    }
    end(&mut line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_called_by_the_signals_name_and_what_it_means() {
        let check = |death: ProcessDeath, text: &str| assert_eq!(death.to_string(), text);
        check(ProcessDeath::Signal(11), "SIGSEGV (segmentation fault)");
        check(ProcessDeath::Signal(6), "SIGABRT (abort)");
        check(ProcessDeath::Signal(9), "SIGKILL (killed, perhaps for want of memory)");
        check(ProcessDeath::Signal(15), "SIGTERM");
        check(ProcessDeath::Signal(60), "signal 60");
        check(ProcessDeath::Exit(7), "exit code 7");
    }

    #[test]
    fn lines_are_told_one_by_one_shortened_and_without_blank_ones() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let long = "x".repeat(3000);
        ours.write_all(format!("one\n\n  \n{long}\nlast").as_bytes()).unwrap();
        drop(ours);

        let mut told = Vec::new();
        lines(theirs, |line| told.push(line.to_owned()));

        assert_eq!(told, ["one", &"x".repeat(LONGEST_LINE), "last"]);
    }
}
