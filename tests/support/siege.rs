//! A host under load that is killed again and again while its disk fills, its broker goes away and its endpoints
//! misbehave; and the books at the end, by identity: whatever was accepted was delivered, is dead, or is pending.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel};
use parking_lot::Mutex;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{Broker, Disk, Home, Hostile, Manner, PATIENCE};

/// How much of it.
pub struct Plan {
    /// So often the host is killed and started again.
    pub kills: u64,
    /// After this time it ends with as many kills as there were.
    pub within: Duration,
    /// Events a second from each side.
    pub rate: u64,
    /// How long the host lives between two kills: each in turn.
    pub lives: Vec<Duration>,
    /// Before every so many-th kill the disk is full, where there is one of the siege's own. 0: never.
    pub full_disk_every: u64,
    /// Size of the disk in MiB: what all events and deliveries together take must fit.
    pub disk: u32,
    /// Before every so many-th kill the broker is killed and comes back, where it is the siege's own. 0: never.
    pub broker_every: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Times that the host was killed.
    pub kills: u64,
    /// Times that the disk was full.
    pub full_disks: u64,
    /// Times that the broker was killed.
    pub broker_kills: u64,
    /// Why the disk was never full, where it could not be.
    pub no_disk: Option<String>,
    /// Events accepted by 202, and by a confirm of the broker.
    pub accepted: (usize, usize),
    /// Posts that were refused or broken off, and sent again.
    pub repeated: u64,
    /// Deliveries by where they were found; each event is owed to each hook.
    pub delivered: usize,
    /// Given up and kept.
    pub dead: usize,
    /// Waiting for another try.
    pub pending: usize,
    /// Owed, and nowhere.
    pub missing: Vec<String>,
    /// Arrivals after the first one.
    pub duplicates: u64,
    /// Deliveries that were seen with more than one `webhook-id`.
    pub renamed: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owed = self.delivered + self.dead + self.pending + self.missing.len();
        writeln!(
            f,
            "   {} kills of the host, {} of the broker, {} full disks",
            self.kills, self.broker_kills, self.full_disks
        )?;
        if let Some(why) = &self.no_disk {
            writeln!(f, "   SKIPPED: no disk of its own could be mounted, so it was never full: {why}")?;
        }
        writeln!(
            f,
            "   events accepted {} (POST {}, AMQP {}), posts sent again {}",
            self.accepted.0 + self.accepted.1,
            self.accepted.0,
            self.accepted.1,
            self.repeated
        )?;
        writeln!(
            f,
            "   deliveries owed {owed} = delivered {} + dead {} + pending {} + missing {}",
            self.delivered,
            self.dead,
            self.pending,
            self.missing.len()
        )?;
        write!(
            f,
            "   arrived again {}; seen with more than one webhook-id {}",
            self.duplicates,
            self.renamed.len()
        )
    }
}

impl Report {
    /// # Errors
    /// Something that was accepted is nowhere, or came under two names.
    pub fn check(&self) -> anyhow::Result<()> {
        let some = |names: &[String]| names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        anyhow::ensure!(self.missing.is_empty(), "accepted and lost: {}", some(&self.missing));
        anyhow::ensure!(self.renamed.is_empty(), "came under two names: {}", some(&self.renamed));
        anyhow::ensure!(self.delivered > 0 && self.accepted.0 > 0, "nothing was delivered");
        Ok(())
    }
}

/// One hook's share of one event.
type Owed = (String, String);

/// What endpoints saw.
#[derive(Default)]
struct Books {
    /// The `webhook-id`s of what was answered with success, in the order in which they came.
    delivered: Mutex<BTreeMap<Owed, Vec<String>>>,
    /// Of what was answered with a failure.
    failed: Mutex<BTreeMap<Owed, Vec<String>>>,
}

/// What senders know of the host, and what they have of it.
struct Senders {
    url: watch::Receiver<String>,
    token: String,
    account: String,
    http: reqwest::Client,
    accepted: Mutex<(BTreeSet<String>, BTreeSet<String>)>,
    repeated: std::sync::atomic::AtomicU64,
    stop: CancellationToken,
}

/// Runs it. `broker` is the siege's own where it may be killed.
///
/// # Panics
/// The host does not start again, or does not end in order at last.
pub async fn siege(plan: &Plan, broker: &Broker) -> Report {
    let mut report = Report::default();
    let books = Arc::new(Books::default());
    let (endpoint, _serving) = receive(Arc::clone(&books)).await;
    let mut hostile = Vec::new();
    for manner in [Manner::Hangs, Manner::Drips, Manner::Resets, Manner::Fails, Manner::Babbles] {
        hostile.push(Hostile::endpoint(manner).await);
    }
    let queue = Broker::queue_of_its_own();
    let settings = format!(
        "{}[delivery]\nrequest_timeout_ms = 1500\nretry_schedule_ms = [500, 1000]\n\
         [disabler]\ndisable_disabler = true\n",
        broker.settings(&queue)
    );
    let home = Home::new(&settings, &["webhooks_misbehaving"]);
    let disk = Disk::mounted(&home.path("data"), plan.disk, true);
    report.no_disk = disk.as_ref().err().cloned();
    let mut program = home.start_logging("error", &[]).await;
    let account = program.account("siege").await;
    let mut hooks = Vec::new();
    for path in ["good", "flaky"] {
        let uri = format!("{endpoint}/{path}");
        hooks.push(program.hook(&account, "misbehaving", &uri, json!({"retries": 4})).await);
    }
    for endpoint in &hostile {
        hooks.push(program.hook(&account, "misbehaving", &endpoint.url("/"), json!({"retries": 1})).await);
    }
    program.ready(true).await;

    let (url, known_url) = watch::channel(program.url().to_owned());
    let senders = Arc::new(Senders {
        url: known_url,
        token: program.token(),
        account,
        http: reqwest::Client::new(),
        accepted: Mutex::default(),
        repeated: Default::default(),
        stop: CancellationToken::new(),
    });
    let mut sending = JoinSet::new();
    sending.spawn(post_events(Arc::clone(&senders), plan.rate));
    sending.spawn(publish_events(Arc::clone(&senders), broker.uri().to_owned(), queue.clone(), plan.rate));

    let until = Instant::now() + plan.within;
    let lives = plan.lives.iter().cycle();
    for (kill, life) in (1..=plan.kills).zip(lives) {
        sleep(*life).await;
        let is_turn = |every: u64| every > 0 && kill.is_multiple_of(every);
        let full = disk.as_ref().ok().filter(|_| is_turn(plan.full_disk_every));
        if let Some(disk) = full {
            disk.fill();
            report.full_disks += 1;
            sleep(*life).await;
        }
        if is_turn(plan.broker_every) {
            broker.kill().await;
            report.broker_kills += 1;
        }
        let home = program.killed().await;
        report.kills += 1;
        if let Some(disk) = full {
            disk.free();
        }
        program = home.start_logging("error", &[]).await;
        url.send_replace(program.url().to_owned());
        if is_turn(plan.broker_every) {
            broker.start_again().await;
        }
        if Instant::now() > until {
            break;
        }
    }
    senders.stop.cancel();
    while let Some(sent) = sending.join_next().await {
        sent.expect("a sender");
    }
    let accepted = senders.accepted.lock().clone();
    report.accepted = (accepted.0.len(), accepted.1.len());
    report.repeated = senders.repeated.load(std::sync::atomic::Ordering::Relaxed);
    let events: BTreeSet<&String> = accepted.0.iter().chain(&accepted.1).collect();

    arrived(&books, &hooks[..2], &events).await;
    let (said, home) = program.signalled("TERM").await;
    assert_eq!(said.code, Some(0), "the host should end well: {said:?}");
    let stored = stored(&home.path("data/hookline.db"));
    balance(&mut report, &books, &stored, &hooks, &events);
    report
}

/// Returns once the endpoints that answer have everything, or nothing more comes.
async fn arrived(books: &Books, hooks: &[String], events: &BTreeSet<&String>) {
    let owed = events.len() * hooks.len();
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let delivered = books.delivered.lock().len();
        if delivered >= owed || since.elapsed() > PATIENCE {
            return;
        }
        if delivered > before {
            (before, since) = (delivered, Instant::now());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn balance(
    report: &mut Report,
    books: &Books,
    stored: &BTreeMap<Owed, (bool, String)>,
    hooks: &[String],
    events: &BTreeSet<&String>,
) {
    let (delivered, failed) = (books.delivered.lock(), books.failed.lock());
    for hook in hooks {
        for event in events {
            let owed = (hook.clone(), (*event).clone());
            let mut ids: BTreeSet<&String> = BTreeSet::new();
            ids.extend(failed.get(&owed).into_iter().flatten());
            ids.extend(stored.get(&owed).map(|(_, id)| id));
            let name = || format!("{} for {}", owed.1, owed.0);
            if let Some(arrivals) = delivered.get(&owed) {
                report.delivered += 1;
                report.duplicates += arrivals.len() as u64 - 1;
                ids.extend(arrivals);
            } else {
                match stored.get(&owed) {
                    Some((true, _)) => report.dead += 1,
                    Some((false, _)) => report.pending += 1,
                    None => report.missing.push(name()),
                }
            }
            if ids.len() > 1 {
                report.renamed.push(name());
            }
        }
    }
}

/// What the store of a host that has ended still knows: whether it is dead, and its `webhook-id`.
fn stored(file: &std::path::Path) -> BTreeMap<Owed, (bool, String)> {
    let connection = Connection::open(file).expect("the database");
    let mut query = connection
        .prepare(
            "SELECT d.hook, coalesce(d.payload, p.body), d.state, d.webhook_id
             FROM deliveries d LEFT JOIN payloads p ON p.id = d.payload_id",
        )
        .expect("its tables");
    let rows = query.query_map([], |row| {
        let payload: Vec<u8> = row.get(1)?;
        Ok(((row.get(0)?, said(&payload)), (row.get::<_, i64>(2)? != 0, row.get(3)?)))
    });
    rows.expect("its rows").collect::<Result<_, _>>().expect("readable rows")
}

fn said(payload: &[u8]) -> String {
    let payload: Value = serde_json::from_slice(payload).expect("a payload is JSON");
    payload["said"].as_str().expect("a name").to_owned()
}

/// Endpoints that note what comes: `/good` takes everything, `/flaky` every third event at its second try only.
async fn receive(books: Arc<Books>) -> (String, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let router = Router::new().route("/{manner}", post(note)).with_state(books);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        axum::serve(listener, router).await.expect("serving");
    });
    (url, serving)
}

async fn note(
    State(books): State<Arc<Books>>,
    Path(manner): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let owed = (header("x-hook-id").to_owned(), said(&body));
    let id = header("webhook-id").to_owned();
    let number: u64 = owed.1.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default();
    let mut failed = books.failed.lock();
    if manner == "flaky" && number.is_multiple_of(3) && !failed.contains_key(&owed) {
        failed.entry(owed).or_default().push(id);
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    books.delivered.lock().entry(owed).or_default().push(id);
    StatusCode::OK
}

fn event(account: &str, name: &str) -> Value {
    json!({
        "Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Msg-ID": name, "Do": "fire",
        "Say": name,
    })
}

/// Each group is posted until it is accepted, as whoever gets no answer should.
async fn post_events(senders: Arc<Senders>, rate: u64) {
    const GROUP: u64 = 5;
    let mut ticks = interval(Duration::from_micros(1_000_000 * GROUP / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut posts = JoinSet::new();
    let mut next = 0;
    while !senders.stop.is_cancelled() {
        ticks.tick().await;
        let names: Vec<String> = (next..next + GROUP).map(|n| format!("post-{n}")).collect();
        next += GROUP;
        let senders = Arc::clone(&senders);
        posts.spawn(async move {
            let events: Vec<Value> = names.iter().map(|name| event(&senders.account, name)).collect();
            while !posted(&senders, &events).await {
                // Whoever is never told has no claim.
                if senders.stop.is_cancelled() {
                    return;
                }
                senders.repeated.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
            }
            senders.accepted.lock().0.extend(names);
        });
        while posts.len() >= 64 {
            posts.join_next().await;
        }
    }
    while let Some(posted) = posts.join_next().await {
        posted.expect("a post");
    }
}

async fn posted(senders: &Senders, events: &[Value]) -> bool {
    let url = format!("{}/events", *senders.url.borrow());
    let asked = senders.http.post(url).header("x-auth-token", &senders.token).json(events);
    let asked = asked.timeout(Duration::from_secs(5)).send().await;
    asked.is_ok_and(|answer| answer.status() == StatusCode::ACCEPTED.as_u16())
}

/// Each message is published until the broker has confirmed it: durable, to a durable queue.
async fn publish_events(senders: Arc<Senders>, uri: String, queue: String, rate: u64) {
    const GROUP: u64 = 5;
    let mut ticks = interval(Duration::from_micros(1_000_000 * GROUP / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut channel: Option<Channel> = None;
    let mut next = 0;
    while !senders.stop.is_cancelled() {
        ticks.tick().await;
        let names: Vec<String> = (next..next + GROUP).map(|n| format!("amqp-{n}")).collect();
        next += GROUP;
        for name in names {
            let body = event(&senders.account, &name).to_string();
            while !published(&mut channel, &uri, &queue, body.as_bytes()).await {
                if senders.stop.is_cancelled() {
                    return;
                }
                channel = None;
                sleep(Duration::from_millis(100)).await;
            }
            senders.accepted.lock().1.insert(name);
        }
    }
}

async fn published(channel: &mut Option<Channel>, uri: &str, queue: &str, body: &[u8]) -> bool {
    if channel.is_none() {
        *channel = Broker::channel_to(uri).await.ok();
    }
    let Some(channel) = channel else { return false };
    let properties =
        BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let sent = channel.basic_publish("".into(), queue.into(), options, body, properties).await;
    let Ok(confirm) = sent else { return false };
    matches!(
        tokio::time::timeout(Duration::from_secs(5), confirm).await,
        Ok(Ok(lapin::Confirmation::Ack(None)))
    )
}
