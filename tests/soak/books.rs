//! What arrived, by identity, and how long it took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use serde_json::Value;
use tests::PATIENCE;
use tokio::task::JoinSet;

/// The books of one run.
#[derive(Default)]
pub(crate) struct Books {
    arrived: parking_lot::Mutex<BTreeMap<u64, u32>>,
    latencies: parking_lot::Mutex<Vec<u32>>,
    twice: AtomicU64,
}

/// How long events took, in milliseconds.
pub(crate) struct Latencies {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// A server on a port of its own; dropped, it stops.
pub(crate) struct Server {
    pub(crate) url: String,
    _serving: JoinSet<()>,
}

/// Microseconds of the clock that sender and receiver share.
pub(crate) fn now_us() -> u64 {
    u64::try_from(hookline::clock::now().unix_timestamp_nanos() / 1000).unwrap_or_default()
}

/// Notes whatever is sent to it.
pub(crate) async fn receive(books: Arc<Books>) -> anyhow::Result<Server> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let router = Router::new().route("/", post(note)).with_state(books);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        // It ends with the program.
        _ = axum::serve(listener, router).await;
    });
    Ok(Server { url, _serving: serving })
}

async fn note(State(books): State<Arc<Books>>, body: Bytes) {
    let Ok(payload) = serde_json::from_slice::<Value>(&body) else { return };
    // The event's number, and when it was sent, are one field of the payload.
    let Some([n, sent_us]) = payload["n"].as_array().map(Vec::as_slice) else { return };
    let (n, sent_us) = (n.as_u64().unwrap_or_default(), sent_us.as_u64().unwrap_or_default());
    let took = u32::try_from(now_us().saturating_sub(sent_us)).unwrap_or(u32::MAX);
    books.latencies.lock().push(took);
    let mut arrived = books.arrived.lock();
    let times = arrived.entry(n).or_default();
    *times += 1;
    if *times == 2 {
        books.twice.fetch_add(1, Ordering::Relaxed);
    }
}

impl Books {
    /// Where the latencies of a phase begin.
    pub(crate) fn mark(&self) -> usize {
        self.latencies.lock().len()
    }

    /// The latencies since a mark.
    pub(crate) fn latencies(&self, since: usize) -> Latencies {
        let mut of_phase = self.latencies.lock().get(since..).unwrap_or_default().to_vec();
        of_phase.sort_unstable();
        let at = |share: f64| {
            let index = (of_phase.len() as f64 * share) as usize;
            of_phase
                .get(index.min(of_phase.len().saturating_sub(1)))
                .map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        Latencies { p50: at(0.5), p99: at(0.99) }
    }

    pub(crate) fn arrived(&self) -> usize {
        self.arrived.lock().len()
    }

    pub(crate) fn twice(&self) -> u64 {
        self.twice.load(Ordering::Relaxed)
    }

    pub(crate) fn missing(&self, accepted: &[u64]) -> usize {
        let arrived = self.arrived.lock();
        accepted.iter().filter(|n| !arrived.contains_key(n)).count()
    }

    /// What came of the accepted events, for people.
    pub(crate) fn balance(&self, accepted: &[u64]) -> String {
        format!(
            "events accepted {}, arrived {}, missing {}, twice {}",
            accepted.len(),
            self.arrived(),
            self.missing(accepted),
            self.twice()
        )
    }

    /// Returns once everything accepted has arrived, or nothing more comes.
    pub(crate) async fn wait_for(&self, accepted: &[u64]) -> anyhow::Result<()> {
        let mut before = usize::MAX;
        while self.missing(accepted) > 0 {
            let missing = self.missing(accepted);
            if missing == before {
                bail!("{missing} accepted events never arrived");
            }
            before = missing;
            tokio::time::sleep(PATIENCE.min(Duration::from_secs(5))).await;
        }
        Ok(())
    }
}

/// The text of a file of `/proc`.
pub(crate) fn proc(pid: u32, name: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))
}
