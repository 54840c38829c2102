//! Few clients and many: how fast single events are accepted, how often the host goes to sleep for one, and how often it
//! commits to disk.

use anyhow::Context as _;

use crate::bench::LoadBench;
use crate::bus::BusHost;
use crate::figures::{FigureRow, MedianFigures, RunSamples, percentile};
use crate::host::Host;
use crate::plan::HostVersion;
use crate::process::{CommitCounter, ThreadUses};
use crate::receiver::LoadReceiver;
use crate::sender::{PostingClient, PostingPace, SINGLE, post_all, post_paced};
use tokio::time::{Instant, sleep};

/// Clients that post at once; each number is twice the one before.
const CLIENTS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Numbers of clients whose median is held against that of one client.
const FEW: std::ops::RangeInclusive<usize> = 2..=16;

/// Events that come one at a time.
const ALONE: u64 = 300;

/// Events a second where they are paced.
const PACE: u32 = 5_000;

/// The share of them that must have been accepted in their time.
const KEPT_PACE: f64 = 0.9;

/// Counts commits to disk.
const COMMITS: &str = "hookline_store_fsyncs_total";

/// One run.
pub(crate) async fn once(bench: &mut LoadBench, version: &HostVersion) -> anyhow::Result<RunSamples> {
    let mut found = RunSamples::default();
    let receiver = LoadReceiver::start()?;
    let host = Host::start(version, "log.level = 'error'\n").await?;
    let accounts = bench.accounts(&host, &receiver).await?;
    // The first events open connections.
    for_a_time(bench, &host, &receiver, &accounts, 64).await?;
    for clients in CLIENTS {
        let (rate, took) = for_a_time(bench, &host, &receiver, &accounts, clients).await?;
        found.add(format!("rate {clients}"), rate);
        found.add(format!("p99 {clients}"), percentile(took.clone(), 99));
        found.add(format!("median {clients}"), percentile(took, 50));
    }
    switches(bench, &host, &receiver, &accounts, &mut found).await?;

    let commits = CommitSource::begin(&host).await?;
    let before = receiver.taken();
    for_a_time(bench, &host, &receiver, &accounts, 128).await?;
    found.add_known("commits at 128", commits.for_each(&host, receiver.taken() - before).await?);
    for (pace, name) in [(PostingPace::Even, "evenly"), (PostingPace::Bursts, "in bursts")] {
        let commits = CommitSource::begin(&host).await?;
        let count = PACE * bench.plan.time.as_secs() as u32;
        let rate = paced(bench, &host, &receiver, &accounts, pace, count).await?;
        found.add(format!("pace {name}"), rate);
        let commits = commits.for_each(&host, u64::from(count)).await?;
        // A program, or a machine, that does not keep pace is measured at some other rate.
        found.add_known(format!("commits {name}"), commits.filter(|_| rate >= KEPT_PACE * f64::from(PACE)));
    }
    host.stop().await?;

    let settings = "log.level = 'error'\n";
    let bus = BusHost::start(version, bench.broker().await, settings).await?;
    bench.publish(&bus, &receiver).await?;
    let commits = CommitSource::begin(&bus.host).await?;
    bench.publish(&bus, &receiver).await?;
    found.add_known("commits on the bus", commits.for_each(&bus.host, bench.plan.events as u64).await?);
    bus.stop().await?;
    receiver.balance()?;
    Ok(found)
}

/// Posts for the time of the plan. Answers events a second, until the last was delivered, and what each post took.
async fn for_a_time(
    bench: &mut LoadBench,
    host: &Host,
    receiver: &LoadReceiver,
    accounts: &[String],
    clients: usize,
) -> anyhow::Result<(f64, Vec<f64>)> {
    let mut clients = PostingClient::several(host, clients).await?;
    let mut accounts = accounts.iter().cycle();
    let begun = Instant::now();
    let time = bench.plan.time;
    let events = &mut bench.events;
    let next = || {
        let account = accounts.next().filter(|_| begun.elapsed() < time)?;
        Some(events.next(account))
    };
    let took = post_all(&mut clients, SINGLE, next).await?;
    let ended = receiver.expect(took.len() as u64)?.all_came(receiver).await?;
    Ok((took.len() as f64 / (ended - begun).as_secs_f64(), took))
}

/// Answers how many events a second were accepted.
async fn paced(
    bench: &mut LoadBench,
    host: &Host,
    receiver: &LoadReceiver,
    accounts: &[String],
    pace: PostingPace,
    count: u32,
) -> anyhow::Result<f64> {
    let mut clients = PostingClient::several(host, 128).await?;
    let expected = receiver.expect(u64::from(count))?;
    let mut accounts = accounts.iter().cycle();
    let events = &mut bench.events;
    let next = || events.next(accounts.next().map_or("", String::as_str));
    let begun = Instant::now();
    post_paced(&mut clients, pace, PACE, count, next).await?;
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    expected.all_came(receiver).await?;
    Ok(rate)
}

/// How often threads go to sleep for an event that comes alone, until its delivery has arrived.
async fn switches(
    bench: &mut LoadBench,
    host: &Host,
    receiver: &LoadReceiver,
    accounts: &[String],
    found: &mut RunSamples,
) -> anyhow::Result<()> {
    let mut client = PostingClient::connect(host).await?;
    let account = accounts.first().context("an account")?;
    let mut before = ThreadUses::default();
    for n in 0..2 * ALONE {
        if n == ALONE {
            host.cpu().await?;
            before = ThreadUses::of(host.process())?;
        }
        let expected = receiver.expect(1)?;
        client.post(&bench.events.next(account), SINGLE).await?;
        expected.all_came(receiver).await?;
    }
    let switches = ThreadUses::of(host.process())?.switches_since(&before);
    let each = |count: u64| count as f64 / ALONE as f64;
    found.add("switches", each(switches.values().sum()));
    for (name, count) in switches.into_iter().filter(|(_, count)| *count >= ALONE / 20) {
        found.add(format!("switches of {name}"), each(count));
    }
    Ok(())
}

/// CommitSource to disk from a moment on: as the program counts them, or as somebody beside it does.
enum CommitSource {
    Counted(f64),
    Watched(Option<CommitCounter>),
}

impl CommitSource {
    async fn begin(host: &Host) -> anyhow::Result<Self> {
        Ok(match host.figure(COMMITS).await? {
            Some(commits) => CommitSource::Counted(commits),
            None => CommitSource::Watched(CommitCounter::begin(host.process(), host.file("commits")).await),
        })
    }

    /// For each thousand of so many events, whose outcomes are waited for.
    async fn for_each(self, host: &Host, events: u64) -> anyhow::Result<Option<f64>> {
        host.cpu().await?;
        // Outcomes may be written some time after the deliveries.
        sleep(std::time::Duration::from_millis(300)).await;
        let commits = match self {
            CommitSource::Counted(before) => host.figure(COMMITS).await?.map(|commits| commits - before),
            CommitSource::Watched(counter) => counter.and_then(CommitCounter::end),
        };
        Ok(commits.map(|commits| commits * 1e3 / events as f64))
    }
}

/// Beside what they should be.
pub(crate) fn rows(found: &MedianFigures, before: Option<&MedianFigures>) -> Vec<FigureRow> {
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let [rate, median, p99] =
            ["rate", "median", "p99"].map(|what| found.get(&format!("{what} {clients}")));
        let half = found.get(&format!("rate {}", clients / 2));
        let shown = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
        rows.push(FigureRow::new(format!("{shown}: events/s"), rate, 0).not_below(half));
        let row = FigureRow::new(format!("{shown}: median of an answer, ms"), median, 2);
        let alone = found.get("median 1").filter(|_| FEW.contains(&clients));
        rows.push(alone.into_iter().fold(row, |row, alone| row.at_most(1.5 * alone)));
        let row = FigureRow::new(format!("{shown}: 99th percentile, ms"), p99, 2);
        rows.push(median.into_iter().fold(row, |row, median| row.at_most(4.0 * median)));
    }
    if let Some(before) = before {
        let what = "128 clients: events/s, beside the version before";
        let row = FigureRow::new(what, found.get("rate 128"), 0);
        rows.push(row.not_below(before.get("rate 128")));
    }
    let row = FigureRow::new("one event at a time: voluntary context switches", found.get("switches"), 1);
    rows.push(row.at_most(6.0));
    let by_name = found.beginning_with("switches of ");
    rows.extend(by_name.map(|(name, count)| FigureRow::new(format!("… of threads {name}"), Some(count), 1)));
    for (name, what) in [("at 128", "128 clients"), ("on the bus", "RabbitMQ")] {
        let commits = found.get(&format!("commits {name}"));
        rows.push(FigureRow::new(format!("fsyncs for 1,000 events: {what}"), commits, 1).at_most(15.0));
    }
    for (name, spaced) in [("evenly", "evenly spaced"), ("in bursts", "five each millisecond")] {
        let what = format!("5,000 posts/s, {spaced}");
        let commits = found.get(&format!("commits {name}"));
        rows.push(FigureRow::new(format!("fsyncs for 1,000 events: {what}"), commits, 1).at_most(250.0));
        let rate = found.get(&format!("pace {name}"));
        rows.push(FigureRow::new(format!("{what}: events/s that were accepted"), rate, 0));
    }
    rows
}
