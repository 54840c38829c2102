//! Delivery and ingest in one shard and in several: what that costs, and how evenly the work is spread over threads.

use crate::bench::{LoadBench, LoadFigures};
use crate::bus::BusHost;
use crate::figures::{FigureRow, MedianFigures, RunSamples};
use crate::host::Host;
use crate::plan::HostVersion;
use crate::receiver::LoadReceiver;

/// Numbers of shards; the first is what the others are compared with.
const SHARDS: [u32; 3] = [1, 2, 4];

/// Two loads, as they are shown.
const LOADS: [&str; 2] = ["POST, single events, 64 clients", "RabbitMQ"];

/// How far above 1/N the busiest thread's share may be, in parts of it: "about" 1/N.
const ABOUT: f64 = 1.2;

/// One run. A program that does not know the setting has no figures.
pub(crate) async fn once(bench: &mut LoadBench, version: &HostVersion) -> anyhow::Result<RunSamples> {
    let mut found = RunSamples::default();
    let receiver = LoadReceiver::start()?;
    for shards in SHARDS {
        let settings: String =
            bench.plan.shards.iter().map(|setting| format!("{setting} = {shards}\n")).collect();
        let host = match Host::start(version, &settings).await {
            Ok(host) => host,
            Err(refused) => {
                eprintln!("{shards} shards: {refused:#}");
                break;
            }
        };
        let load = bench.post_single(&host, &receiver, 64).await?;
        keep(&mut found, LOADS[0], shards, &load);
        host.stop().await?;
        let bus = BusHost::start(version, bench.broker().await, &settings).await?;
        let load = bench.publish(&bus, &receiver).await?;
        keep(&mut found, LOADS[1], shards, &load);
        bus.stop().await?;
    }
    receiver.balance()?;
    Ok(found)
}

fn keep(found: &mut RunSamples, load: &str, shards: u32, figures: &LoadFigures) {
    found.add(format!("{load} rate {shards}"), figures.rate);
    found.add(format!("{load} cost {shards}"), figures.cpu_us);
    found.add(format!("{load} busiest {shards}"), figures.busiest);
}

/// Beside what they should be.
pub(crate) fn rows(found: &MedianFigures) -> Vec<FigureRow> {
    let mut rows = Vec::new();
    for load in LOADS {
        for shards in SHARDS {
            let figure = |what: &str| found.get(&format!("{load} {what} {shards}"));
            let to_one = |what: &str| {
                found.ratio(&format!("{load} {what} {shards}"), &format!("{load} {what} {}", SHARDS[0]))
            };
            let at = format!("{load}, N = {shards}");
            rows.push(FigureRow::new(format!("{at}: deliveries/s"), figure("rate"), 0));
            rows.push(FigureRow::new(format!("{at}: CPU µs a delivery"), figure("cost"), 1));
            rows.push(FigureRow::new(
                format!("{at}: busiest thread's share of the CPU"),
                figure("busiest"),
                2,
            ));
            if shards == SHARDS[0] {
                continue;
            }
            rows.push(
                FigureRow::new(format!("{at}: rate to that of N = 1"), to_one("rate"), 2).at_least(0.9),
            );
            rows.push(FigureRow::new(format!("{at}: cost to that of N = 1"), to_one("cost"), 2).at_most(1.1));
            let most = ABOUT / f64::from(shards);
            let row = FigureRow::new(format!("{at}: busiest share to that of N = 1"), to_one("busiest"), 2);
            rows.push(row.at_most(most));
        }
    }
    rows
}
