//! Names of endpoints: looked up within bounds of their own, so that name servers that stall hold up nothing else, and
//! known for as long as their answers are valid; longer where nobody answers.
//!
//! The hosts file goes first where `nsswitch.conf` says so, then the name servers of `resolv.conf`, then what else
//! `nsswitch.conf` names, which is asked through the system. Nobody who wants to send waits for a stalling server for
//! longer than a moment: the look-up goes on without, and the next try finds what it found.

mod files;
mod others;
mod servers;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::resolve::{NameResolver, OutOfOrder};
use files::SystemFiles;
use others::OtherSources;
use servers::{LookupOutcome, NameServers};

/// Look-ups under way at once.
const AT_ONCE: usize = 48;

/// Of them, those of names that failed last.
const AT_ONCE_FAILING: usize = 12;

/// Look-ups that wait or are under way.
const WAITING: usize = 4096;

/// How long one look-up may take in all.
const LOOKUP: Duration = Duration::from_secs(6);

/// How long a request waits for one; the look-up goes on.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same where an answer is known that was valid before.
const PATIENCE_STALE: Duration = Duration::from_millis(250);

/// The same where nobody answers, or this name was not answered last.
const PATIENCE_FAILING: Duration = Duration::from_millis(50);

/// An answer is valid for no shorter and no longer than this, whatever it says.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// How long it is believed that there is no such name.
const NO_SUCH_NAME: Duration = Duration::from_secs(2);

/// How long an answer serves beyond its time where there is no newer one.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// A name that nobody answers for so long, while others are answered, is its owner's trouble.
const BLAMED_AFTER: Duration = Duration::from_secs(60);

/// Names that are known.
const NAMES: usize = 16_384;

/// Looks names up as the system would. Clones share what they know.
#[derive(Clone)]
pub struct NameCache(Arc<NameEntry>);

struct NameEntry {
    files: SystemFiles,
    servers: NameServers,
    others: OtherSources,
    names: Mutex<FxHashMap<Box<str>, KnownName>>,
    health: Mutex<ServerHealth>,
    at_once: Semaphore,
    at_once_failing: Semaphore,
    tasks: TaskTracker,
}

/// What is known of one name.
#[derive(Default)]
struct KnownName {
    found: Option<FoundAddresses>,
    none: Option<(Instant, String)>,
    failing: Option<FailingName>,
    pending: Option<Arc<Notify>>,
}

struct FoundAddresses {
    addresses: Vec<IpAddr>,
    until: Instant,
}

#[derive(Clone)]
struct FailingName {
    since: Instant,
    told: String,
}

/// Whether the name servers answer at all.
#[derive(Clone, Copy, Default)]
struct ServerHealth {
    heard: Option<Instant>,
    failing: bool,
}

/// What a name leads to as far as is known now.
#[derive(Debug, PartialEq, Eq)]
enum NameKnowledge {
    Addresses(Vec<IpAddr>),
    None(String),
    /// It has to be looked up.
    Nothing,
}

impl KnownName {
    fn knowledge(&self, now: Instant) -> NameKnowledge {
        match (&self.found, &self.none) {
            (Some(found), _) if now < found.until => NameKnowledge::Addresses(found.addresses.clone()),
            (_, Some((until, told))) if now < *until => NameKnowledge::None(told.clone()),
            _ => NameKnowledge::Nothing,
        }
    }

    fn stale(&self, now: Instant) -> Option<Vec<IpAddr>> {
        let found = self.found.as_ref().filter(|found| now < found.until + STALE);
        found.map(|found| found.addresses.clone())
    }

    /// Whether it may be forgotten to make room.
    fn is_old(&self, now: Instant) -> bool {
        self.pending.is_none() && self.found.as_ref().is_none_or(|found| found.until <= now)
    }

    fn learn(&mut self, outcome: LookupOutcome, now: Instant) {
        match outcome {
            LookupOutcome::Found { addresses, valid } => {
                let until = now + valid.clamp(SHORTEST, LONGEST);
                *self =
                    KnownName { found: Some(FoundAddresses { addresses, until }), ..KnownName::default() };
            }
            LookupOutcome::NoSuchName(told) => {
                *self = KnownName { none: Some((now + NO_SUCH_NAME, told)), ..KnownName::default() };
            }
            LookupOutcome::Unanswered(told) => {
                let since = self.failing.as_ref().map_or(now, |failing| failing.since);
                self.failing = Some(FailingName { since, told });
            }
        }
    }
}

/// Whether that a name is not answered is the trouble of whoever it belongs to: others are answered meanwhile.
fn is_blamed(failing_since: Instant, heard: Option<Instant>, now: Instant) -> bool {
    now >= failing_since + BLAMED_AFTER && heard.is_some_and(|heard| heard > failing_since)
}

/// How long a request waits for a look-up.
fn patience(stale: bool, failing: bool) -> Duration {
    match (stale, failing) {
        (_, true) => PATIENCE_FAILING,
        (true, false) => PATIENCE_STALE,
        (false, false) => PATIENCE,
    }
}

impl NameCache {
    /// Looks up as this system is set up to.
    #[must_use]
    pub fn of_system() -> Self {
        Self::set_up_by(Path::new("/etc"))
    }

    /// Looks up as the files `hosts`, `nsswitch.conf` and `resolv.conf` of this folder say.
    #[must_use]
    pub fn set_up_by(folder: &Path) -> Self {
        NameCache(Arc::new(NameEntry {
            files: SystemFiles::read(folder),
            servers: NameServers::of(folder.join("resolv.conf")),
            others: OtherSources::default(),
            names: Mutex::default(),
            health: Mutex::default(),
            at_once: Semaphore::new(AT_ONCE),
            at_once_failing: Semaphore::new(AT_ONCE_FAILING),
            tasks: TaskTracker::new(),
        }))
    }

    /// What is known, else what a look-up finds in time.
    async fn look_up(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let (pending, patience) = {
            let now = Instant::now();
            let mut names = self.0.names.lock();
            if names.len() >= NAMES && !names.contains_key(name) {
                names.retain(|_, known| !known.is_old(now));
            }
            let room = names.len() < NAMES;
            let waiting = self.0.tasks.len();
            let known = match names.get_mut(name) {
                Some(known) => known,
                None if !room => return Err(unanswered(name, "too many names are looked up at once")),
                None => names.entry(name.into()).or_default(),
            };
            match known.knowledge(now) {
                NameKnowledge::Addresses(addresses) => return Ok(addresses),
                NameKnowledge::None(told) => return Err(std::io::Error::other(told)),
                NameKnowledge::Nothing => {}
            }
            let failing = known.failing.is_some() || self.0.health.lock().failing;
            let patience = patience(known.found.is_some(), failing);
            if known.pending.is_none() && waiting >= WAITING {
                return known
                    .stale(now)
                    .ok_or_else(|| unanswered(name, "too many names are looked up at once"));
            }
            let pending = known.pending.get_or_insert_with(|| self.begin(name, known.failing.is_some()));
            (Arc::clone(pending).notified_owned(), patience)
        };
        let in_time = timeout(patience, pending).await.is_ok();
        let now = Instant::now();
        let names = self.0.names.lock();
        let Some(known) = names.get(name) else { return Err(unanswered(name, "it was forgotten meanwhile")) };
        match known.knowledge(now) {
            NameKnowledge::Addresses(addresses) => return Ok(addresses),
            NameKnowledge::None(told) => return Err(std::io::Error::other(told)),
            NameKnowledge::Nothing => {}
        }
        if let Some(stale) = known.stale(now) {
            return Ok(stale);
        }
        let heard = self.0.health.lock().heard;
        match &known.failing {
            Some(failing) if is_blamed(failing.since, heard, now) => {
                Err(std::io::Error::other(format!("the name {name} cannot be looked up: {}", failing.told)))
            }
            Some(failing) => Err(unanswered(name, &failing.told)),
            None if in_time => Err(unanswered(name, "there was no answer")),
            None => Err(unanswered(name, "no name server has answered yet")),
        }
    }

    /// Begins to look a name up; answers what is told when that has ended.
    fn begin(&self, name: &str, failing: bool) -> Arc<Notify> {
        let ended = Arc::new(Notify::new());
        let (known, name, notify) = (Arc::clone(&self.0), name.to_owned(), Arc::clone(&ended));
        self.0.tasks.spawn(async move {
            let turns = if failing { &known.at_once_failing } else { &known.at_once };
            let turn = turns.acquire().await;
            let looked_up = timeout(LOOKUP, known.ask(&name)).await;
            drop(turn);
            let outcome = looked_up.unwrap_or_else(|_| {
                LookupOutcome::Unanswered(format!(
                    "no name server has answered within {} s",
                    LOOKUP.as_secs()
                ))
            });
            known.learn(&name, outcome);
            notify.notify_waiters();
        });
        ended
    }
}

impl NameEntry {
    async fn ask(&self, name: &str) -> LookupOutcome {
        let outcome = self.servers.look_up(name).await;
        match outcome {
            LookupOutcome::NoSuchName(told) if self.files.has_other_sources() => {
                match self.others.look_up(name).await {
                    Some(addresses) => LookupOutcome::Found { addresses, valid: Duration::from_secs(30) },
                    None => LookupOutcome::NoSuchName(told),
                }
            }
            other => other,
        }
    }

    fn learn(&self, name: &str, outcome: LookupOutcome) {
        let now = Instant::now();
        {
            let mut health = self.health.lock();
            health.failing = matches!(outcome, LookupOutcome::Unanswered(_));
            if !health.failing {
                health.heard = Some(now);
            }
        }
        let mut names = self.names.lock();
        let Some(known) = names.get_mut(name) else { return };
        known.pending = None;
        known.learn(outcome, now);
    }
}

fn unanswered(name: &str, why: &str) -> std::io::Error {
    std::io::Error::other(OutOfOrder(format!("the name {name} cannot be looked up: {why}")))
}

#[async_trait]
impl NameResolver for NameCache {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.0.files.read_again_later(&self.0.tasks);
        let from_file = self.0.files.addresses(&name);
        if !from_file.is_empty() {
            return Ok(from_file);
        }
        self.look_up(&name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn found(last: u8, valid: Duration) -> LookupOutcome {
        LookupOutcome::Found { addresses: vec![IpAddr::from([192, 0, 2, last])], valid }
    }

    fn address(last: u8) -> Vec<IpAddr> {
        vec![IpAddr::from([192, 0, 2, last])]
    }

    #[tokio::test]
    async fn an_answer_is_known_for_its_time_and_serves_longer_where_there_is_no_newer_one() {
        let now = Instant::now();
        let mut known = KnownName::default();
        assert_eq!((known.knowledge(now), known.stale(now)), (NameKnowledge::Nothing, None));
        known.learn(found(1, second(30)), now);
        assert_eq!(known.knowledge(now + second(29)), NameKnowledge::Addresses(address(1)));
        assert_eq!(known.knowledge(now + second(30)), NameKnowledge::Nothing);
        known.learn(LookupOutcome::Unanswered("late".to_owned()), now + second(31));
        assert_eq!(known.stale(now + second(31)), Some(address(1)));
        known.learn(found(2, Duration::ZERO), now + second(40));
        assert_eq!(known.knowledge(now + second(40)), NameKnowledge::Addresses(address(2)));
        assert!(known.failing.is_none());
        known.learn(LookupOutcome::NoSuchName("gone".to_owned()), now + second(50));
        assert_eq!(known.knowledge(now + second(51)), NameKnowledge::None("gone".to_owned()));
        assert_eq!(known.stale(now + second(51)), None, "there is no such name any more");
        known.learn(found(3, second(1_000_000)), now);
        assert_eq!(known.knowledge(now + LONGEST), NameKnowledge::Nothing);
        assert_eq!(known.stale(now + LONGEST + STALE), None);
    }

    #[tokio::test]
    async fn a_name_that_nobody_answers_while_others_are_answered_is_its_owners_trouble_after_a_minute() {
        let begun = Instant::now();
        for (heard, after, expected) in [
            (None, 3600, false),
            (Some(begun), 3600, false),
            (Some(begun + second(5)), 59, false),
            (Some(begun + second(5)), 60, true),
        ] {
            assert_eq!(is_blamed(begun, heard, begun + second(after)), expected, "{heard:?} {after}");
        }
    }

    #[test]
    fn nobody_waits_long_for_those_who_do_not_answer() {
        assert_eq!(patience(false, false), PATIENCE);
        assert_eq!(patience(true, false), PATIENCE_STALE);
        assert_eq!(patience(true, true), PATIENCE_FAILING);
        assert_eq!(patience(false, true), PATIENCE_FAILING);
    }
}
