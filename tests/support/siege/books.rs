//! Who is owed what, by identity, and where each delivery was found: at its endpoint, in the store, with what was
//! refused, or nowhere.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use flate2::read::GzDecoder;
use lapin::options::BasicGetOptions;
use parking_lot::Mutex;
use rusqlite::Connection;
use serde_json::Value;

use super::super::Broker;

/// How an event comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Way {
    /// By `POST /events`.
    Post,
    /// From the broker.
    Amqp,
    /// From the broker, small there and large when it is unpacked.
    Bomb,
}

/// One event of an account; its text is what the event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EventName {
    pub(super) way: Way,
    pub(super) number: u64,
}

impl EventName {
    pub(super) fn new(way: Way, number: u64) -> Self {
        EventName { way, number }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Post => "post",
            Way::Amqp => "amqp",
            Way::Bomb => "bomb",
        };
        write!(f, "{way}-{}", self.number)
    }
}

impl FromStr for EventName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (way, number) = text.split_once('-')?;
            let way = match way {
                "post" => Way::Post,
                "amqp" => Way::Amqp,
                "bomb" => Way::Bomb,
                _ => return None,
            };
            Some(EventName::new(way, number.parse().ok()?))
        };
        read().ok_or_else(|| format!("{text:?} is no event's name"))
    }
}

/// A hook by its id, 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct HookId(u128);

impl fmt::Display for HookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for HookId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        u128::from_str_radix(text, 16).map(Self).map_err(|_| format!("{text:?} is no hook's id"))
    }
}

/// One hook's share of one event.
pub(super) type Owed = (HookId, EventName);

/// A request that an endpoint has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// A digest of its `webhook-id`.
    id: u64,
    /// Which start of the host sent it.
    life: u32,
    /// It was answered with success.
    taken: bool,
}

/// What endpoints saw.
#[derive(Default)]
pub(super) struct Ledger {
    arrivals: Mutex<BTreeMap<Owed, Vec<Arrival>>>,
    /// Which start of the host this is.
    life: AtomicU32,
    /// How many of them a stop has made late, in which a success may be sent again.
    stops: Mutex<BTreeSet<u32>>,
}

impl Ledger {
    /// Notes a request; whether it is the first one of this delivery.
    pub(super) fn note(&self, owed: Owed, webhook_id: &str, taken: bool) -> bool {
        let life = self.life.load(Ordering::Relaxed);
        let mut arrivals = self.arrivals.lock();
        let of_delivery = arrivals.entry(owed).or_default();
        of_delivery.push(Arrival { id: digest(webhook_id), life, taken });
        of_delivery.len() == 1
    }

    /// Whether a request of this delivery has come before.
    pub(super) fn knows(&self, owed: &Owed) -> bool {
        self.arrivals.lock().contains_key(owed)
    }

    /// The host has been ended: what comes now is another life's.
    pub(super) fn next_life(&self) {
        self.life.fetch_add(1, Ordering::Relaxed);
    }

    /// The host was stopped in this life: whether an answer came in time, it could not know.
    pub(super) fn was_stopped(&self) {
        self.stops.lock().insert(self.life.load(Ordering::Relaxed));
    }

    /// How many of these deliveries were answered with success.
    pub(super) fn taken(&self, hooks: &[HookId]) -> usize {
        let is_taken = |arrivals: &Vec<Arrival>| arrivals.iter().any(|arrival| arrival.taken);
        let arrivals = self.arrivals.lock();
        let of_hook = |hook: &HookId| {
            let (first, last) = (EventName::new(Way::Post, 0), EventName::new(Way::Bomb, u64::MAX));
            arrivals.range((*hook, first)..=(*hook, last)).filter(|(_, it)| is_taken(it)).count()
        };
        hooks.iter().map(of_hook).sum()
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// What may become of what a hook is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// Its endpoint takes everything in time: all of it arrives, once in each life of the host, and the endpoint is never
    /// blamed.
    Prompt,
    /// Its endpoint may fail: whatever it is, it is somewhere.
    Kept,
}

/// Events of an account that were accepted.
#[derive(Default)]
pub(super) struct Accepted(Mutex<BTreeSet<EventName>>);

impl Accepted {
    pub(super) fn add(&self, names: impl IntoIterator<Item = EventName>) {
        self.0.lock().extend(names);
    }

    pub(super) fn all(&self) -> BTreeSet<EventName> {
        self.0.lock().clone()
    }
}

/// Hooks of one kind, all of one account, and what came to them.
pub(super) struct Claim {
    pub(super) what: String,
    pub(super) account: String,
    pub(super) hooks: Vec<HookId>,
    pub(super) events: Arc<Accepted>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) promise: Promise,
}

/// Where a claim's deliveries were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) owed: usize,
    pub(super) delivered: usize,
    pub(super) dead: usize,
    pub(super) pending: usize,
    /// The event is in the dead-letter queue.
    pub(super) refused: usize,
    pub(super) missing: Vec<String>,
    /// Arrivals after the first success.
    pub(super) again: usize,
    /// Those of them that no kill and no stop explains.
    pub(super) again_in_one_life: usize,
    /// Deliveries that were seen with more than one `webhook-id`.
    pub(super) renamed: Vec<String>,
}

/// What the host has left behind.
#[derive(Default)]
pub(super) struct Remains {
    /// Deliveries in its store: whether it is dead, and its `webhook-id`'s digest.
    pub(super) stored: HashMap<Owed, (bool, u64)>,
    /// Events in its dead-letter queue, by account.
    pub(super) refused: BTreeSet<(String, EventName)>,
    /// Events that are in its queue still.
    pub(super) queued: BTreeSet<(String, EventName)>,
}

/// Whether the broker has an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnTheBus {
    No,
    /// For the host.
    Queued,
    /// Refused by the host.
    Refused,
}

impl Claim {
    /// Looks for each delivery.
    pub(super) fn balance(&self, remains: &Remains) -> Balance {
        let (arrivals, stops) = (self.ledger.arrivals.lock(), self.ledger.stops.lock());
        let mut found = Balance::default();
        for event in self.events.all() {
            for hook in &self.hooks {
                let owed = (*hook, event);
                let arrived = arrivals.get(&owed).map_or(&[][..], Vec::as_slice);
                let name = (self.account.clone(), event);
                let bus = match (remains.queued.contains(&name), remains.refused.contains(&name)) {
                    (true, _) => OnTheBus::Queued,
                    (false, true) => OnTheBus::Refused,
                    (false, false) => OnTheBus::No,
                };
                found.add(owed, arrived, remains.stored.get(&owed), bus, &stops);
            }
        }
        found
    }
}

impl Balance {
    fn add(
        &mut self,
        owed: Owed,
        arrived: &[Arrival],
        stored: Option<&(bool, u64)>,
        bus: OnTheBus,
        stops: &BTreeSet<u32>,
    ) {
        self.owed += 1;
        let name = || format!("{} for hook {}", owed.1, owed.0);
        let mut ids: BTreeSet<u64> = arrived.iter().map(|arrival| arrival.id).collect();
        ids.extend(stored.map(|(_, id)| *id));
        if ids.len() > 1 {
            self.renamed.push(name());
        }
        let taken: Vec<u32> = arrived.iter().filter(|it| it.taken).map(|it| it.life).collect();
        if taken.is_empty() {
            match (stored, bus) {
                (Some((true, _)), _) => self.dead += 1,
                (Some((false, _)), _) | (None, OnTheBus::Queued) => self.pending += 1,
                (None, OnTheBus::Refused) => self.refused += 1,
                (None, OnTheBus::No) => self.missing.push(name()),
            }
            return;
        }
        self.delivered += 1;
        self.again += taken.len() - 1;
        let unexplained = |pair: &&[u32]| pair[0] == pair[1] && !stops.contains(&pair[0]);
        self.again_in_one_life += taken.windows(2).filter(unexplained).count();
    }
}

/// What the store of a host that has ended still knows.
///
/// # Panics
/// It cannot be read.
pub(super) fn stored(file: &Path) -> HashMap<Owed, (bool, u64)> {
    let connection = Connection::open(file).expect("the database");
    let mut query = connection
        .prepare(
            "SELECT d.hook, coalesce(d.payload, p.body), d.state, d.webhook_id
             FROM deliveries d LEFT JOIN payloads p ON p.id = d.payload_id",
        )
        .expect("its tables");
    let rows = query.query_map([], |row| {
        let (hook, payload, id): (String, Vec<u8>, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let owed = (hook.parse().expect("a hook's id"), said(&payload).expect("an event's name"));
        Ok((owed, (row.get::<_, i64>(2)? != 0, digest(&id))))
    });
    rows.expect("its rows").collect::<Result<_, _>>().expect("readable rows")
}

/// Which event a payload is of.
pub(super) fn said(payload: &[u8]) -> Option<EventName> {
    let payload: Value = serde_json::from_slice(payload).ok()?;
    payload["said"].as_str()?.parse().ok()
}

/// Takes everything out of a queue of a host that has ended.
///
/// # Panics
/// The broker does not answer, or a message in it is no event of the siege.
pub(super) async fn queued(broker: &Broker, queue: &str) -> BTreeSet<(String, EventName)> {
    let channel = broker.channel().await;
    let mut found = BTreeSet::new();
    let take = BasicGetOptions { no_ack: true };
    while let Some(message) = channel.basic_get(queue.into(), take).await.expect("the queue") {
        let mut body = Vec::new();
        match message.properties.content_encoding() {
            Some(_) => GzDecoder::new(message.data.as_slice()).read_to_end(&mut body).expect("gzip"),
            None => message.data.as_slice().read_to_end(&mut body).expect("bytes"),
        };
        let event: Value = serde_json::from_slice(&body).expect("an event");
        let text = |field: &str| event[field].as_str().unwrap_or_default();
        found.insert((text("Account-ID").to_owned(), text("Say").parse().expect("an event's name")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delivery_is_found_in_one_place_and_each_return_explained_or_not() {
        const STOPPED: u32 = 7;
        let took = |life| Arrival { id: 1, life, taken: true };
        let failed = |id| Arrival { id, life: 0, taken: false };
        let stored = |dead| Some((dead, 1));
        let (no, queued, refused) = (OnTheBus::No, OnTheBus::Queued, OnTheBus::Refused);
        // Arrivals, what is stored, what the broker has; then delivered, dead, pending, refused, missing, again, in one life, renamed
        type Case = (Vec<Arrival>, Option<(bool, u64)>, OnTheBus, [usize; 8]);
        let cases: Vec<Case> = vec![
            (vec![], None, no, [0, 0, 0, 0, 1, 0, 0, 0]),
            (vec![], None, refused, [0, 0, 0, 1, 0, 0, 0, 0]),
            (vec![], None, queued, [0, 0, 1, 0, 0, 0, 0, 0]),
            (vec![], stored(true), queued, [0, 1, 0, 0, 0, 0, 0, 0]),
            (vec![], stored(true), no, [0, 1, 0, 0, 0, 0, 0, 0]),
            (vec![failed(1)], stored(false), no, [0, 0, 1, 0, 0, 0, 0, 0]),
            (vec![failed(2)], stored(false), no, [0, 0, 1, 0, 0, 0, 0, 1]),
            (vec![failed(1)], None, no, [0, 0, 0, 0, 1, 0, 0, 0]),
            (vec![failed(1), took(0)], None, no, [1, 0, 0, 0, 0, 0, 0, 0]),
            (vec![took(0)], stored(false), no, [1, 0, 0, 0, 0, 0, 0, 0]),
            (vec![took(0), took(1)], None, no, [1, 0, 0, 0, 0, 1, 0, 0]),
            (vec![took(0), took(0), took(1)], None, no, [1, 0, 0, 0, 0, 2, 1, 0]),
            (vec![took(STOPPED), took(STOPPED)], None, no, [1, 0, 0, 0, 0, 1, 0, 0]),
        ];
        for (arrived, stored, bus, expected) in cases {
            let mut found = Balance::default();
            let owed = (HookId(1), EventName::new(Way::Post, 1));
            found.add(owed, &arrived, stored.as_ref(), bus, &BTreeSet::from([STOPPED]));
            let counts = [
                found.delivered,
                found.dead,
                found.pending,
                found.refused,
                found.missing.len(),
                found.again,
                found.again_in_one_life,
                found.renamed.len(),
            ];
            assert_eq!(counts, expected, "{arrived:?} {stored:?}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in [EventName::new(Way::Post, 0), EventName::new(Way::Bomb, 17)] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert!("post".parse::<EventName>().is_err() && "mail-1".parse::<EventName>().is_err());
        let hook = HookId(0xab);
        assert_eq!(hook.to_string().parse(), Ok(hook));
    }
}
