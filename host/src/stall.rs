//! How much of the time that went by this process could run, and what the system's clocks did meanwhile.
//!
//! A process that is stopped (SIGSTOP, a paused or starved machine) finds all its deadlines passed when it goes on,
//! and would blame modules and endpoints for time that nobody had. So whoever gives something a limit measures it here:
//! a thread that wakes every few milliseconds tells the time that nobody had from the rest. What the machine slept is
//! not in the clock that deadlines go by.
//!
//! Where a limit has passed all the same, [`StallMark::stood_still`] says whether a stop lay in between: a connection
//! that was lost over it was lost here and not by the other side.

use std::future::Future;
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

/// How often the thread wakes, and what a stop counts of the time around it.
const TICK: Duration = Duration::from_millis(25);

/// A longer gap between two wakes is a stop. A busy machine's scheduler makes shorter ones.
const STOP: Duration = Duration::from_millis(100);

/// What is worth a line in the log and a figure; shorter stops count for limits only.
const TOLD: Duration = Duration::from_millis(500);

/// How far apart the two readings around the others may be. Where more went by, there was a stop in between.
const AT_ONCE: Duration = Duration::from_millis(2);

/// What happened to this process and its clocks since it began to watch them. Only what took half a second or more.
#[derive(Debug, Default)]
pub struct StallCounts {
    /// Times that the process stood still.
    pub stops: AtomicU64,
    /// For how long together, in milliseconds.
    pub stopped_ms: AtomicU64,
    /// Times that the machine slept.
    pub sleeps: AtomicU64,
    /// Times that the wall clock was set forward.
    pub set_forward: AtomicU64,
    /// Times that the wall clock was set back.
    pub set_back: AtomicU64,
}

/// Begins to watch, if nobody does yet; says what was counted so far. Whatever else is in here begins it, too.
pub fn counts() -> &'static StallCounts {
    &StallClock::of_process().counts
}

/// A moment from which the time is measured that this process could run.
#[derive(Clone, Copy, Debug)]
pub struct StallMark {
    stood: Duration,
    at: Instant,
}

impl StallMark {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        // In this order, so that a stop between the two is not counted as time that could be used.
        let stood = StallClock::of_process().stood_still();
        StallMark { stood, at: Instant::now() }
    }

    /// The time since, without that in which the process stood still: what to hold against a limit.
    #[must_use]
    pub fn ran(&self) -> Duration {
        let elapsed = self.at.elapsed();
        elapsed.saturating_sub(self.stood_still())
    }

    /// The time since in which the process stood still; zero where it did not for a tenth of a second.
    #[must_use]
    pub fn stood_still(&self) -> Duration {
        StallClock::of_process().stood_still().saturating_sub(self.stood)
    }
}

/// A limit on the time that this process could run.
#[derive(Clone, Copy, Debug)]
pub struct StallDeadline {
    since: StallMark,
    within: Duration,
}

impl StallDeadline {
    /// So long from now.
    #[must_use]
    pub fn after(within: Duration) -> Self {
        StallDeadline { since: StallMark::now(), within }
    }

    /// What is left of it; zero when it has passed. To be asked again after as long a wait: a stop meanwhile leaves
    /// something.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.within.saturating_sub(self.since.ran())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// The limit of [`timeout`] has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("did not end in time")]
pub struct Overdue;

/// As tokio's, but time in which this process stood still does not count.
///
/// # Errors
/// [`Overdue`]; the future is dropped then.
pub async fn timeout<F: Future>(within: Duration, future: F) -> Result<F::Output, Overdue> {
    let deadline = StallDeadline::after(within);
    let mut future = pin!(future);
    loop {
        match tokio::time::timeout(deadline.left(), future.as_mut()).await {
            Ok(output) => return Ok(output),
            Err(_) if deadline.has_passed() => return Err(Overdue),
            // There was a stop.
            Err(_) => {}
        }
    }
}

/// As tokio's, but time in which this process stood still does not count.
pub async fn sleep(within: Duration) {
    let deadline = StallDeadline::after(within);
    while !deadline.has_passed() {
        tokio::time::sleep(deadline.left()).await;
    }
}

/// The watch over one process.
struct StallClock {
    ticks: Mutex<ClockTicks>,
    counts: StallCounts,
}

struct ClockTicks {
    /// The monotonic clock at the last wake; none where there is no thread to wake.
    last: Option<Duration>,
    /// How long the process stood still up to then.
    stood: Duration,
}

impl StallClock {
    fn of_process() -> &'static Self {
        static CLOCK: OnceLock<StallClock> = OnceLock::new();
        static THREAD: OnceLock<()> = OnceLock::new();
        let begin = || StallClock {
            ticks: Mutex::new(ClockTicks { last: None, stood: Duration::ZERO }),
            counts: StallCounts::default(),
        };
        let clock = CLOCK.get_or_init(begin);
        THREAD.get_or_init(|| {
            clock.ticks.lock().last = Some(monotonic());
            // It lives as long as the process.
            let started =
                std::thread::Builder::new().name("stall-clock".to_owned()).spawn(move || clock.tick());
            if let Err(error) = started {
                clock.ticks.lock().last = None;
                warn!(%error, "there is no thread to notice stops of this process");
            }
        });
        clock
    }

    fn tick(&self) -> ! {
        let mut before = ClockReading::now();
        loop {
            std::thread::park_timeout(TICK);
            let now = ClockReading::now();
            let noticed = ClockNotice::between(before, now);
            before = now;
            let mut ticks = self.ticks.lock();
            ticks.last = Some(now.monotonic);
            ticks.stood += noticed.stood;
            drop(ticks);
            self.tell(noticed);
        }
    }

    /// Up to now, with the gap that the thread has not seen the end of.
    fn stood_still(&self) -> Duration {
        let ticks = self.ticks.lock();
        let gap = ticks.last.map(|last| monotonic().saturating_sub(last));
        ticks.stood + gap.map(stood_in).unwrap_or_default()
    }

    fn tell(&self, noticed: ClockNotice) {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let counts = &self.counts;
        if noticed.stood >= TOLD {
            counts.stops.fetch_add(1, Ordering::Relaxed);
            counts.stopped_ms.fetch_add(ms(noticed.stood), Ordering::Relaxed);
            let stopped_ms = ms(noticed.stood);
            warn!(
                stopped_ms,
                "this process stood still: it was stopped, or its machine paused or overloaded"
            );
        }
        if noticed.slept >= TOLD {
            counts.sleeps.fetch_add(1, Ordering::Relaxed);
            warn!(slept_ms = ms(noticed.slept), "the machine slept");
        }
        if noticed.forward >= TOLD {
            counts.set_forward.fetch_add(1, Ordering::Relaxed);
            warn!(by_ms = ms(noticed.forward), "the system's clock was set forward");
        }
        if noticed.back >= TOLD {
            counts.set_back.fetch_add(1, Ordering::Relaxed);
            warn!(by_ms = ms(noticed.back), "the system's clock was set back");
        }
    }
}

/// What a gap between two wakes says.
fn stood_in(gap: Duration) -> Duration {
    if gap > STOP { gap.saturating_sub(TICK) } else { Duration::ZERO }
}

/// The system's clocks at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct ClockReading {
    monotonic: Duration,
    /// As the monotonic one, and goes on while the machine sleeps.
    boot: Duration,
    /// Since 1970.
    wall: Duration,
}

impl ClockReading {
    fn now() -> Self {
        loop {
            let before = monotonic();
            let reading =
                ClockReading { monotonic: before, boot: boot(), wall: read(ClockId::CLOCK_REALTIME) };
            if monotonic().saturating_sub(before) <= AT_ONCE {
                return reading;
            }
        }
    }
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ClockNotice {
    stood: Duration,
    slept: Duration,
    /// How far the wall clock was set forward, …
    forward: Duration,
    /// … or back.
    back: Duration,
}

impl ClockNotice {
    fn between(before: ClockReading, now: ClockReading) -> Self {
        let gap = now.monotonic.saturating_sub(before.monotonic);
        let of_boot = now.boot.saturating_sub(before.boot);
        // The wall clock goes on while the machine sleeps.
        let expected = before.wall + of_boot;
        ClockNotice {
            stood: stood_in(gap),
            slept: of_boot.saturating_sub(gap),
            forward: now.wall.saturating_sub(expected),
            back: expected.saturating_sub(now.wall),
        }
    }
}

fn monotonic() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

#[cfg(target_os = "linux")]
fn boot() -> Duration {
    read(ClockId::CLOCK_BOOTTIME)
}

#[cfg(not(target_os = "linux"))]
fn boot() -> Duration {
    monotonic()
}

/// These clocks exist wherever this is built, so that none fails to be read.
fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reading 25 ms after another says, when the clocks went on by so many milliseconds more.
    #[track_caller]
    fn check(monotonic: u64, boot: u64, wall: i64, expected: ClockNotice) {
        let ms = Duration::from_millis;
        let before = ClockReading { monotonic: ms(5_000), boot: ms(9_000), wall: ms(1_000_000) };
        let now = ClockReading {
            monotonic: before.monotonic + TICK + ms(monotonic),
            boot: before.boot + TICK + ms(boot),
            wall: ms(1_000_025_u64.saturating_add_signed(wall)),
        };
        assert_eq!(ClockNotice::between(before, now), expected);
    }

    #[test]
    fn a_stop_a_sleep_and_a_clock_that_was_set_are_told_apart() {
        let ms = Duration::from_millis;
        let nothing = ClockNotice::default();
        check(0, 0, 0, nothing);
        check(75, 75, 75, nothing);
        check(76, 76, 76, ClockNotice { stood: ms(76), ..nothing });
        check(1_300, 1_300, 1_300, ClockNotice { stood: ms(1_300), ..nothing });
        check(0, 60_000, 60_000, ClockNotice { slept: ms(60_000), ..nothing });
        check(0, 0, 7_000, ClockNotice { forward: ms(7_000), ..nothing });
        check(0, 0, -7_000, ClockNotice { back: ms(7_000), ..nothing });
        let slept_and_set = ClockNotice { slept: ms(60_000), back: ms(60_000), ..nothing };
        check(0, 60_000, 0, slept_and_set);
        let stopped_and_set = ClockNotice { stood: ms(2_000), forward: ms(500), ..nothing };
        check(2_000, 2_000, 2_500, stopped_and_set);
    }

    #[test]
    fn a_clock_reading_is_of_one_moment_and_clocks_do_not_jump_by_themselves() {
        let before = ClockReading::now();
        let noticed = ClockNotice::between(before, ClockReading::now());
        assert!(noticed.slept < TOLD && noticed.forward < TOLD && noticed.back < TOLD, "{noticed:?}");
    }

    #[tokio::test]
    async fn a_limit_passes_and_what_ends_before_it_does_not_wait_for_it() {
        let never = std::future::pending::<()>();
        assert_eq!(timeout(Duration::from_millis(1), never).await, Err(Overdue));
        assert_eq!(timeout(Duration::from_secs(3_600), async { 7 }).await, Ok(7));
        sleep(Duration::from_millis(1)).await;
    }
}
