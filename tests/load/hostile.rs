//! What a healthy endpoint feels of two hundred that hang, drip, reset or fail: its 99th percentile beside them, and
//! alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use parking_lot::Mutex;
use tests::{Hostile, Manner};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::bench::LoadBench;
use crate::events::Events;
use crate::figures::{FigureRow, MedianFigures, RunSamples, percentile};
use crate::host::Host;
use crate::plan::HostVersion;
use crate::sender::SINGLE;

/// Hostile endpoints, in equal parts of each manner.
const ENDPOINTS: usize = 200;

/// How an endpoint of the measured kind behaves.
const MANNERS: [Manner; 4] = [Manner::Hangs, Manner::Drips, Manner::Resets, Manner::Fails];

/// Events a second to the healthy endpoint, and to every hostile one.
const HEALTHY_RATE: u64 = 200;
const HOSTILE_RATE: u64 = 2;

/// The hostile endpoints have been there for this long before it is measured.
const BEFORE: Duration = Duration::from_secs(15);

/// How long is measured.
const MEASURED: Duration = Duration::from_secs(10);

/// The share of the time alone that is allowed for.
const ALLOWED: f64 = 2.0;

/// When what was sent, and what took how long to arrive.
#[derive(Default)]
struct Books {
    sent: Mutex<HashMap<String, Instant>>,
    took: Mutex<Vec<f64>>,
}

/// One run.
pub(crate) async fn once(bench: &mut LoadBench, version: &HostVersion) -> anyhow::Result<RunSamples> {
    let (alone, beside) = alone_and_beside(&mut bench.events, version).await?;
    let mut found = RunSamples::default();
    found.add("alone", alone);
    found.add("beside", beside);
    found.add("ratio", beside / alone);
    Ok(found)
}

/// Beside what they should be.
pub(crate) fn rows(found: &MedianFigures) -> Vec<FigureRow> {
    let beside = format!(
        "beside {ENDPOINTS} that hang, drip, reset or fail, {} deliveries/s to them: p99, ms",
        ENDPOINTS as u64 * HOSTILE_RATE
    );
    vec![
        FigureRow::new(
            format!("one healthy endpoint, {HEALTHY_RATE} events/s: p99, ms"),
            found.get("alone"),
            2,
        ),
        FigureRow::new(beside, found.get("beside"), 2),
        FigureRow::new("… in parts of that alone", found.get("ratio"), 2).at_most(ALLOWED),
    ]
}

async fn alone_and_beside(events: &mut Events, version: &HostVersion) -> anyhow::Result<(f64, f64)> {
    let books = Arc::new(Books::default());
    let mut serving = JoinSet::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}/", listener.local_addr()?);
    let router = Router::new().route("/", post(note)).with_state(Arc::clone(&books));
    serving.spawn(async move {
        // It ends with the run.
        _ = axum::serve(listener, router).await;
    });
    let host = Host::start(version, "log.level = 'error'\n").await?;
    let healthy = host.account("healthy".to_owned(), vec![uri], 0).await?;
    let mut endpoints = Vec::new();
    for n in 0..ENDPOINTS {
        endpoints.push(Hostile::endpoint(MANNERS[n % MANNERS.len()]).await);
    }
    let uris = endpoints.iter().map(|endpoint| endpoint.url("/")).collect();
    let hostile = host.account("hostile".to_owned(), uris, 0).await?;

    // The first events open connections.
    measure(&host, &books, events, &healthy, None, Duration::from_secs(2)).await?;
    let alone = measure(&host, &books, events, &healthy, None, MEASURED).await?;
    measure(&host, &books, events, &healthy, Some(&hostile), BEFORE).await?;
    let beside = measure(&host, &books, events, &healthy, Some(&hostile), MEASURED).await?;
    // What hangs is broken off.
    drop(host);
    Ok((alone, beside))
}

/// The 99th percentile in milliseconds, from before an event is posted until it has arrived.
async fn measure(
    host: &Host,
    books: &Books,
    events: &mut Events,
    healthy: &str,
    hostile: Option<&str>,
    time: Duration,
) -> anyhow::Result<f64> {
    books.took.lock().clear();
    let every = |rate: u64| {
        let mut ticks = interval(Duration::from_micros(1_000_000 / rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        ticks
    };
    let (mut to_healthy, mut to_hostile) = (every(HEALTHY_RATE), every(HOSTILE_RATE));
    let until = Instant::now() + time;
    let mut sent = 0;
    let mut posts = JoinSet::new();
    let poster = HealthyPoster::to(host);
    while Instant::now() < until {
        let (account, counts) = tokio::select! {
            _ = to_healthy.tick() => (healthy, true),
            _ = to_hostile.tick(), if hostile.is_some() => (hostile.unwrap_or_default(), false),
        };
        let (event, id) = events.named(account);
        if counts {
            books.sent.lock().insert(id, Instant::now());
            sent += 1;
        }
        let poster = poster.clone();
        posts.spawn(async move { poster.post(event).await });
        while let Some(posted) = posts.try_join_next() {
            posted??;
        }
    }
    while let Some(posted) = posts.join_next().await {
        posted??;
    }
    let all_came = async {
        while books.took.lock().len() < sent {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(Duration::from_secs(30), all_came).await.is_err() {
        bail!("{} of {sent} events came to the healthy endpoint", books.took.lock().len());
    }
    Ok(percentile(books.took.lock().clone(), 99))
}

/// Posts events while earlier ones are not yet accepted, with a client that opens connections as it needs them.
#[derive(Clone)]
struct HealthyPoster {
    url: String,
    token: String,
    http: reqwest::Client,
}

impl HealthyPoster {
    fn to(host: &Host) -> Self {
        HealthyPoster {
            url: host.address("/events"),
            token: host.token().to_owned(),
            http: reqwest::Client::new(),
        }
    }

    async fn post(&self, event: String) -> anyhow::Result<()> {
        let asked = self.http.post(&self.url).header("content-type", SINGLE);
        let answer = asked.header("x-auth-token", &self.token).body(event).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status == 202, "POST /events answered {status}: {body}");
        Ok(())
    }
}

async fn note(State(books): State<Arc<Books>>, body: Bytes) {
    let now = Instant::now();
    let payload: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(id) = payload["call_id"].as_str() else { return };
    if let Some(sent) = books.sent.lock().remove(id) {
        books.took.lock().push((now - sent).as_secs_f64() * 1e3);
    }
}
