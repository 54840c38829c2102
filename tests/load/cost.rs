//! What a delivery costs the host, in parts of what a request costs a bare reqwest loop beside it.

use anyhow::Context as _;
use tokio::time::Instant;

use crate::bare::bare_loop;
use crate::bench::{BATCH, LoadBench, measured};
use crate::bus::BusHost;
use crate::figures::{FigureRow, MedianFigures, RunSamples, median};
use crate::host::Host;
use crate::plan::HostVersion;
use crate::receiver::LoadReceiver;
use crate::sender::{PostingClient, SINGLE};

const BUS: &str = "RabbitMQ to endpoint, quorum queue";
const SINGLES: &str = "POST, single events, 64 clients";
const BATCHES: &str = "POST, 200 events a body, 4 clients";
const MANY_HOOKS: &str = "one event at a time to 1,000 hooks";
const FEW_HOOKS: &str = "one event at a time to 10 hooks";
const ONE_HOOK: &str = "one event at a time to 1 hook";

/// What is measured, and the most that a delivery should cost.
const KINDS: [(&str, Option<f64>); 6] = [
    (BUS, Some(2.8)),
    (SINGLES, Some(3.5)),
    (BATCHES, Some(2.6)),
    (MANY_HOOKS, Some(1.4)),
    (FEW_HOOKS, None),
    (ONE_HOOK, Some(12.0)),
];

/// The figures of one run, of which the yardstick is the median of several loops, one before each kind of load.
struct CostRun {
    found: RunSamples,
    bare: Vec<f64>,
    rates: Vec<f64>,
    costs: Vec<(&'static str, f64)>,
}

impl CostRun {
    async fn bare(&mut self, bench: &LoadBench) -> anyhow::Result<()> {
        let (cpu, rate) = bare_loop(bench.plan.events).await?;
        self.bare.push(cpu);
        self.rates.push(rate);
        Ok(())
    }

    fn add(&mut self, kind: &'static str, rate: f64, cpu_us: f64) {
        self.found.add(format!("rate {kind}"), rate);
        self.costs.push((kind, cpu_us));
    }

    fn done(mut self) -> RunSamples {
        let bare = median(self.bare);
        self.found.add("bare", bare);
        self.found.add("bare rate", median(self.rates));
        for (kind, cpu_us) in self.costs {
            self.found.add(format!("cpu {kind}"), cpu_us);
            self.found.add(format!("cost {kind}"), cpu_us / bare);
        }
        self.found
    }
}

/// One run.
pub(crate) async fn once(bench: &mut LoadBench, version: &HostVersion) -> anyhow::Result<RunSamples> {
    let mut run =
        CostRun { found: RunSamples::default(), bare: Vec::new(), rates: Vec::new(), costs: Vec::new() };
    let receiver = LoadReceiver::start()?;
    let host = Host::start(version, "").await?;
    for (hooks, kind) in [(1_000, MANY_HOOKS), (10, FEW_HOOKS), (1, ONE_HOOK)] {
        run.bare(bench).await?;
        one_at_a_time(bench, &host, &receiver, hooks, kind, &mut run).await?;
    }
    run.bare(bench).await?;
    let load = bench.post_single(&host, &receiver, 64).await?;
    run.add(SINGLES, load.rate, load.cpu_us);
    run.bare(bench).await?;
    let accounts = bench.accounts(&host, &receiver).await?;
    let count = bench.plan.events.next_multiple_of(BATCH);
    let load = bench.post_batches(&host, &receiver, &accounts, count).await?;
    run.add(BATCHES, load.rate, load.cpu_us);
    host.stop().await?;

    let bus = BusHost::start(version, bench.broker().await, "").await?;
    run.bare(bench).await?;
    let load = bench.publish(&bus, &receiver).await?;
    run.add(BUS, load.rate, load.cpu_us);
    bus.stop().await?;
    receiver.balance()?;
    Ok(run.done())
}

async fn one_at_a_time(
    bench: &mut LoadBench,
    host: &Host,
    receiver: &LoadReceiver,
    hooks: usize,
    kind: &'static str,
    run: &mut CostRun,
) -> anyhow::Result<()> {
    let uris = (0..hooks).map(|n| receiver.url(&format!("/fan/{n}"))).collect();
    let account = host.account(kind.to_owned(), uris, 0).await?;
    let mut client = PostingClient::connect(host).await?;
    let mut took = Vec::new();
    let events = (bench.plan.events / hooks).clamp(5, 300);
    // The first event opens connections.
    for count in [1, events] {
        let deliveries = (count * hooks) as u64;
        let load = measured(host, deliveries, async {
            let mut ended = Instant::now();
            for _ in 0..count {
                let event = bench.events.next(&account);
                let expected = receiver.expect(hooks as u64)?;
                let begun = Instant::now();
                client.post(&event, SINGLE).await?;
                ended = expected.all_came(receiver).await?;
                took.push((ended - begun).as_secs_f64() * 1e3);
            }
            Ok(ended)
        });
        let load = load.await.with_context(|| kind.to_owned())?;
        if count == events {
            run.add(kind, load.rate, load.cpu_us);
        }
    }
    run.found.add(format!("latency {kind}"), median(took));
    Ok(())
}

/// Beside what they should be.
pub(crate) fn rows(found: &MedianFigures) -> Vec<FigureRow> {
    let mut rows = vec![
        FigureRow::new("bare reqwest loop, 64 in flight, 1 KB: CPU µs a request", found.get("bare"), 1),
        FigureRow::new("bare reqwest loop: requests/s", found.get("bare rate"), 0),
    ];
    for (kind, most) in KINDS {
        let row =
            FigureRow::new(format!("{kind}: CPU to the bare loop's"), found.get(&format!("cost {kind}")), 2);
        rows.push(most.into_iter().fold(row, FigureRow::at_most));
    }
    for (kind, _) in KINDS {
        rows.push(FigureRow::new(format!("{kind}: CPU µs a delivery"), found.get(&format!("cpu {kind}")), 1));
        rows.push(FigureRow::new(format!("{kind}: deliveries/s"), found.get(&format!("rate {kind}")), 0));
        if let Some(latency) = found.get(&format!("latency {kind}")) {
            rows.push(FigureRow::new(format!("{kind}: to the last delivery, ms"), Some(latency), 2));
        }
    }
    rows
}
