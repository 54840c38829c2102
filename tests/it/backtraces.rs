//! Where a module panicked, as its author and the operator are told.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tests::{Home, TestHost, cdylib, corrupted_copy, say};

const ID: &str = "webhooks_misbehaving";
const FILE: &str = "libwebhooks_misbehaving.so";
const APART: &str = "[modules]\nisolation = \"process\"\n";

fn panicking(id: &str) -> Value {
    json!({
        "Event-Category": "misbehave", "Event-Name": "now", "Account-ID": "acme", "Do": "panic", "Msg-ID": id,
    })
}

/// The last failure, once its backtrace is known to the end.
async fn failure(host: &TestHost, known: fn(&str) -> bool) -> Value {
    let is_known = move |module: &Value| {
        let backtrace = module["last_failure"]["backtrace"].as_array();
        backtrace.and_then(|frames| frames.first()?.as_str()).is_some_and(known)
    };
    host.module_with(ID, is_known).await["last_failure"].clone()
}

fn frames(failure: &Value) -> Vec<&str> {
    failure["backtrace"].as_array().unwrap().iter().map(|frame| frame.as_str().unwrap()).collect()
}

/// The line of the panic in the module's source.
fn panics_at() -> usize {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules/webhooks_misbehaving/src/lib.rs");
    let source = std::fs::read_to_string(source).unwrap();
    source.lines().position(|line| line.contains("panic!(\"told to panic\")")).unwrap() + 1
}

/// Whether the event that failed is the one with this `Msg-ID`.
fn is_of(failure: &Value, id: &str) -> bool {
    failure["event"].as_str().is_some_and(|identity| identity.contains(&format!(":{id}:")))
}

fn is_a_line(frame: &str) -> bool {
    frame.contains("src/lib.rs:")
}

async fn is_told_with_place_and_backtrace(settings: &str) {
    let host = TestHost::configured(settings, &[ID]).await;

    host.publish(panicking("first")).await;

    let failure = failure(&host, is_a_line).await;
    let place = format!("tests/modules/webhooks_misbehaving/src/lib.rs:{}", panics_at());
    assert_eq!((&failure["message"], &failure["place"]), (&json!("panicked: told to panic"), &json!(place)));
    assert_eq!((&failure["generation"], is_of(&failure, "first")), (&json!(1), true), "{failure}");
    let frames = frames(&failure);
    assert!(frames[0].contains("Misbehaving") && frames[0].contains("handle_event ("), "{frames:?}");
    assert!(frames[0].ends_with(&format!("{place})")), "{frames:?}");
    let foreign = ["std::panicking", "core::panicking", "plugin_api::guard", "hookline::"];
    assert!(!frames.iter().any(|frame| foreign.iter().any(|name| frame.contains(name))), "{frames:?}");

    let token = host.token().to_owned();
    let shown = say(&["modules", "show", ID, "--url", &host.url(), "--token", &token]).await.success();
    for line in [format!("  place: {place}\n"), format!("  in {}\n", frames[0])] {
        assert!(shown.contains(&line), "{shown}");
    }
}

#[tokio::test]
async fn a_panic_in_the_hosts_process_is_told_with_place_and_backtrace() {
    is_told_with_place_and_backtrace("").await;
}

#[tokio::test]
async fn a_panic_in_a_process_of_its_own_is_told_with_place_and_backtrace() {
    is_told_with_place_and_backtrace(APART).await;
}

/// The module without some of what its file says for debuggers.
fn stripped(folder: &Path, how: &str) -> PathBuf {
    let file = corrupted_copy(&cdylib(ID), folder, FILE, |_| {});
    assert!(Command::new("strip").arg(how).arg(&file).status().unwrap().success());
    file
}

#[tokio::test]
async fn without_line_tables_functions_are_told_and_without_names_offsets() {
    let folder = tempfile::tempdir().unwrap();
    let host = TestHost::with_files("", &[stripped(folder.path(), "--strip-debug")]).await;
    host.publish(panicking("first")).await;
    let without_lines = failure(&host, |frame| frame.contains("handle_event (at +0x")).await;
    assert!(!frames(&without_lines).iter().any(|frame| frame.contains(".rs:")), "{without_lines}");

    host.install(FILE, &std::fs::read(stripped(folder.path(), "--strip-all")).unwrap());
    host.generation(ID, 2).await;
    assert_eq!(host.module(ID).await["last_failure"], without_lines, "it is remembered over generations");
    host.publish(panicking("second")).await;

    let failure = failure(&host, |frame| frame.starts_with("+0x")).await;
    assert!(frames(&failure).iter().all(|frame| frame.starts_with("+0x")), "{failure}");
    assert_eq!((&failure["generation"], is_of(&failure, "second")), (&json!(2), true), "{failure}");
    assert!(failure["place"].as_str().unwrap().ends_with(&format!("lib.rs:{}", panics_at())));
}

/// The module's file as `scripts/split` makes it, and what was split off.
fn split(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let file = corrupted_copy(&cdylib(ID), folder, FILE, |_| {});
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/split");
    assert!(Command::new(script).arg(&file).status().unwrap().success());
    let debug = folder.join(format!("{FILE}.debug"));
    (std::fs::read(file).unwrap(), std::fs::read(debug).unwrap())
}

#[tokio::test]
async fn lines_that_were_split_off_are_found_beside_the_file_if_they_are_of_the_same_build() {
    let folder = tempfile::tempdir().unwrap();
    let (module, debug) = split(folder.path());
    assert!(module.len() < debug.len(), "{} of {}", module.len(), module.len() + debug.len());
    let host = TestHost::with_modules(&[]).await;
    let beside = format!("{FILE}.debug");
    let serve = async |generation: u64, module: &[u8], known: fn(&str) -> bool| {
        host.install(FILE, module);
        host.generation(ID, generation).await;
        host.publish(panicking(&format!("of {generation}"))).await;
        let failure = failure(&host, known).await;
        assert_eq!(failure["generation"], generation, "{failure}");
        frames(&failure)[0].to_owned()
    };
    let place = format!("tests/modules/webhooks_misbehaving/src/lib.rs:{})", panics_at());
    let has_name = |frame: &str| frame.contains("handle_event (");

    host.install(&beside, &debug);
    let found = serve(1, &module, has_name).await;
    assert!(found.ends_with(&place), "{found}");

    // Another build's, as far as anybody can tell.
    let id = build_id(&debug);
    let mut other = debug.clone();
    other[id.start] ^= 0x55;
    host.install(&beside, &other);
    let changed = |count: usize| [module.as_slice(), &vec![0; count]].concat();
    let found = serve(2, &changed(1), has_name).await;
    assert!(found.contains("handle_event (at +0x"), "{found}");

    std::fs::create_dir(host.plugin(".debug")).unwrap();
    std::fs::write(host.plugin(".debug").join(&beside), &debug).unwrap();
    let found = serve(3, &changed(2), has_name).await;
    assert!(found.ends_with(&place), "{found}");
}

/// Where the id of a build stands in a file: behind the note's name, which all linkers write as `GNU`.
fn build_id(file: &[u8]) -> Range<usize> {
    let note = [4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0];
    let at = file.windows(note.len()).position(|bytes| bytes == note).unwrap() + note.len();
    at..at + 20
}

/// The part of a library's file that is not mapped: what is there for debuggers, up to the table of sections.
fn unmapped_part(library: &[u8]) -> Range<usize> {
    let number =
        |at: usize| usize::try_from(u64::from_le_bytes(library[at..at + 8].try_into().unwrap())).unwrap();
    let (segments, sections) = (number(32), number(40));
    let count = usize::from(u16::from_le_bytes([library[56], library[57]]));
    let headers = (0..count).map(|nth| segments + nth * 56);
    let mapped = headers.filter(|at| library[*at..at + 4] == [1, 0, 0, 0]);
    let end = mapped.map(|at| number(at + 8) + number(at + 32)).max().unwrap();
    assert!(end < sections, "debug information stands behind what is mapped");
    end..sections
}

#[tokio::test]
async fn damage_to_what_a_file_says_for_debuggers_costs_the_backtrace_and_nothing_else() {
    let host = TestHost::with_modules(&[]).await;
    let library = std::fs::read(cdylib(ID)).unwrap();
    for (generation, step) in (1..).zip([7, 61, 1009, 30_011]) {
        let mut damaged = library.clone();
        unmapped_part(&library).step_by(step).for_each(|at| damaged[at] ^= 0x55);
        host.install(FILE, &damaged);
        host.generation(ID, generation).await;

        host.publish(panicking(&format!("damaged {generation}"))).await;

        let shown = host.module(ID).await["last_failure"].clone();
        assert_eq!((&shown["generation"], frames(&shown).is_empty()), (&json!(generation), false), "{shown}");
        assert_eq!(shown["message"], "panicked: told to panic");
    }
    host.install(FILE, &library);
    host.generation(ID, 5).await;
    host.publish(panicking("whole")).await;
    let whole = failure(&host, is_a_line).await;
    assert_eq!(whole["generation"], 5, "whoever reads for others goes on: {whole}");
}

#[tokio::test]
async fn a_failure_that_is_no_panic_has_neither_place_nor_backtrace() {
    let host = TestHost::with_modules(&[ID]).await;
    let mut event = panicking("first");
    event["Do"] = "fail".into();

    host.publish(event).await;

    let failure = host.module(ID).await["last_failure"].clone();
    assert_eq!((&failure["message"], &failure["place"]), (&json!("told to fail"), &Value::Null));
    assert_eq!(failure["backtrace"], json!([]));
}

#[tokio::test]
async fn a_call_that_hangs_is_the_last_failure() {
    for isolation in ["none", "process"] {
        let settings = format!("[modules]\ncall_timeout_ms = 50\nisolation = \"{isolation}\"\n");
        let host = TestHost::configured(&settings, &[ID]).await;
        let mut event = panicking("first");
        event["Do"] = "hang".into();

        host.publish(event).await;

        let failure = host.module(ID).await["last_failure"].clone();
        assert_eq!(failure["message"], "did not answer within 50 ms", "{isolation}");
        assert!(is_of(&failure, "first"), "{failure}");
    }
}

#[tokio::test]
async fn a_module_that_panics_on_every_event_is_told_once_with_its_backtrace_in_the_log() {
    for settings in ["", APART] {
        let program = Home::new(settings, &[ID]).start_logging("warn", &[]).await;
        for batch in 0..4 {
            let events: Vec<Value> = (0..250).map(|n| panicking(&format!("{batch}.{n}"))).collect();
            assert_eq!(program.ask("POST", "/events", Some(events.into())).await.status, 202);
        }
        let url = format!("/modules/{ID}");
        let known = || async {
            let shown = program.ask("GET", &url, None).await.json["data"].clone();
            let last = &shown["last_failure"];
            (last["event"].as_str()?.contains(":3.") && is_a_line(last["backtrace"][0].as_str()?))
                .then_some(shown)
        };
        let shown = tests::eventually("the backtrace is known", known).await;
        assert_eq!(shown["failures"], 1000);

        let (_, home) = program.signalled("TERM").await;

        let log = std::fs::read_to_string(home.path("log")).unwrap();
        let told: Vec<&str> = log.lines().filter(|line| line.contains("where the module panicked")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let place = format!("webhooks_misbehaving/src/lib.rs:{}", panics_at());
        assert!(told[0].contains("handle_event (") && told[0].matches(&place).count() == 2, "{}", told[0]);
        // Each has its place; not every failure has a line, but each is told of.
        let failed: Vec<&str> =
            log.lines().filter(|line| line.contains("the module failed on an event")).collect();
        assert!(failed.len() >= 50 && failed.iter().all(|line| line.contains(&place)), "{}", failed.len());
        let passed_over =
            |line: &&str| line.split("passed_over=").nth(1)?.split(' ').next()?.parse::<usize>().ok();
        let passed_over: usize = failed.iter().filter_map(passed_over).sum();
        assert!(failed.len() < 1000 && failed.len() + passed_over <= 1000, "{} {passed_over}", failed.len());
    }
}
