//! Log lines on their way to stderr. Whoever reads there may stall, and then only a thread of their own waits: lines are
//! kept up to a bound, and beyond it they are counted and lost.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;
use tracing::warn;

/// Bytes of lines that wait. As many more are being written.
const MOST: usize = 1 << 20;

/// Lines that were lost since the process began.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Log lines that were lost because whoever reads stderr did not keep up.
#[must_use]
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub(super) struct LogQueue {
    waiting: Mutex<WaitingLines>,
    come: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct WaitingLines {
    text: Vec<u8>,
    /// Lines that found no room since it was last told.
    lost: u64,
    /// Some are being written.
    writing: bool,
}

impl LogQueue {
    /// A queue with its thread, which lives as long as the process.
    ///
    /// # Errors
    /// There is no stderr, or no thread can be started.
    pub(super) fn to_stderr() -> io::Result<Arc<Self>> {
        // Not by the standard library's handle: its lock would be held for as long as a reader stalls.
        let out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        LogQueue::to(out)
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let queue = Arc::<LogQueue>::default();
        let lines = Arc::clone(&queue);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || lines.write_to(out))?;
        Ok(queue)
    }

    /// Takes a whole line, or counts it as lost.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if !waiting.text.is_empty() && waiting.text.len() + line.len() > MOST {
            waiting.lost += 1;
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.text.extend_from_slice(line);
        drop(waiting);
        self.come.notify_one();
    }

    /// Returns when all is written, or when the time is over.
    pub(super) fn flush(&self, within: Duration) {
        let until = Instant::now() + within;
        let mut waiting = self.waiting.lock();
        while waiting.writing || !waiting.text.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if self.written.wait_for(&mut waiting, left).timed_out() {
                return;
            }
        }
    }

    fn write_to(&self, mut out: impl Write) -> ! {
        let mut text = Vec::new();
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.text.is_empty() {
                waiting.writing = false;
                self.written.notify_all();
                self.come.wait(&mut waiting);
            }
            waiting.writing = true;
            std::mem::swap(&mut waiting.text, &mut text);
            let lost = std::mem::take(&mut waiting.lost);
            drop(waiting);
            // Nothing is left to tell when nobody reads there any more.
            out.write_all(&text).ok();
            text.clear();
            if lost > 0 {
                warn!(lost, "log lines were lost, as whoever reads stderr did not keep up");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Writes when it is told to.
    struct Stalling {
        may: Receiver<()>,
        to: Sender<Vec<u8>>,
    }

    impl Write for Stalling {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may.recv().map_err(io::Error::other)?;
            self.to.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_holds_nobody_up_and_what_finds_no_room_is_counted() {
        let ((go, may), (to, written)) = (channel(), channel());
        let queue = LogQueue::to(Stalling { may, to }).unwrap();
        queue.push(b"first\n");
        queue.flush(Duration::from_millis(1));
        // The thread has taken the first, so that these wait.
        while !queue.waiting.lock().text.is_empty() {
            std::thread::yield_now();
        }
        let line = vec![b'x'; MOST / 4];
        let before = lost_lines();
        for _ in 0..7 {
            queue.push(&line);
        }
        assert_eq!((queue.waiting.lock().text.len(), lost_lines() - before), (MOST, 3));

        go.send(()).unwrap();
        go.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), b"first\n");
        assert_eq!(written.recv().unwrap().len(), MOST);
        queue.flush(Duration::from_secs(60));
        let waiting = queue.waiting.lock();
        assert_eq!((waiting.text.len(), waiting.lost, waiting.writing), (0, 0, false));
    }

    #[test]
    fn a_line_that_is_larger_than_all_room_is_written_where_nothing_else_waits() {
        let queue = LogQueue::default();
        queue.push(&vec![b'x'; 2 * MOST]);
        assert_eq!(queue.waiting.lock().text.len(), 2 * MOST);
    }
}
