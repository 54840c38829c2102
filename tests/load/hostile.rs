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

use crate::events::Events;
use crate::figures::median;
use crate::host::Host;

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

/// Prints the table of it.
///
/// # Errors
/// An event is missing, or the ratio is above what is allowed.
pub(crate) async fn run(runs: usize, events: &mut Events) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for _ in 0..runs {
        found.push(once(events).await?);
    }
    let of = |figure: fn(&(f64, f64)) -> f64| median(found.iter().map(figure).collect());
    let (alone, beside) = (of(|run| run.0), of(|run| run.1));
    let ratio = of(|run| run.1 / run.0);
    println!(
        "| one healthy endpoint, {HEALTHY_RATE} events/s | p99 ms |\n|---|--:|\n| alone | {alone:.2} |\n| beside \
         {ENDPOINTS} that hang, drip, reset or fail, {} deliveries/s to them | {beside:.2} |\n| ratio | {ratio:.2} |\n",
        ENDPOINTS as u64 * HOSTILE_RATE
    );
    ensure!(
        ratio <= ALLOWED,
        "the healthy endpoint feels the hostile ones: its p99 is {ratio:.2} times as long"
    );
    Ok(())
}

async fn once(events: &mut Events) -> anyhow::Result<(f64, f64)> {
    let books = Arc::new(Books::default());
    let mut serving = JoinSet::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}/", listener.local_addr()?);
    let router = Router::new().route("/", post(note)).with_state(Arc::clone(&books));
    serving.spawn(async move {
        // It ends with the run.
        _ = axum::serve(listener, router).await;
    });
    let host = Host::start("log.level = 'error'\n").await?;
    let healthy = host.account("healthy", vec![uri]).await?;
    let mut endpoints = Vec::new();
    for n in 0..ENDPOINTS {
        endpoints.push(Hostile::endpoint(MANNERS[n % MANNERS.len()]).await);
    }
    let uris = endpoints.iter().map(|endpoint| endpoint.url("/")).collect();
    let hostile = host.account("hostile", uris).await?;

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
        let poster = host.poster();
        posts.spawn(async move { poster.post(event, "application/json").await });
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
    let mut took = books.took.lock().clone();
    took.sort_by(f64::total_cmp);
    Ok(took[(took.len() * 99 / 100).min(took.len() - 1)])
}

async fn note(State(books): State<Arc<Books>>, body: Bytes) {
    let now = Instant::now();
    let payload: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(id) = payload["call_id"].as_str() else { return };
    if let Some(sent) = books.sent.lock().remove(id) {
        books.took.lock().push((now - sent).as_secs_f64() * 1e3);
    }
}
