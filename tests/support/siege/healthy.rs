//! The account whose endpoint does nothing wrong, and how long its events take. It lives on a thread of its own, so that
//! what the siege does in this process is not taken for the host's slowness.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::super::PATIENCE;
use super::books::{EventName, Ledger, Way, said};
use super::calendar::Sample;
use super::senders::{Sender, Whereabouts};

/// How long after the last event the endpoint still answers.
const REST: Duration = PATIENCE;

/// How often the host is asked whether it is there, and how large it is.
const PROBED: Duration = Duration::from_millis(100);

/// What the host was like at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    pub(super) at: Instant,
    /// How long `/healthz` took; nothing where it did not answer.
    pub(super) answered: Option<Duration>,
    pub(super) resident_kib: u64,
}

/// What is known of it.
#[derive(Default)]
struct Notes {
    ledger: Arc<Ledger>,
    under_way: Mutex<HashMap<EventName, Instant>>,
    samples: Mutex<Vec<Sample>>,
    pulses: Mutex<Vec<Pulse>>,
}

/// Its endpoint, which listens already.
pub(super) struct Endpoint {
    listener: TcpListener,
    notes: Arc<Notes>,
}

/// Its senders and its endpoint, at work.
pub(super) struct Healthy {
    notes: Arc<Notes>,
    over: CancellationToken,
    thread: JoinHandle<()>,
}

impl Endpoint {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket for tasks");
        Endpoint { listener, notes: Arc::default() }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.listener.local_addr().expect("its address"))
    }

    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.notes.ledger)
    }

    /// From now on so many events a second come each way, and the host's pulse is felt.
    pub(super) fn at_work(
        self,
        sender: Arc<Sender>,
        rate: u64,
        host: watch::Receiver<Whereabouts>,
    ) -> Healthy {
        let (notes, over) = (Arc::clone(&self.notes), CancellationToken::new());
        let ended = over.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work(self, sender, rate, host, ended));
        });
        Healthy { notes, over, thread }
    }
}

impl Healthy {
    pub(super) fn ledger(&self) -> &Ledger {
        &self.notes.ledger
    }

    /// Events so far, by the time in which they were sent.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let mut samples = self.notes.samples.lock().clone();
        samples.sort_by_key(|sample| sample.sent);
        samples
    }

    pub(super) fn pulses(&self) -> Vec<Pulse> {
        self.notes.pulses.lock().clone()
    }

    /// The endpoint goes away.
    pub(super) async fn end(self) {
        self.over.cancel();
        let joined = tokio::task::spawn_blocking(move || self.thread.join());
        joined.await.expect("a thread to wait").expect("the healthy account's thread");
    }
}

async fn work(
    endpoint: Endpoint,
    sender: Arc<Sender>,
    rate: u64,
    host: watch::Receiver<Whereabouts>,
    over: CancellationToken,
) {
    let listener = tokio::net::TcpListener::from_std(endpoint.listener).expect("a listener");
    let router = Router::new().route("/", post(note)).with_state(Arc::clone(&endpoint.notes));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.expect("serving") });
    tasks.spawn(feel(Arc::clone(&endpoint.notes), host));
    for way in [Way::Post, Way::Amqp] {
        let (sender, notes) = (Arc::clone(&sender), Arc::clone(&endpoint.notes));
        let begins = move |name| {
            notes.under_way.lock().insert(name, Instant::now());
        };
        tasks.spawn(sender.keep_sending(way, rate, 1, begins));
    }
    over.cancelled().await;
}

async fn note(State(notes): State<Arc<Notes>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let now = Instant::now();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (Some(event), Ok(hook)) = (said(&body), header("x-hook-id").parse()) else {
        return StatusCode::BAD_REQUEST;
    };
    notes.ledger.note((hook, event), header("webhook-id"), true);
    if let Some(sent) = notes.under_way.lock().remove(&event) {
        notes.samples.lock().push(Sample { way: event.way, sent, arrived: now });
    }
    StatusCode::OK
}

/// Asks the host all the time, each time by a new connection, as whatever watches it does.
async fn feel(notes: Arc<Notes>, host: watch::Receiver<Whereabouts>) {
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
    let mut ticks = interval(PROBED);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let Whereabouts { url, pid } = host.borrow().clone();
        let at = Instant::now();
        let asked = timeout(REST, client.get(format!("{url}/healthz")).send()).await;
        let answered = asked.is_ok_and(|answer| answer.is_ok_and(|it| it.status().is_success()));
        let pulse = Pulse { at, answered: answered.then(|| at.elapsed()), resident_kib: resident_kib(pid) };
        notes.pulses.lock().push(pulse);
    }
}

/// 0 where there is no such process.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
