//! What came of a siege: the books, the figures, and which promises were broken.

use std::fmt;
use std::time::Duration;

use super::books::{Balance, Promise, Way};
use super::calendar::{Calendar, Sample, Wrong, share};
use super::healthy::Pulse;
use tokio::time::Instant;

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Times that the host was killed.
    pub kills: u64,
    /// Times that the disk was full.
    pub full_disks: u64,
    /// Times that the broker was killed.
    pub broker_kills: u64,
    /// Times that the host was stopped and continued.
    pub stops: u64,
    /// What could not be done, and why.
    pub skipped: Vec<String>,
    /// Events accepted by 202, and by a confirm of the broker.
    pub accepted: (usize, usize),
    /// Events that were refused or broken off, and sent again.
    pub repeated: u64,
    /// What greedy requests were answered: what, status, how often.
    pub greedy: Vec<(&'static str, u16, u64)>,
    /// Why its last end was none in order.
    pub ended_badly: Option<String>,
    pub(super) accounts: Vec<Line>,
    pub(super) figures: Option<Figures>,
}

/// The books of one claim.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) what: String,
    pub(super) promise: Promise,
    pub(super) balance: Balance,
    /// Tries that the host noted as failed while nothing excused it, and the reason of one of them.
    pub(super) blamed: (usize, Option<String>),
}

/// How the healthy account fared.
#[derive(Debug)]
pub(super) struct Figures {
    /// So many times what events take alone is allowed for.
    pub(super) ratio: f64,
    pub(super) alone: (Instant, Instant),
    pub(super) ended: Instant,
    pub(super) calendar: Calendar,
    pub(super) samples: Vec<Sample>,
    pub(super) pulses: Vec<Pulse>,
}

impl Report {
    /// Something cannot be done here.
    ///
    /// # Panics
    /// Nothing may be skipped.
    pub(super) fn skip(&mut self, what: String) {
        assert!(!super::super::disk::nothing_may_be_skipped(), "{what}");
        self.skipped.push(what);
    }

    /// Deliveries that were found at their endpoint.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.sum(|balance| balance.delivered)
    }

    /// Deliveries that were found where they wait, or are kept.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.sum(|balance| balance.dead + balance.pending)
    }

    fn sum(&self, of: impl Fn(&Balance) -> usize) -> usize {
        self.accounts.iter().map(|line| of(&line.balance)).sum()
    }

    /// # Errors
    /// What was lost, or came under two names, one a line. How fast endpoints were served is not asked: on a machine
    /// that does something else meanwhile nobody can say.
    pub fn check_books(&self) -> anyhow::Result<()> {
        let lost = |line: &Line| !line.balance.missing.is_empty() || !line.balance.renamed.is_empty();
        let broken: Vec<String> =
            self.accounts.iter().filter(|line| lost(line)).flat_map(Line::broken).collect();
        anyhow::ensure!(broken.is_empty(), "{} broken promises:\n   {}", broken.len(), broken.join("\n   "));
        Ok(())
    }

    /// # Errors
    /// Every promise that was broken, one a line.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut broken: Vec<String> = self.accounts.iter().flat_map(Line::broken).collect();
        if self.delivered() == 0 || self.accepted.0 == 0 {
            broken.push("nothing was delivered".to_owned());
        }
        broken.extend(self.ended_badly.clone());
        broken.extend(self.figures.iter().flat_map(Figures::broken));
        anyhow::ensure!(broken.is_empty(), "{} broken promises:\n   {}", broken.len(), broken.join("\n   "));
        Ok(())
    }
}

impl Line {
    fn broken(&self) -> Vec<String> {
        let (found, what) = (&self.balance, &self.what);
        let some = |names: &[String]| names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let mut broken = Vec::new();
        let mut say = |is_broken: bool, how: String| {
            if is_broken {
                broken.push(format!("{what}: {how}"));
            }
        };
        let (missing, renamed) = (&found.missing, &found.renamed);
        say(!missing.is_empty(), format!("{} accepted and lost: {}", missing.len(), some(missing)));
        say(!renamed.is_empty(), format!("{} came under two names: {}", renamed.len(), some(renamed)));
        if self.promise == Promise::Prompt {
            let late = found.dead + found.pending + found.refused;
            say(late > 0, format!("{late} were not delivered although the endpoint takes everything"));
            let again = found.again_in_one_life;
            say(
                again > 0,
                format!("{again} successes were sent again though nothing had happened to the host"),
            );
            let (tries, reason) = &self.blamed;
            let reason = reason.as_deref().unwrap_or_default();
            say(*tries > 0, format!("{tries} tries are called failed where nothing had failed: {reason}"));
        }
        broken
    }
}

impl Figures {
    /// What the healthy account's events took by this way when it was alone.
    fn alone(&self, way: Way) -> Vec<Duration> {
        let alone = self.samples.iter().filter(|it| it.way == way);
        alone
            .filter(|it| (self.alone.0..self.alone.1).contains(&it.sent))
            .map(|it| self.calendar.took(it))
            .collect()
    }

    /// All that were sent after that and not excused.
    fn besieged(&self) -> Vec<&Sample> {
        let counts = |it: &&Sample| it.sent >= self.alone.1 && !self.calendar.excuses(it.sent);
        self.samples.iter().filter(counts).collect()
    }

    /// What is compared, by name: each trouble, and all of it.
    fn phases(&self) -> Vec<(&'static str, Vec<&Sample>)> {
        let kinds = self.calendar.kinds();
        let troubles = kinds.into_iter().filter(|kind| !kind.is_outage());
        let mut phases: Vec<_> =
            troubles.map(|kind| (kind.name(), self.calendar.during(kind, &self.samples))).collect();
        phases.push(("all of it", self.besieged()));
        phases
    }

    fn took(&self, samples: &[&Sample], way: Way) -> Vec<Duration> {
        samples.iter().filter(|it| it.way == way).map(|it| self.calendar.took(it)).collect()
    }

    /// How much longer the 99th percentile is than alone.
    fn ratio_of(&self, samples: &[&Sample], way: Way) -> Option<f64> {
        let p99 = share(&mut self.took(samples, way), 0.99)?;
        Some(p99.as_secs_f64() / share(&mut self.alone(way), 0.99)?.as_secs_f64())
    }

    /// How long after each outage of this kind all was as before, where that can be said.
    fn back(&self, wrong: Wrong) -> Vec<Duration> {
        let posts: Vec<Sample> = self.samples.iter().filter(|it| it.way == Way::Post).copied().collect();
        let Some(p99) = share(&mut self.alone(Way::Post), 0.99) else { return Vec::new() };
        let allowed = p99.mul_f64(self.ratio);
        let back = |span| self.calendar.back_after(span, &posts, allowed, self.ended);
        self.calendar.of(wrong).filter_map(back).collect()
    }

    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, samples) in self.phases() {
            for way in [Way::Post, Way::Amqp] {
                let Some(ratio) = self.ratio_of(&samples, way) else { continue };
                if ratio > self.ratio {
                    broken.push(format!(
                        "healthy, {way:?}, {name}: its p99 is {ratio:.1} times what it is alone, {} are allowed",
                        self.ratio
                    ));
                }
            }
        }
        for wrong in self.calendar.kinds().into_iter().filter(|kind| kind.is_outage()) {
            let back = self.back(wrong);
            let late = back.iter().filter(|after| **after > super::calendar::RECOVERY).count();
            if late > 0 {
                broken.push(format!(
                    "healthy: {late} of {} times it was not as before within 2 s after: {}",
                    back.len(),
                    wrong.name()
                ));
            }
        }
        broken
    }

    /// The slowest answer of `/healthz` and the largest resident memory in MiB in these times, but for outages.
    fn pulse(&self, within: impl Fn(Instant) -> bool) -> (String, u64) {
        let felt = || self.pulses.iter().filter(|it| within(it.at) && !self.calendar.excuses(it.at));
        let slowest = felt().map(|it| it.answered.unwrap_or(Duration::MAX)).max();
        let slowest = match slowest {
            None => "-".to_owned(),
            Some(Duration::MAX) => "none".to_owned(),
            Some(took) => milliseconds(Some(took)),
        };
        (slowest, felt().map(|it| it.resident_kib).max().unwrap_or_default() / 1024)
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, name: &str, times: usize, samples: &[&Sample]) -> fmt::Result {
        write!(f, "| {name} | {times} | {} ", samples.len())?;
        for way in [Way::Post, Way::Amqp] {
            let took = self.took(samples, way);
            let [p50, p99, worst] = [0.5, 0.99, 1.0].map(|it| milliseconds(share(&mut took.clone(), it)));
            let ratio = self.ratio_of(samples, way).map_or("-".to_owned(), |ratio| {
                let broken = if ratio > self.ratio { " !" } else { "" };
                format!("{ratio:.2}{broken}")
            });
            write!(f, "| {p50} | {p99} | {worst} | {ratio} ")?;
        }
        Ok(())
    }
}

fn milliseconds(took: Option<Duration>) -> String {
    took.map_or("-".to_owned(), |took| format!("{:.1}", took.as_secs_f64() * 1e3))
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| the healthy account | times | events | POST p50 ms | p99 | worst | ratio | AMQP p50 ms | p99 | worst | ratio | \
             slowest /healthz ms | most MiB |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
        )?;
        let (from, until) = self.alone;
        let alone: Vec<&Sample> = self.samples.iter().filter(|it| (from..until).contains(&it.sent)).collect();
        self.row(f, "alone", 1, &alone)?;
        let (slowest, most) = self.pulse(|at| (from..until).contains(&at));
        writeln!(f, "| {slowest} | {most} |")?;
        for (name, samples) in self.phases() {
            let kind = Wrong::Trouble(name);
            let times = self.calendar.of(kind).count();
            self.row(f, name, times, &samples)?;
            let (slowest, most) = self.pulse(|at| match times {
                0 => at >= until,
                _ => self.calendar.of(kind).any(|span| (span.from..span.until).contains(&at)),
            });
            writeln!(f, "| {slowest} | {most} |")?;
        }
        writeln!(
            f,
            "\n| outage | times | lasted ms, median | longest | seen to its end | back after ms, median | latest |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|")?;
        for wrong in self.calendar.kinds().into_iter().filter(|kind| kind.is_outage()) {
            let mut lasted: Vec<Duration> =
                self.calendar.of(wrong).map(|span| span.until - span.from).collect();
            let (mut back, times) = (self.back(wrong), lasted.len());
            let seen = back.len();
            let of = |took: &mut Vec<Duration>| [0.5, 1.0].map(|it| milliseconds(share(took, it)));
            let ([lasts, longest], [median, latest]) = (of(&mut lasted), of(&mut back));
            writeln!(
                f,
                "| {} | {times} | {lasts} | {longest} | {seen} | {median} | {latest} |",
                wrong.name()
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} kills of the host, {} of the broker, {} full disks, {} stops",
            self.kills, self.broker_kills, self.full_disks, self.stops
        )?;
        for skipped in &self.skipped {
            writeln!(f, "not done: {skipped}")?;
        }
        writeln!(
            f,
            "events accepted {} (POST {}, AMQP {}), sent again {}",
            self.accepted.0 + self.accepted.1,
            self.accepted.0,
            self.accepted.1,
            self.repeated
        )?;
        for (what, status, count) in &self.greedy {
            writeln!(f, "greedy requests of {what}: {count} answered {status}")?;
        }
        writeln!(
            f,
            "\n| deliveries | owed | delivered | dead | pending | refused | missing | again | in one life | two names | blamed |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
        )?;
        for line in &self.accounts {
            let it = &line.balance;
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                line.what,
                it.owed,
                it.delivered,
                it.dead,
                it.pending,
                it.refused,
                it.missing.len(),
                it.again,
                it.again_in_one_life,
                it.renamed.len(),
                line.blamed.0
            )?;
        }
        if let Some(figures) = &self.figures {
            write!(f, "\n{figures}")?;
        }
        Ok(())
    }
}
