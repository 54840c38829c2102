//! Endpoints as far away as real ones, and endpoints that do only so much at a time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::bench::{BATCH, LoadBench};
use crate::figures::{FigureRow, MedianFigures, RunSamples};
use crate::host::Host;
use crate::plan::HostVersion;
use crate::receiver::{AnswerManner, BeyondManner, LoadReceiver};
use crate::sender::{LINES, PostingClient};

/// Endpoints that the load is spread over.
const ENDPOINTS: usize = 1_000;

/// How far away they are.
const FAR: Duration = Duration::from_millis(100);

/// What an endpoint does at a time that fails beyond, and how long each takes.
const AT_ONCE: usize = 20;
const EACH: Duration = Duration::from_millis(20);

/// Deliveries that are kept waiting for a single endpoint.
const KEPT_WAITING: u64 = 1_000;

/// Events in one post to a single endpoint.
const PORTION: u64 = 50;

/// How long a single endpoint has been sent to before its rate is measured.
const BEFORE: Duration = Duration::from_secs(2);

/// What was refused is tried again soon, so that all of it arrives.
const SETTINGS: &str =
    "log.level = 'error'\ndelivery.retry_schedule_ms = [500, 500, 500, 500, 500, 500, 500, 500]\n";
const RETRIES: u8 = 4;

/// One run.
pub(crate) async fn once(bench: &mut LoadBench, version: &HostVersion) -> anyhow::Result<RunSamples> {
    let mut found = RunSamples::default();
    many(bench, version, &mut found).await?;
    let host = Host::start(version, SETTINGS).await?;
    let far = fed(bench, &host, AnswerManner::after(FAR)).await?;
    found.add("one", far.rate);
    for (beyond, name) in [(BeyondManner::Refuses, "refusing"), (BeyondManner::Resets, "resetting")] {
        let manner = AnswerManner { after: EACH, at_once: Some(AT_ONCE), beyond };
        let limited = fed(bench, &host, manner).await?;
        found.add(name, limited.rate * EACH.as_secs_f64() / AT_ONCE as f64);
        found.add(format!("{name} failures"), limited.failures * 100.0);
    }
    host.stop().await?;
    Ok(found)
}

/// The same load for many endpoints that are near, and for as many that are far.
async fn many(bench: &mut LoadBench, version: &HostVersion, found: &mut RunSamples) -> anyhow::Result<()> {
    for (latency, name) in [(Duration::ZERO, "near"), (FAR, "far")] {
        let host = Host::start(version, SETTINGS).await?;
        let receiver = LoadReceiver::answering(AnswerManner::after(latency), ENDPOINTS)?;
        let accounts = host.accounts(receiver.urls(), RETRIES).await?;
        // The first events open connections, and show how the endpoints answer.
        bench.post_batches(&host, &receiver, &accounts, 2 * ENDPOINTS).await?;
        let count = (2 * bench.plan.events).next_multiple_of(BATCH);
        let load = bench.post_batches(&host, &receiver, &accounts, count).await?;
        found.add(name, load.rate);
        host.stop().await?;
        receiver.balance()?;
    }
    Ok(())
}

/// How one endpoint fared that always had something waiting for it.
struct FedEndpoint {
    /// Deliveries a second, once it had been sent to for some time.
    rate: f64,
    /// The share of all requests that it refused, from the first one on.
    failures: f64,
}

async fn fed(bench: &mut LoadBench, host: &Host, manner: AnswerManner) -> anyhow::Result<FedEndpoint> {
    let receiver = LoadReceiver::answering(manner, 1)?;
    let account = host.account("one endpoint".to_owned(), receiver.urls(), RETRIES).await?;
    let mut client = PostingClient::connect(host).await?;
    let begun = Instant::now();
    let measured = 2 * bench.plan.time;
    let (mut posted, mut at_first) = (0, None);
    let rate = loop {
        if posted - receiver.taken() + PORTION <= KEPT_WAITING {
            let events: Vec<String> = (0..PORTION).map(|_| bench.events.next(&account)).collect();
            client.post(&events.join("\n"), LINES).await?;
            posted += PORTION;
        } else {
            sleep(Duration::from_millis(2)).await;
        }
        let (now, taken) = (Instant::now(), receiver.taken());
        match at_first {
            None if now - begun >= BEFORE => at_first = Some((now, taken)),
            Some((since, before)) if now - since >= measured => {
                break (taken - before) as f64 / (now - since).as_secs_f64();
            }
            _ => {}
        }
    };
    receiver.expect(posted)?.all_came(&receiver).await?;
    receiver.balance()?;
    let refused = receiver.refused() as f64;
    Ok(FedEndpoint { rate, failures: refused / (refused + posted as f64) })
}

/// Beside what they should be.
pub(crate) fn rows(found: &MedianFigures) -> Vec<FigureRow> {
    let far = found.ratio("far", "near");
    let limit = format!("an endpoint that does {AT_ONCE} at a time, {} ms each", EACH.as_millis());
    let share = "rate to its best";
    vec![
        FigureRow::new("1,000 endpoints at 0 ms: deliveries/s", found.get("near"), 0),
        FigureRow::new("1,000 endpoints at 100 ms: deliveries/s", found.get("far"), 0),
        FigureRow::new("1,000 endpoints at 100 ms: rate to that at 0 ms", far, 2).at_least(0.9),
        FigureRow::new("one endpoint at 100 ms: deliveries/s", found.get("one"), 0).at_least(1_000.0),
        FigureRow::new(format!("{limit}, 503 beyond: {share}"), found.get("refusing"), 2).at_least(0.9),
        FigureRow::new("… failures, % of all requests", found.get("refusing failures"), 2).at_most(1.0),
        FigureRow::new(format!("{limit}, reset beyond: {share}"), found.get("resetting"), 2).at_least(0.9),
        FigureRow::new("… failures of these, %", found.get("resetting failures"), 2).at_most(1.0),
    ]
}
