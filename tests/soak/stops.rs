//! A released host, its module's process, or both are stopped for seconds and minutes at the limits of an installation,
//! with few events and under load; nothing is blamed and nothing is missing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tests::send_signal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::books::{Books, receive};
use crate::host::Host;
use crate::load::{EventLane, send};
use crate::{bus_settings, number};

/// Who sends under load: those that post wait for their answers, so it takes some to have much in hand.
const LANES: u64 = 4;

/// Whoever is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoppedProcess {
    Host,
    Module,
    Both,
}

/// How much of it.
struct StopPlan {
    /// How long each stop lasts, one after the other.
    stops: Vec<Duration>,
    /// Events a second: with few, and under load.
    rates: [u64; 2],
    buses: Vec<String>,
}

impl StopPlan {
    fn of_environment(buses: Vec<String>) -> anyhow::Result<Self> {
        let seconds = std::env::var("SOAK_STOPS").unwrap_or_else(|_| "1,5,60".to_owned());
        let stop = |text: &str| {
            let seconds = text.parse::<u64>();
            seconds.map(Duration::from_secs).with_context(|| format!("SOAK_STOPS: {text:?} are no seconds"))
        };
        Ok(StopPlan {
            stops: seconds.split(',').map(stop).collect::<anyhow::Result<_>>()?,
            rates: [number("SOAK_FEW", 2)?.max(1), number("SOAK_RATE", 1000)?.max(10)],
            buses,
        })
    }
}

/// Runs it and prints the books.
///
/// # Errors
/// A promise was broken, or a bound is none.
pub(crate) async fn run(buses: Vec<String>) -> anyhow::Result<()> {
    let plan = StopPlan::of_environment(buses)?;
    for bus in &plan.buses {
        for rate in plan.rates {
            for (isolation, whom) in [
                ("process", &[StoppedProcess::Host, StoppedProcess::Module, StoppedProcess::Both][..]),
                ("none", &[StoppedProcess::Host][..]),
            ] {
                let besieged = stops(&plan, bus, rate, isolation, whom);
                besieged
                    .await
                    .with_context(|| format!("bus {bus}, {rate} events/s, isolation {isolation}"))?;
            }
        }
    }
    Ok(())
}

/// One host, all stops of it, then the books.
async fn stops(
    plan: &StopPlan,
    bus: &str,
    rate: u64,
    isolation: &str,
    whom: &[StoppedProcess],
) -> anyhow::Result<()> {
    let books = Arc::new(Books::default());
    let receiver = receive(Arc::clone(&books)).await?;
    let settings = format!("{}[modules]\nisolation = \"{isolation}\"\n", bus_settings(bus)?);
    let host = Host::start(&settings).await?;
    let account = host.account_with_hook(&receiver).await?;
    let before = host.module().await?;
    let stop = CancellationToken::new();
    let lanes = if rate < 100 { 1 } else { LANES };
    let lane = |nth| EventLane { nth, of: lanes, posts_again: true, ..EventLane::ONLY };
    let sending = (0..lanes).map(|nth| send(&host, &account, bus, rate / lanes, lane(nth), &stop));
    let stopping = async {
        let _sending = stop.drop_guard_ref();
        let mut gone_on = Vec::new();
        for who in whom {
            for time in &plan.stops {
                gone_on.push((*who, *time, stopped(&host, &before, *who, *time, &books).await?));
            }
        }
        anyhow::Ok(gone_on)
    };
    let (sent, gone_on) = tokio::join!(futures_util::future::join_all(sending), stopping);
    let accepted: Vec<u64> = sent.into_iter().collect::<anyhow::Result<Vec<_>>>()?.concat();
    let gone_on = gone_on?;
    books.wait_for(&accepted).await?;
    let after = host.module().await?;

    println!("== soak stops, bus {bus}, {rate} events/s, isolation {isolation}");
    for (who, time, took) in gone_on {
        println!("   {who:?} stopped for {} s: events arrive {} ms later", time.as_secs(), took.as_millis());
    }
    println!("   {}", books.balance(&accepted));
    println!(
        "   module: state {}, hung {}, failures {}, process {}",
        after["state"], after["hung"], after["failures"], after["process"]
    );
    ensure!(books.missing(&accepted) == 0, "accepted events are missing");
    ensure!(after["state"] == "active" && after["hung"] == 0, "a module was blamed");
    ensure!(after["failures"] == 0, "calls failed");
    ensure!(pid(&after) == pid(&before), "the module's process was replaced");
    host.stop().await
}

/// Stops them for so long; says how long after it events arrive again.
async fn stopped(
    host: &Host,
    module: &Value,
    who: StoppedProcess,
    time: Duration,
    books: &Books,
) -> anyhow::Result<Duration> {
    // What came before has arrived, so that what arrives later came in or after the stop.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let child = pid(module);
    let whom: Vec<u32> = match who {
        StoppedProcess::Host => vec![host.pid()],
        StoppedProcess::Module => child.into_iter().collect(),
        StoppedProcess::Both => child.into_iter().chain([host.pid()]).collect(),
    };
    whom.iter().for_each(|pid| send_signal("STOP", *pid));
    tokio::time::sleep(time).await;
    let arrived = books.arrived();
    whom.iter().rev().for_each(|pid| send_signal("CONT", *pid));
    let since = Instant::now();
    while books.arrived() == arrived {
        ensure!(since.elapsed() < Duration::from_secs(60), "nothing arrives after a stop of {who:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(since.elapsed())
}

fn pid(module: &Value) -> Option<u32> {
    u32::try_from(module["process"]["pid"].as_u64()?).ok()
}
