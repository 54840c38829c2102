//! The soak: a released host under load while its modules are replaced, broken and taken away, while it is killed and
//! all that it depends on fails, or while it and its modules' processes are stopped; and the books at the end.
//! `scripts/soak` runs it.
//!
//! Exit code 1 when an accepted event is missing, when one came twice without a kill, or when something of the process
//! grew.

// A program for people.
#![allow(clippy::print_stdout)]

mod books;
mod faults;
mod host;
mod load;
mod siege;
mod stops;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tests::Broker;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use books::Books;
use faults::Faults;
use host::Host;

fn main() -> anyhow::Result<()> {
    // Tasks, so whoever is greedy and all odd endpoints, give way to the host and to the account that must not feel them:
    // in the world these have machines of their own. The main thread, which starts the host, has the usual priority.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(|| {
            rustix::process::setpriority_process(None, 19).ok();
        })
        .build()?;
    runtime.block_on(run())
}

/// A bound from the environment.
fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} should be a number and is {text:?}")),
        Err(_) => Ok(default),
    }
}

/// The host's figures are taken after each part of the replacements.
const QUARTERS: u64 = 4;

/// How much of it.
struct Plan {
    /// Replacements that become a generation.
    replacements: u64,
    /// After this time it ends with as many as there were.
    within: Duration,
    /// Events a second.
    rate: u64,
    /// `embedded`, `amqp` or both.
    buses: Vec<String>,
    /// Only whole files, as fast as they are taken.
    without_faults: bool,
}

impl Plan {
    fn of_environment() -> anyhow::Result<Self> {
        Ok(Plan {
            replacements: number("SOAK_REPLACEMENTS", 300)?,
            within: Duration::from_secs(number("SOAK_SECONDS", 120)?),
            rate: number("SOAK_RATE", 1000)?.max(10),
            buses: buses(),
            without_faults: number("SOAK_FAULTS", 1)? == 0,
        })
    }
}

/// `embedded`, `amqp` or both.
fn buses() -> Vec<String> {
    let buses = std::env::var("SOAK_BUS").unwrap_or_else(|_| "embedded,amqp".to_owned());
    buses.split(',').map(str::to_owned).collect()
}

/// Settings for a host on this bus.
fn bus_settings(bus: &str) -> anyhow::Result<String> {
    match bus {
        "embedded" => Ok(String::new()),
        "amqp" => Ok(Broker::shared().settings(&Broker::queue_of_its_own())),
        other => bail!("SOAK_BUS: {other:?} is none: embedded and amqp are"),
    }
}

async fn run() -> anyhow::Result<()> {
    let what = std::env::args().nth(1).unwrap_or_default();
    match what.as_str() {
        "reload" => {}
        "faults" => return siege::run().await,
        "stops" => return stops::run(buses()).await,
        _ => bail!("soak {what:?} is none: reload, faults and stops are"),
    }
    let plan = Plan::of_environment()?;
    for bus in &plan.buses {
        reload(&plan, bus, &bus_settings(bus)?).await.with_context(|| format!("on the bus {bus}"))?;
    }
    Ok(())
}

/// Load without and with replacements, then the books.
async fn reload(plan: &Plan, bus: &str, settings: &str) -> anyhow::Result<()> {
    let books = Arc::new(Books::default());
    let receiver = books::receive(Arc::clone(&books)).await?;
    let host = Host::start(settings).await?;
    let account = host.account_with_hook(&receiver).await?;
    let stop = CancellationToken::new();
    let lane = load::EventLane { failing: !plan.without_faults, ..load::EventLane::ONLY };
    let sending = load::send(&host, &account, bus, plan.rate, lane, &stop);
    let replacing = async {
        // What is allocated once is allocated before the first figures are taken.
        let mut faults = Faults::new(&host, plan.without_faults);
        faults.replace(5, Duration::from_secs(30)).await?;
        settle(Duration::from_secs(2)).await;
        let quiet_since = books.mark();
        settle(Duration::from_secs(10)).await;
        let quiet = books.latencies(quiet_since);
        let mut figures = vec![host.figures().await?];
        let reloading_since = books.mark();
        let (mut replaced, mut took) = (0, Duration::ZERO);
        for _ in 0..QUARTERS {
            let began = Instant::now();
            replaced += faults.replace(plan.replacements / QUARTERS, plan.within / QUARTERS as u32).await?;
            took += began.elapsed();
            // Threads that only wait for more to do end after ten seconds.
            settle(Duration::from_secs(15)).await;
            figures.push(host.figures().await?);
        }
        let reloading = books.latencies(reloading_since);
        stop.cancel();
        anyhow::Ok((quiet, reloading, figures, replaced, took, faults))
    };
    let (sent, replaced) = tokio::join!(sending, replacing);
    let accepted = sent?;
    let (quiet, reloading, figures, replaced, took, faults) = replaced?;
    let failed = host.mended().await?;
    books.wait_for(&accepted).await?;
    let module = host.module().await?;

    println!(
        "== soak reload, bus {bus}: {replaced} replacements in {:.1} s at {} events/s",
        took.as_secs_f64(),
        plan.rate
    );
    println!("   faults on the way: {faults}");
    println!("   {}", books.balance(&accepted));
    println!(
        "   latency without reloads p50 {:.1} ms p99 {:.1} ms; with p50 {:.1} ms p99 {:.1} ms; p99 ratio {:.2}",
        quiet.p50,
        quiet.p99,
        reloading.p50,
        reloading.p99,
        reloading.p99 / quiet.p99
    );
    let when = ["before", "after a quarter", "after half", "after three quarters", "at the end"];
    for (when, figures) in when.iter().zip(&figures) {
        println!("   {when}: {figures}");
    }
    println!(
        "   module: generation {}, failures {}, of which replayed {failed}, kept at the end {}, pinned {}",
        module["generation"], module["failures"], module["failed_events"], module["pinned"]
    );

    ensure!(books.missing(&accepted) == 0, "accepted events are missing");
    ensure!(books.twice() == 0, "events arrived twice");
    ensure!(
        plan.without_faults == (failed == 0),
        "events on which every other file fails: {failed} were replayed"
    );
    ensure!(module["failed_events"] == 0, "failed events are left");
    let [before, _, half, _, end] = &figures[..] else { bail!("figures were not taken") };
    are_flat(before, half, end)?;
    host.stop().await
}

/// By half of the run everything that is allocated once is there: the database's page cache (64 MiB) is filled with the
/// identities of a day, threads that read files and backtraces have run. From then on nothing grows with the number
/// of replacements.
fn are_flat(before: &host::Figures, half: &host::Figures, end: &host::Figures) -> anyhow::Result<()> {
    ensure!(end.handles <= before.handles + 5, "file handles grew");
    ensure!(end.keys <= before.keys + 3, "thread-local keys grew");
    ensure!(end.threads <= before.threads + 10, "threads grew");
    // Each thread has a stack with its guard, and a heap.
    let of_threads = 3 * end.threads.saturating_sub(half.threads);
    ensure!(end.mappings as u64 <= half.mappings as u64 + of_threads + 15, "mappings grew");
    ensure!(end.resident_kib <= before.resident_kib + 160 * 1024, "resident memory grew");
    ensure!(end.resident_kib <= half.resident_kib + 48 * 1024, "resident memory grew from half to the end");
    Ok(())
}

async fn settle(time: Duration) {
    tokio::time::sleep(time).await;
}
