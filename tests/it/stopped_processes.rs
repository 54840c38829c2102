//! A module's process that somebody has stopped: it is neither killed nor blamed for that time, its events wait for it
//! and nobody else does; what has to go on without it does so, and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use hookline::event::Event;
use hookline::model::ModuleId;
use hookline::module::generation::CallFailure;
use hookline::module::probe::{ProbeRefusal, probe};
use hookline::module::program::ModuleProgram;
use serde_json::{Value, json};
use tests::{
    Home, IsolatedModule, Program, Receiver, TestHost, eventually, hookline, lendable, private_copy, runs,
    send_signal, versioned,
};

const MISBEHAVING: &str = "webhooks_misbehaving";
const VERSIONED: &str = "webhooks_versioned";
const VERSIONED_FILE: &str = "libwebhooks_versioned.so";

/// How long a call may take, and how long a process is stopped: several calls could have hung meanwhile.
const LIMIT: Duration = Duration::from_millis(200);
const STOP: Duration = Duration::from_secs(1);

const APART: &str =
    "[modules]\ncall_timeout_ms = 200\nisolation = [\"webhooks_misbehaving\", \"webhooks_versioned\"]\n";

fn told_to(misdeed: &str, account: &str, say: &str) -> Value {
    json!({
        "Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": misdeed, "Say": say,
        "Msg-ID": format!("{misdeed} {say}"),
    })
}

fn pid_of(module: &Value) -> u32 {
    u32::try_from(module["process"]["pid"].as_u64().expect("a process")).unwrap()
}

/// The stop itself takes this time, and nothing is waited for with it.
async fn stopped_for(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn degraded(host: &TestHost) -> Value {
    let ready = host.ask("GET", "/readyz", None).await;
    assert_eq!(ready.status, 200, "{}", ready.json);
    ready.json["data"]["degraded"].clone()
}

#[tokio::test]
async fn its_events_wait_those_of_others_do_not_and_people_see_why() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(APART, &[MISBEHAVING, "older_minor"]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/it"), json!({})).await;
    host.hook(&account, "older_minor", &receiver.url("/other"), json!({})).await;
    let pid = pid_of(&host.module(MISBEHAVING).await);
    assert_eq!(degraded(&host).await, json!([]));

    send_signal("STOP", pid);
    let waiting = host.publish(told_to("fire", &account, "it waits"));
    let meanwhile = async {
        let shown = host.module_with(MISBEHAVING, |module| module["process"]["stopped"] != Value::Null).await;
        let stopped = shown["process"]["stopped"].as_str().unwrap();
        assert!(stopped.starts_with("stopped by a signal (state T) for "), "{stopped}");
        let found = degraded(&host).await;
        assert_eq!(found[0]["module"], MISBEHAVING, "{found}");
        let reason = found[0]["reason"].as_str().unwrap();
        assert!(reason.contains("stopped by a signal (state T)"), "{reason}");
        assert!(reason.contains(&format!("kill -CONT {pid}")), "{reason}");
        let stopped_seconds = || async {
            let text = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
            let series = "hookline_module_process_stopped_seconds{module=\"webhooks_misbehaving\"} ";
            let figure = text.lines().find_map(|line| line.strip_prefix(series)).unwrap();
            (figure != "0").then_some(())
        };
        eventually("the metric has it", stopped_seconds).await;
        let other = json!({"Event-Category": "older", "Event-Name": "any", "Account-ID": account});
        host.publish(other).await;
        assert_eq!(receiver.next_request().await.path, "/other");
        stopped_for(STOP).await;
        assert!(receiver.waiting().is_empty());
        send_signal("CONT", pid);
    };
    tokio::join!(waiting, meanwhile);

    let request = receiver.next_request().await;
    assert_eq!((request.path.as_str(), &request.json()["said"]), ("/it", &json!("it waits")));
    let after = host.module_with(MISBEHAVING, |module| module["process"]["stopped"] == Value::Null).await;
    assert_eq!(pid_of(&after), pid, "the same process goes on");
    assert_eq!(
        (&after["state"], &after["hung"], &after["failures"]),
        (&json!("active"), &json!(0), &json!(0)),
        "{after:#}"
    );
    assert_eq!(degraded(&host).await, json!([]));
}

#[tokio::test]
async fn one_that_has_nothing_to_do_is_shown_too() {
    let host = TestHost::configured(APART, &[MISBEHAVING]).await;
    let pid = pid_of(&host.module(MISBEHAVING).await);

    send_signal("STOP", pid);
    host.module_with(MISBEHAVING, |module| module["process"]["stopped"] != Value::Null).await;
    send_signal("CONT", pid);

    host.module_with(MISBEHAVING, |module| module["process"]["stopped"] == Value::Null).await;
}

/// A host with the first version in a process of its own, that process, which is stopped, and an event that it has in
/// hand; then what `then` does to the plugins folder. Says which version answered.
async fn answered_after(then: impl AsyncFnOnce(&TestHost)) -> (TestHost, String) {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(APART, &[]).await;
    let account = host.account("acme").await;
    host.install(VERSIONED_FILE, &versioned(1));
    host.generation(VERSIONED, 1).await;
    host.hook(&account, "versioned", &receiver.url("/"), json!({})).await;
    let pid = pid_of(&host.module(VERSIONED).await);
    send_signal("STOP", pid);
    let event = json!({"Event-Category": "versioned", "Event-Name": "any", "Account-ID": account, "N": 1});
    let waiting = host.publish(event);
    let changed = async {
        host.module_with(VERSIONED, |module| module["calls"] == 1).await;
        then(&host).await;
    };
    tokio::join!(waiting, changed);
    let version = receiver.next_request().await.json()["version"].as_str().unwrap().to_owned();
    assert!(!runs(pid), "nothing is left of the old process");
    (host, version)
}

#[tokio::test]
async fn a_new_file_takes_over_what_it_has_in_hand_and_nobody_is_blamed() {
    let replaced = answered_after(async |host| {
        host.install(VERSIONED_FILE, &versioned(2));
        host.generation(VERSIONED, 2).await;
    });

    let (host, version) = replaced.await;

    assert_eq!(version, "hookline-version-000002");
    let module = host.module(VERSIONED).await;
    assert_eq!(
        (&module["failures"], &module["hung"], &module["pinned"]),
        (&json!(0), &json!(0), &json!([])),
        "{module:#}"
    );
}

#[tokio::test]
async fn a_module_that_is_taken_away_answers_what_it_has_in_hand_in_another_process() {
    let removed = answered_after(async |host| {
        std::fs::remove_file(host.plugin(VERSIONED_FILE)).unwrap();
        host.gone(VERSIONED).await;
    });

    let (host, version) = removed.await;

    assert_eq!(version, "hookline-version-000001");
    host.figure("hookline_modules", 0).await;
}

/// A host whose module's process is stopped with an event in hand that waits.
async fn with_a_stopped_process(settings: &str) -> (Program, u32) {
    let host = Home::new(&format!("{settings}{APART}"), &[MISBEHAVING]).start().await;
    let account = host.account("acme").await;
    let shown =
        || async { host.ask("GET", &format!("/modules/{MISBEHAVING}"), None).await.json["data"].clone() };
    let pid = pid_of(&shown().await);
    send_signal("STOP", pid);
    let posted = host.ask("POST", "/events", Some(told_to("fire", &account, "in hand")));
    let in_hand = eventually("it is in hand", || async { (shown().await["calls"] == 1).then_some(()) });
    tokio::select! {
        answer = posted => panic!("nobody can have answered it: {}", answer.json),
        () = in_hand => {}
    }
    (host, pid)
}

#[tokio::test]
async fn a_host_that_stops_does_so_in_its_time_and_takes_it_along() {
    let (host, pid) = with_a_stopped_process("stop_timeout_ms = 300\n").await;

    let (said, _home) = host.signalled("TERM").await;

    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!runs(pid));
}

#[tokio::test]
async fn a_host_that_is_killed_leaves_it_not_behind() {
    let (host, pid) = with_a_stopped_process("").await;

    let _home = host.killed().await;

    eventually("the stopped process is gone", || async { (!runs(pid)).then_some(()) }).await;
}

/// Whether a call hangs is told by the time that its process had: it is given up after a stop that was longer than the
/// limit, and not during it.
async fn is_given_up_only_when_it_could_run(misdeed: &'static str) {
    let module = IsolatedModule::limited(MISBEHAVING, LIMIT);
    let pid = module.pid();
    let isolated = Arc::clone(&module.isolated);
    send_signal("STOP", pid);
    let event = Arc::new(Event::parse(told_to(misdeed, "acme", "").to_string().into()).unwrap());
    let calling = std::thread::spawn(move || {
        let mut answers = Vec::new();
        isolated.handle(&[event], &mut |_, answer| answers.push(answer));
        answers
    });
    stopped_for(STOP).await;
    assert!(!calling.is_finished() && runs(pid), "{misdeed}: it is waited for");
    send_signal("CONT", pid);

    let answers = tokio::task::spawn_blocking(move || calling.join().unwrap()).await.unwrap();

    let [Err(CallFailure::TimedOut(given))] = answers[..] else { panic!("{misdeed}: {answers:?}") };
    assert_eq!(given, LIMIT);
    assert_eq!((module.figures().timeouts, module.figures().deaths), (1, 0));
    assert!(!runs(pid));
}

#[tokio::test]
async fn a_call_that_sleeps_is_given_up_once_its_process_goes_on() {
    is_given_up_only_when_it_could_run("hang").await;
}

#[tokio::test]
async fn a_call_that_spins_is_given_up_once_its_process_goes_on() {
    is_given_up_only_when_it_could_run("spin").await;
}

#[tokio::test]
async fn a_call_that_waits_for_itself_is_given_up_once_its_process_goes_on() {
    is_given_up_only_when_it_could_run("deadlock").await;
}

/// Processes that this one has started whose words name this module.
fn children_named(hook: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let text = |file: &str| std::fs::read_to_string(process.path().join(file)).unwrap_or_default();
        let ours = text("status").contains(&format!("\nPPid:\t{}\n", std::process::id()));
        if ours && text("cmdline").contains(hook) {
            found.push(pid);
        }
    }
    found
}

#[tokio::test]
async fn one_that_is_stopped_while_it_loads_has_its_time_when_it_goes_on() {
    const LOADS_WITHIN: Duration = Duration::from_secs(2);
    let folder = tempfile::tempdir().unwrap();
    let copy = private_copy("webhooks_init_hangs", folder.path());
    let (program, module) = (ModuleProgram::at(hookline()), ModuleId::new("webhooks_init_hangs"));
    let lendable = lendable();
    // A number of its own, by which the process is found.
    let tried = probe(&program, &module, 770_077, &copy, &lendable, LOADS_WITHIN);
    let stopped = async {
        let pid = eventually("it is started", || async { children_named("init_hangs.g770077").pop() }).await;
        send_signal("STOP", pid);
        stopped_for(LOADS_WITHIN + STOP / 2).await;
        assert!(runs(pid), "it is waited for");
        send_signal("CONT", pid);
    };

    let (tried, ()) = tokio::join!(tried, stopped);

    let refusal = tried.unwrap_err();
    assert!(matches!(refusal, ProbeRefusal::TimedOut { .. }), "{refusal}");
}
