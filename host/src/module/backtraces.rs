//! When the file of a module is read for a backtrace: once for each way in which it panics, so many times a second and no
//! more, and on a thread that carries no events.
//!
//! A module that panics on every event costs a look-up each time.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

use super::symbols;
use crate::background::give_way;

/// Ways to panic that are known of one generation; when there are more, all are forgotten.
const MOST_STACKS: usize = 64;

/// Files that are read in a row for one generation.
const BURST: u32 = 10;

/// How long it takes until one more may be read.
const EVERY: Duration = Duration::from_secs(1);

/// How long nothing is said of a backtrace that was told.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Backtraces that wait for the thread, over all modules.
const MOST_WAITING: usize = 64;

/// A backtrace in words, innermost frame first.
pub(super) type BacktraceLines = Arc<[String]>;

/// The backtraces of one generation.
pub(super) struct GenerationBacktraces {
    /// The private copy of its file, which lies there for as long as it is mapped.
    copy: PathBuf,
    /// The file that was copied, once it is known: its line tables may lie beside it.
    original: OnceLock<PathBuf>,
    known: Mutex<KnownStacks>,
}

/// What is known of a backtrace when its panic is noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KnownBacktrace {
    /// All of it. It is to be told where it was not lately.
    Read(BacktraceLines, ToldBefore),
    /// Its file is to be read; whoever hears this does so.
    ToBeRead,
    /// It is being read, or too many were: offsets must do.
    Offsets,
}

/// Whether a backtrace was told in the last minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToldBefore {
    Yes,
    No,
}

/// Which ways to panic are known. Pure.
struct KnownStacks {
    stacks: HashMap<Box<[usize]>, KnownStack>,
    /// Files that may be read now, and since when they are that many.
    left: u32,
    since: Instant,
}

enum KnownStack {
    BeingRead,
    Read { lines: BacktraceLines, told: Instant },
}

impl KnownStacks {
    fn new(now: Instant) -> Self {
        KnownStacks { stacks: HashMap::new(), left: BURST, since: now }
    }

    fn look_up(&mut self, offsets: &[usize], now: Instant) -> KnownBacktrace {
        match self.stacks.get_mut(offsets) {
            Some(KnownStack::BeingRead) => return KnownBacktrace::Offsets,
            Some(KnownStack::Read { lines, told }) => {
                let before = if now - *told < TOLD_AGAIN { ToldBefore::Yes } else { ToldBefore::No };
                if before == ToldBefore::No {
                    *told = now;
                }
                return KnownBacktrace::Read(Arc::clone(lines), before);
            }
            None => {}
        }
        let earned = u32::try_from((now - self.since).as_millis() / EVERY.as_millis()).unwrap_or(BURST);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.since = now;
        }
        if self.left == 0 {
            return KnownBacktrace::Offsets;
        }
        self.left -= 1;
        if self.stacks.len() >= MOST_STACKS {
            self.stacks.clear();
        }
        self.stacks.insert(offsets.into(), KnownStack::BeingRead);
        KnownBacktrace::ToBeRead
    }

    fn read(&mut self, offsets: &[usize], lines: BacktraceLines, now: Instant) {
        // It may have been forgotten meanwhile.
        if let Some(stack) = self.stacks.get_mut(offsets) {
            *stack = KnownStack::Read { lines, told: now };
        }
    }
}

impl GenerationBacktraces {
    pub(super) fn new(copy: PathBuf) -> Self {
        let known = Mutex::new(KnownStacks::new(Instant::now()));
        GenerationBacktraces { copy, original: OnceLock::new(), known }
    }

    /// Where the copy was taken from.
    pub(super) fn came_from(&self, original: PathBuf) {
        _ = self.original.set(original);
    }

    pub(super) fn look_up(&self, offsets: &[usize]) -> KnownBacktrace {
        self.known.lock().look_up(offsets, Instant::now())
    }

    /// Reads the file for these offsets, some time, and tells `told` what came of it, on the thread that does so.
    pub(super) fn read(
        self: &Arc<Self>,
        offsets: Vec<usize>,
        told: impl FnOnce(&[usize], BacktraceLines) + Send + 'static,
    ) {
        let own = Arc::clone(self);
        let forgotten = offsets.clone();
        let work = move || {
            let original = own.original.get().map(PathBuf::as_path);
            let lines = symbols::backtrace(&own.copy, original, &offsets);
            let lines = lines.unwrap_or_else(|_| symbols::unnamed(&offsets));
            let lines = BacktraceLines::from(lines);
            own.known.lock().read(&offsets, Arc::clone(&lines), Instant::now());
            told(&offsets, lines);
        };
        if !on_the_thread(Box::new(work)) {
            self.known.lock().stacks.remove(forgotten.as_slice());
        }
    }
}

type SymbolWork = Box<dyn FnOnce() + Send>;

/// Hands work to the one thread that reads what files say for debuggers; says false where it has too much already.
fn on_the_thread(work: SymbolWork) -> bool {
    static THREAD: OnceLock<Option<SyncSender<SymbolWork>>> = OnceLock::new();
    THREAD.get_or_init(start).as_ref().is_some_and(|thread| thread.try_send(work).is_ok())
}

/// It lives as long as the process, with one file in memory at a time.
fn start() -> Option<SyncSender<SymbolWork>> {
    let (sender, waiting) = sync_channel::<SymbolWork>(MOST_WAITING);
    let work = move || {
        give_way();
        while let Ok(work) = waiting.recv() {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                warn!("what a module's file says for debuggers could not be read");
            }
        }
    };
    let started = std::thread::Builder::new().name("symbols".to_owned()).spawn(work);
    started.inspect_err(|error| warn!(%error, "there is no thread for backtraces")).ok().map(|_| sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> BacktraceLines {
        vec!["door::open (src/lib.rs:7)".to_owned()].into()
    }

    #[test]
    fn a_stack_is_read_once_and_told_once_a_minute() {
        let begun = Instant::now();
        let mut known = KnownStacks::new(begun);
        assert_eq!(known.look_up(&[1, 2], begun), KnownBacktrace::ToBeRead);
        assert_eq!(known.look_up(&[1, 2], begun), KnownBacktrace::Offsets);

        known.read(&[1, 2], lines(), begun);

        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(known.look_up(&[1, 2], at(59)), KnownBacktrace::Read(lines(), ToldBefore::Yes));
        assert_eq!(known.look_up(&[1, 2], at(60)), KnownBacktrace::Read(lines(), ToldBefore::No));
        assert_eq!(known.look_up(&[1, 2], at(61)), KnownBacktrace::Read(lines(), ToldBefore::Yes));
    }

    #[test]
    fn a_module_that_panics_anew_each_time_has_its_file_read_once_a_second() {
        let begun = Instant::now();
        let mut known = KnownStacks::new(begun);
        let mut read = 0;
        for n in 0..10_000 {
            let now = begun + Duration::from_millis(n);
            let stack = [usize::try_from(n).unwrap()];
            read += u32::from(known.look_up(&stack, now) == KnownBacktrace::ToBeRead);
            assert!(known.stacks.len() <= MOST_STACKS);
        }
        assert_eq!(read, BURST + 9);
    }

    #[test]
    fn what_panics_on_the_thread_costs_its_own_backtrace() {
        let (sender, done) = sync_channel(1);
        assert!(on_the_thread(Box::new(|| panic!("as planned"))));
        assert!(on_the_thread(Box::new(move || sender.send(()).unwrap())));
        done.recv().unwrap();
    }

    #[test]
    fn of_a_file_that_is_gone_offsets_are_told() {
        let backtraces = Arc::new(GenerationBacktraces::new(PathBuf::from("gone.so")));
        let (sender, told) = sync_channel(1);
        assert_eq!(backtraces.look_up(&[16]), KnownBacktrace::ToBeRead);
        backtraces.read(vec![16], move |_, lines| sender.send(lines).unwrap());
        assert_eq!(told.recv().unwrap().as_ref(), ["+0x10"]);
        assert!(matches!(backtraces.look_up(&[16]), KnownBacktrace::Read(..)));
    }
}
