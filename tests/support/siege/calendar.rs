//! When what was wrong, and what that means for how long events took. Pure.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::books::Way;

/// What can be wrong. In those that are outages nobody can deliver; in all others everybody must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Wrong {
    /// The host was killed, alone or with its disk or its broker.
    Killed,
    /// As above, after its disk was full.
    DiskFull,
    /// As above, and its broker was, too.
    BrokerKilled,
    /// The host was stopped and continued.
    Stopped,
    /// A trouble, by its name.
    Trouble(&'static str),
}

impl Wrong {
    /// Whether nothing can be delivered meanwhile.
    pub(super) fn is_outage(self) -> bool {
        !matches!(self, Wrong::Trouble(_))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Wrong::Killed => "host killed",
            Wrong::DiskFull => "disk full, host killed",
            Wrong::BrokerKilled => "broker and host killed",
            Wrong::Stopped => "host stopped and continued",
            Wrong::Trouble(name) => name,
        }
    }
}

/// Something that was wrong for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) wrong: Wrong,
    pub(super) from: Instant,
    pub(super) until: Instant,
}

/// How one event of the healthy account fared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) way: Way,
    pub(super) sent: Instant,
    pub(super) arrived: Instant,
}

/// All that was wrong, in its order.
#[derive(Debug)]
pub(super) struct Calendar {
    spans: Vec<Span>,
    /// The same moment by both clocks.
    begun: (Instant, OffsetDateTime),
}

/// After an outage everything is as before within this time.
pub(super) const RECOVERY: Duration = Duration::from_secs(2);

/// Events of so long a time are looked at together to see whether it is over.
const SLOT: Duration = Duration::from_millis(250);

/// After so many good slots it is.
const GOOD_SLOTS: usize = 4;

/// One event of so many may be late in a good slot.
const LATE_OF: usize = 10;

impl Calendar {
    pub(super) fn beginning_now() -> Self {
        Calendar { spans: Vec::new(), begun: (Instant::now(), hookline::clock::now()) }
    }

    pub(super) fn add(&mut self, wrong: Wrong, from: Instant, until: Instant) {
        self.spans.push(Span { wrong, from, until });
    }

    pub(super) fn of(&self, wrong: Wrong) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(move |span| span.wrong == wrong)
    }

    /// What was wrong, each once, in the order in which it first was.
    pub(super) fn kinds(&self) -> Vec<Wrong> {
        let mut kinds = Vec::new();
        for span in &self.spans {
            if !kinds.contains(&span.wrong) {
                kinds.push(span.wrong);
            }
        }
        kinds
    }

    /// Whether it was at that moment excused that nothing is delivered.
    pub(super) fn excuses(&self, moment: Instant) -> bool {
        self.outages().any(|(from, until)| from <= moment && moment < until)
    }

    /// Whether something that began then and took so long met an outage.
    pub(super) fn excused(&self, at: OffsetDateTime, took: Duration) -> bool {
        let from = self.begun.0 + (at - self.begun.1).try_into().unwrap_or_default();
        self.outages().any(|(begun, ended)| begun <= from + took && from < ended)
    }

    /// How long an event took without the time in which nothing could be delivered.
    pub(super) fn took(&self, sample: &Sample) -> Duration {
        let mut took = sample.arrived.saturating_duration_since(sample.sent);
        let mut counted_to = sample.sent;
        // They may overlap; each moment is taken off once.
        for (from, until) in self.outages() {
            let (from, until) = (from.max(counted_to), until.min(sample.arrived));
            if from < until {
                took = took.saturating_sub(until - from);
                counted_to = until;
            }
        }
        took
    }

    /// While the host was down, and until it is to be as before.
    fn outages(&self) -> impl Iterator<Item = (Instant, Instant)> {
        let outages = self.spans.iter().filter(|span| span.wrong.is_outage());
        outages.map(|span| (span.from, span.until + RECOVERY))
    }

    /// Those that were sent while it was so, and nothing excused them.
    pub(super) fn during<'s>(&self, wrong: Wrong, samples: &'s [Sample]) -> Vec<&'s Sample> {
        let within = |sample: &&Sample| {
            self.of(wrong).any(|span| (span.from..span.until).contains(&sample.sent))
                && !self.excuses(sample.sent)
        };
        samples.iter().filter(within).collect()
    }

    /// How long after an outage's end events took no longer than `allowed` again; nothing where the time to the next
    /// outage, or to the end of it all, is too short to say. `samples` by the time in which they were sent.
    pub(super) fn back_after(
        &self,
        span: &Span,
        samples: &[Sample],
        allowed: Duration,
        end: Instant,
    ) -> Option<Duration> {
        let next = self.spans.iter().filter(|it| it.wrong.is_outage() && it.from >= span.until);
        let next = next.map(|it| it.from).min().unwrap_or(end);
        let in_slot = |begin: Instant| {
            let first = samples.partition_point(|sample| sample.sent < begin);
            let last = samples.partition_point(|sample| sample.sent < begin + SLOT);
            &samples[first..last]
        };
        let is_good = |begin: Instant| {
            let sent = in_slot(begin);
            let late = sent.iter().filter(|it| it.arrived.saturating_duration_since(it.sent) > allowed);
            !sent.is_empty() && late.count() * LATE_OF <= sent.len()
        };
        let mut begin = span.until;
        let mut good = 0;
        while begin + SLOT <= next {
            good = if is_good(begin) { good + 1 } else { 0 };
            begin += SLOT;
            if good == GOOD_SLOTS {
                return Some((begin - SLOT * GOOD_SLOTS as u32).saturating_duration_since(span.until));
            }
        }
        // Cut short while it was good or still recovering in time: no judgement. Else it took all of it.
        let cut_short = next.saturating_duration_since(span.until) < RECOVERY + SLOT * GOOD_SLOTS as u32;
        (!cut_short).then(|| next.saturating_duration_since(span.until))
    }
}

/// How long a share of them took at most; nothing of nothing.
pub(super) fn share(took: &mut [Duration], share: f64) -> Option<Duration> {
    took.sort_unstable();
    let index = (took.len() as f64 * share) as usize;
    took.get(index.min(took.len().checked_sub(1)?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn sample(begun: Instant, sent: u64, arrived: u64) -> Sample {
        Sample { way: Way::Post, sent: begun + ms(sent), arrived: begun + ms(arrived) }
    }

    #[test]
    fn time_in_which_nothing_could_be_delivered_is_taken_off_once() {
        let begun = Instant::now();
        let mut calendar = Calendar::beginning_now();
        calendar.add(Wrong::Killed, begun + ms(1000), begun + ms(2000));
        calendar.add(Wrong::Stopped, begun + ms(3000), begun + ms(3500));
        calendar.add(Wrong::Trouble("names"), begun, begun + ms(60_000));
        // Excused from 1000 to 5500.
        for (sent, arrived, took) in [
            (0, 10, 10),
            (990, 2500, 10),
            (990, 5600, 110),
            (1000, 5500, 0),
            (1500, 5600, 100),
            (6000, 16_000, 10_000),
        ] {
            assert_eq!(calendar.took(&sample(begun, sent, arrived)), ms(took), "{sent} to {arrived}");
        }
        assert!(!calendar.excuses(begun + ms(999)) && calendar.excuses(begun + ms(5499)));
        let samples = [sample(begun, 10, 11), sample(begun, 1500, 6000), sample(begun, 5500, 5501)];
        let sent: Vec<Instant> =
            calendar.during(Wrong::Trouble("names"), &samples).iter().map(|it| it.sent).collect();
        assert_eq!(sent, [begun + ms(10), begun + ms(5500)]);
    }

    #[test]
    fn an_outage_is_over_when_a_second_of_events_was_in_time() {
        let begun = Instant::now();
        let outage = Span { wrong: Wrong::Killed, from: begun, until: begun + ms(1000) };
        let with_next = |next: u64| {
            let next = Span { wrong: Wrong::Killed, from: begun + ms(next), until: begun + ms(next) };
            Calendar { spans: vec![outage, next], ..Calendar::beginning_now() }
        };
        let end = begun + ms(10_000);
        // Every 10 ms one; those before `slow_until` take 100 ms.
        let samples = |slow_until: u64| -> Vec<Sample> {
            let took = |sent| if sent < slow_until { 100 } else { 5 };
            (0..1000).map(|n| n * 10).map(|sent| sample(begun, sent, sent + took(sent))).collect()
        };
        for (slow_until, next, back) in [
            (1000, 9000, Some(0)),
            (1020, 9000, Some(0)),
            (1100, 9000, Some(250)),
            (2600, 9000, Some(1750)),
            (9000, 9000, Some(8000)),
            (1000, 1500, None),
            (3000, 3500, None),
        ] {
            let found = with_next(next).back_after(&outage, &samples(slow_until), ms(20), end);
            assert_eq!(found, back.map(ms), "slow until {slow_until}, next at {next}");
        }
        let last = Calendar { spans: vec![outage], ..Calendar::beginning_now() };
        assert_eq!(last.back_after(&outage, &samples(9000), ms(20), end), Some(ms(8000)));
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert_eq!(share(&mut [], 0.99), None);
        assert_eq!(share(&mut [ms(3), ms(1), ms(2)], 0.5), Some(ms(2)));
        let mut hundred: Vec<Duration> = (1..=100).map(ms).collect();
        assert_eq!(share(&mut hundred, 0.99), Some(ms(100)));
    }
}
