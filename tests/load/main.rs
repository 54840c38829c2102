//! The load run: what a whole host does a second, what a delivery costs it, and what else its speed consists of, each
//! figure beside what it should be.
//!
//! `scripts/bench` runs it. The host is the released program in a process of its own; the receiver, the bare client that
//! is the yardstick, and whoever sends events share the machine with it. Exit code 1 when a delivery is missing or came
//! twice; a figure that misses its target changes nothing.
//!
//! LOAD_ONLY runs these parts of `clients,latency,hostile,cost,shards,memory,size,scale` only; `scale` takes so long that
//! it runs only where it is named. LOAD_RUNS runs of each (3),
//! of which the medians are shown; LOAD_EVENTS events in each load (20000), LOAD_SECONDS for what is measured by time
//! (2). LOAD_PROGRAM is another version's program, LOAD_PLUGINS the folder with its modules (among them
//! `webhooks_bench`). LOAD_COMPARE=PROGRAM:FOLDER runs that version in turns with this one and prints both.
//! LOAD_SHARDS_SETTING names the settings (`bus.shards,delivery.shards`) that say how many shards there are.

// A program for people.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bare;
mod bench;
mod bus;
mod clients;
mod cost;
mod events;
mod figures;
mod host;
mod hostile;
mod latency;
mod memory;
mod plan;
mod process;
mod receiver;
mod scale;
mod scale_data;
mod sender;
mod shards;
mod size;

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use bench::LoadBench;
use figures::{FigureRow, FigureTally, MedianFigures, RunSamples, table};
use plan::{HostVersion, LoadPart, LoadPlan};

fn main() -> anyhow::Result<()> {
    // Thousands of connections at once.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("raising the number of files")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("the yardstick is not optimised: build with --release for ratios that say something");
    }
    let mut bench = LoadBench::new(LoadPlan::of_environment()?);
    let mut tally = FigureTally::default();
    let mut failed = Vec::new();
    for part in bench.plan.parts.clone() {
        let name = part.name();
        match found(part, &mut bench).await {
            Ok(found) => {
                let rows = rows(part, &found);
                let (measured, before) = rows.split_last().context("a version")?;
                println!("\n## {name}\n\n{}", table(measured, before.first().map(Vec::as_slice)));
                tally.count(name, measured);
            }
            // The others can be measured still.
            Err(error) => {
                println!("\n## {name}\n\nfailed: {error:#}\n");
                failed.push(name);
            }
        }
    }
    println!("\n{}", tally.text());
    ensure!(failed.is_empty(), "these parts failed: {}", failed.join(", "));
    println!("no delivery is missing, none came twice");
    Ok(())
}

/// The medians of each version, which take turns.
async fn found(part: LoadPart, bench: &mut LoadBench) -> anyhow::Result<Vec<MedianFigures>> {
    let versions = bench.plan.versions.clone();
    let mut runs: Vec<Vec<RunSamples>> = versions.iter().map(|_| Vec::new()).collect();
    for _ in 0..bench.plan.runs {
        for (version, runs) in versions.iter().zip(&mut runs) {
            let run = once(part, bench, version).await;
            runs.push(run.with_context(|| version.program.display().to_string())?);
        }
    }
    Ok(runs.iter().map(|runs| MedianFigures::of(runs)).collect())
}

async fn once(part: LoadPart, bench: &mut LoadBench, version: &HostVersion) -> anyhow::Result<RunSamples> {
    match part {
        LoadPart::Clients => clients::once(bench, version).await,
        LoadPart::Latency => latency::once(bench, version).await,
        LoadPart::Hostile => hostile::once(bench, version).await,
        LoadPart::Cost => cost::once(bench, version).await,
        LoadPart::Shards => shards::once(bench, version).await,
        LoadPart::Memory => memory::once(bench, version).await,
        LoadPart::Size => size::once(version),
        LoadPart::Scale => scale::once(version).await,
    }
}

/// Rows of each version.
fn rows(part: LoadPart, found: &[MedianFigures]) -> Vec<Vec<FigureRow>> {
    let before = found.first().filter(|_| found.len() > 1);
    let rows = |found: &MedianFigures| match part {
        LoadPart::Clients => clients::rows(found, before),
        LoadPart::Latency => latency::rows(found),
        LoadPart::Hostile => hostile::rows(found),
        LoadPart::Cost => cost::rows(found),
        LoadPart::Shards => shards::rows(found),
        LoadPart::Memory => memory::rows(found),
        LoadPart::Size => size::rows(found),
        LoadPart::Scale => scale::rows(found),
    };
    found.iter().map(rows).collect()
}
