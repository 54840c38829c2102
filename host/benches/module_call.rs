//! What one event costs inside the host, step by step, through a real library of a module.
//!
//! The library is that of `webhooks_bench`, built before: `cargo build --release -p webhooks_bench`.

// A benchmark fails by panicking.
#![allow(clippy::expect_used, clippy::panic)]

use std::borrow::Cow;
use std::cell::RefCell;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use hookline::config::Config;
use hookline::delivery::request::{SharedBodies, WebhookHeaders, build};
use hookline::event::Event;
use hookline::hooks::accounts::Accounts;
use hookline::hooks::table::HookTable;
use hookline::model::Profile;
use hookline::model::payload::Payload;
use hookline::model::{AccountId, Hook};
use hookline::module::generation::Generation;
use hookline::module::loading::ModuleLoading;
use hookline::module::program::ModuleProgram;
use hookline::module::services::LendableServices;
use plugin_api::Level;
use plugin_api::lend::{Fired, HostServices};
use serde_json::json;

/// A call event of 61 fields and 2.3 KB.
const EVENT: &str = include_str!("../../tests/fixtures/call_event.json");

/// A module of ours that cannot be missing, and one that is measured too where it was built.
const MODULES: [&str; 2] = ["webhooks_bench", "webhooks_channel_create"];

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Copies what a module fires, as the host does, and looks at nothing.
#[derive(Default)]
struct Sink(RefCell<Vec<u8>>);

impl HostServices for Sink {
    fn log(&self, _: Level, _: &str) {}

    fn now_ms(&self) -> u64 {
        0
    }

    fn setting(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }

    fn reseller_of(&self, _: &str) -> Option<String> {
        None
    }

    fn fire(&self, fired: Fired<'_>) -> Result<(), String> {
        self.0.borrow_mut().extend_from_slice(fired.payload);
        Ok(())
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    parsing(&mut criterion);
    calling(&mut criterion);
    looking_up(&mut criterion);
    requesting(&mut criterion);
    criterion.final_summary();
}

fn event() -> Arc<Event> {
    Arc::new(Event::parse(Bytes::from_static(EVENT.as_bytes())).expect("an event"))
}

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    group.throughput(Throughput::Bytes(EVENT.len() as u64));
    let fresh = || Bytes::from(EVENT.as_bytes().to_vec());
    group.bench_function("parse", |bencher| {
        bencher.iter_batched(
            fresh,
            |body| Event::parse(body).expect("an event"),
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn calling(criterion: &mut Criterion) {
    let event = event();
    let mut group = criterion.benchmark_group("module_call");
    for name in MODULES {
        let Some(library) = library(name) else {
            assert_ne!(
                name, MODULES[0],
                "{name} is not built: run scripts/bench, or `cargo build --release -p {name}`"
            );
            continue;
        };
        let generation = load(library);
        let fired = generation.handle(&event).expect("an answer");
        assert_eq!(fired.len(), 1, "{name} should fire once");
        let sink = Sink::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                sink.0.borrow_mut().clear();
                generation.cross(black_box(&event), &sink)
            });
        });
        // As events take it: the payload checked, its fields found, its account looked at.
        group.bench_function(format!("{name}/checked"), |bencher| {
            bencher.iter(|| generation.handle(black_box(&event)));
        });
    }
    group.finish();
}

/// What `cargo build` left of a module's crate beside this program.
fn library(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().expect("the program's own path");
    let folder = program.ancestors().find(|folder| folder.join("deps").is_dir())?;
    let file = folder.join(format!("lib{name}.{}", std::env::consts::DLL_EXTENSION));
    file.is_file().then_some(file)
}

fn load(file: PathBuf) -> Generation {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let copies = tempfile::tempdir().expect("a folder");
    let lendable = LendableServices { settings: Arc::default(), accounts: Arc::new(Accounts::new()) };
    let mut modules = Config::defaults().expect("the defaults").modules;
    modules.program = ModuleProgram::at(file.with_file_name("hookline"));
    let loading = ModuleLoading::new(copies.path().to_owned(), lendable, &modules);
    // The copy may go, the library stays mapped.
    runtime.block_on(loading.load(&file, 1)).expect("a module").0
}

fn looking_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hooks_of_an_account");
    let table = HookTable::new();
    let mut filled = 0;
    for hooks in [10, 10_000, 1_000_000] {
        for n in filled..hooks {
            table.put(hook(n, &json!({})));
        }
        filled = hooks;
        // A different account at every look-up, or the processor's cache would answer.
        let accounts: Vec<AccountId> =
            (0..64).map(|n| account(n * (hooks / 10).max(1) % hooks).as_str().into()).collect();
        let mut turn = 0;
        group.bench_function(hooks.to_string(), |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) % accounts.len();
                table.own(black_box(&accounts[turn]), "channel_create")
            });
        });
    }
    group.finish();
}

fn account(n: usize) -> String {
    format!("account{n:025}")
}

fn hook(n: usize, more: &serde_json::Value) -> Hook {
    let mut document = json!({
        "_id": format!("hook{n:028}"), "pvt_account_id": account(n), "hook": "channel_create",
        "uri": "http://127.0.0.1:9/hook", "format": "json",
    });
    let fields = document.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    Hook::from_document(fields).expect("a hook")
}

/// What a firing costs for each of its hooks, and for the second and every later one that adds nothing.
fn requesting(criterion: &mut Criterion) {
    let payload = payload();
    let stamp =
        Some(WebhookHeaders { webhook_id: "msg_00112233445566778899aabbccddeeff", timestamp: 1_700_000_000 });
    let mut group = criterion.benchmark_group("request");
    for format in ["json", "form-data"] {
        let hook = hook(1, &json!({"format": format}));
        group.bench_function(format!("{format}/first"), |bencher| {
            bencher.iter(|| build(Profile::Standard, "cluster", black_box(&hook), &payload, stamp));
        });
        let bodies = SharedBodies::new(Profile::Standard, "cluster", payload.clone());
        group.bench_function(format!("{format}/shared"), |bencher| {
            bencher.iter(|| bodies.request(black_box(&hook), stamp));
        });
    }
    group.finish();
}

fn payload() -> Payload {
    let generation = load(library(MODULES[0]).expect("the module"));
    let fired = generation.handle(&event()).expect("an answer").swap_remove(0);
    fired.payload
}
