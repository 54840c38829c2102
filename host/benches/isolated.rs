//! What one event costs when its module runs in a process of its own, beside what it costs in the host's.
//!
//! The library is that of `webhooks_bench`, built before: `cargo build --release -p webhooks_bench`.

// A benchmark fails by panicking.
#![allow(clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use hookline::event::Event;
use hookline::hooks::accounts::Accounts;
use hookline::model::ModuleId;
use hookline::module::generation::{Generation, IsolationMode, LibrarySource};
use hookline::module::isolated::{IsolatedRunner, IsolationLimits};
use hookline::module::probe::probe;
use hookline::module::program::ModuleProgram;
use hookline::module::services::LendableServices;

/// A call event of 61 fields and 2.3 KB.
const EVENT: &str = include_str!("../../tests/fixtures/call_event.json");

/// A module of ours that cannot be missing.
const MODULE: &str = "webhooks_bench";

const LIMITS: IsolationLimits =
    IsolationLimits { load_within: Duration::from_secs(10), call_timeout: Duration::from_secs(1) };

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join(format!("{MODULE}.g1.{}", std::env::consts::DLL_EXTENSION));
    std::fs::copy(library(), &copy).expect("a copy of the module");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lendable = LendableServices { settings: Arc::default(), accounts: Arc::new(Accounts::new()) };
    let (module, program) = (ModuleId::new(MODULE), ModuleProgram::at(env!("CARGO_BIN_EXE_hookline").into()));
    let event = Arc::new(Event::parse(Bytes::from_static(EVENT.as_bytes())).expect("an event"));

    let mut group = criterion.benchmark_group("isolation");
    let source = LibrarySource { module: module.clone(), number: 1, copy: &copy };
    let inside = Generation::load(source, lendable.clone(), IsolationMode::Here, LIMITS.load_within);
    let inside = runtime.block_on(inside).expect("a module");
    group.bench_function("in the host", |bencher| bencher.iter(|| inside.handle(black_box(&event))));

    let started = IsolatedRunner::start(&program, module.clone(), 1, &copy, lendable.clone(), LIMITS);
    let isolated = started.expect("a module").0;
    for batch in [1, 32, 256] {
        let events = vec![Arc::clone(&event); batch];
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("isolated, batches of {batch}"), |bencher| {
            bencher.iter(|| {
                isolated.handle(black_box(&events), &mut |_, answer| {
                    assert_eq!(answer.expect("an answer").len(), 1);
                });
            });
        });
    }

    group.throughput(Throughput::Elements(1));
    group.sample_size(20);
    group.bench_function("probe", |bencher| {
        bencher.iter(|| {
            let probed = probe(&program, &module, 1, &copy, &lendable, LIMITS.load_within);
            runtime.block_on(probed).expect("a good module")
        });
    });
    group.finish();
    criterion.final_summary();
}

/// What `cargo build` left of the module's crate beside this program.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("the program's own path");
    let folder = program.ancestors().find(|folder| folder.join("deps").is_dir()).expect("a target folder");
    let file = folder.join(format!("lib{MODULE}.{}", std::env::consts::DLL_EXTENSION));
    assert!(file.is_file(), "it is not built: run scripts/bench, or `cargo build --release -p {MODULE}`");
    file
}
