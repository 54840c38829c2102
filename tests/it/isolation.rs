//! Modules in processes of their own: what each way to die costs, and that nothing is left behind.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hookline::event::Event;
use hookline::model::ModuleId;
use hookline::module::generation::{CallFailure, Generation, IsolationMode, LibrarySource};
use hookline::module::isolated::ProcessDeath;
use hookline::module::{Firing, HookTarget};
use serde_json::{Value, json};
use tests::{
    IsolatedModule, PATIENCE, eventually, hookline, lendable, payload, private_copy, runs, send_signal,
};

const MISBEHAVING: &str = "webhooks_misbehaving";

fn told_to(misdeed: &str) -> Value {
    said(misdeed, json!("hello"))
}

fn said(misdeed: &str, say: Value) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": "acme", "Do": misdeed, "Say": say})
}

/// Payloads of a call, or the words of its failure.
fn words(answer: &Result<Vec<Firing>, CallFailure>) -> Result<Vec<Value>, String> {
    match answer {
        Ok(firings) => Ok(firings.iter().map(payload).collect()),
        Err(failure) => Err(failure.to_string()),
    }
}

#[test]
fn a_module_in_its_own_process_answers_with_all_that_it_fires() {
    let module = IsolatedModule::start(MISBEHAVING);

    let firings = module.answers(&[told_to("fire")]).remove(0).unwrap();

    let [firing] = firings.as_slice() else { panic!("one firing: {firings:?}") };
    let HookTarget::Hooks { event, account, internal_leg, filters } = &firing.target else {
        panic!("{firing:?}")
    };
    assert_eq!((event.as_str(), account.as_ref(), *internal_leg), ("misbehaving", "acme", false));
    assert!(filters.is_empty());
    assert_eq!(payload(firing), json!({"said": "hello"}));
}

#[tokio::test]
async fn a_misdeed_that_spares_the_process_has_the_same_outcome_there_as_in_the_hosts() {
    let module = IsolatedModule::start(MISBEHAVING);
    let folder = tempfile::tempdir().unwrap();
    let copy = private_copy(MISBEHAVING, folder.path());
    let source = LibrarySource { module: ModuleId::new(MISBEHAVING), number: 1, copy: &copy };
    let inside = Generation::load(source, lendable(), IsolationMode::Here, PATIENCE).await.unwrap();
    let misdeeds = [
        "fire",
        "panic",
        "panic again when dropped",
        "fail",
        "fire and fail",
        "fire what is not json",
        "fire what is not text",
        "fire without a name",
        "fire 100 MB",
        "fire 70 MB in parts",
        "fire without end",
        "speak",
        "ask for the reseller",
        "what nobody knows",
    ];
    for misdeed in misdeeds {
        let event = told_to(misdeed);
        let parsed = std::sync::Arc::new(Event::parse(event.to_string().into()).unwrap());
        let in_the_host = words(&inside.handle(&parsed));
        assert_eq!(module.answer(&event), in_the_host, "{misdeed}");
    }
    assert_eq!((module.figures().deaths, module.figures().restarts), (0, 0));
}

/// Kills processes by a misdeed in the middle of a batch, and sees that it costs this event only.
#[track_caller]
fn costs_three_processes_and_one_event(misdeed: &str, death: ProcessDeath) {
    let module = IsolatedModule::start(MISBEHAVING);
    let mut events = vec![told_to("fire"); 5];
    events.insert(2, told_to(misdeed));

    let answers = module.answers(&events);

    let Err(failure) = &answers[2] else { panic!("{misdeed}: {answers:?}") };
    assert_eq!(*failure, CallFailure::Killed { times: 3, how: death }, "{misdeed}");
    for (index, answer) in answers.iter().enumerate().filter(|(index, _)| *index != 2) {
        assert_eq!(words(answer), Ok(vec![json!({"said": "hello"})]), "{misdeed}: event {index}");
    }
    // The first death was nobody's, as the events were handed over together.
    let figures = module.figures();
    assert_eq!((figures.deaths, figures.restarts, figures.timeouts), (4, 4, 0), "{misdeed}");
    assert_eq!(words(&module.answers(&[told_to(misdeed)]).remove(0)), Err(failure.to_string()));
    assert_eq!(module.figures().deaths, 7, "{misdeed}: alone it costs three");
}

#[test]
fn an_abort_costs_three_processes_and_one_event() {
    costs_three_processes_and_one_event("abort", ProcessDeath::Signal(6));
}

#[test]
fn a_segmentation_fault_costs_three_processes_and_one_event() {
    costs_three_processes_and_one_event("segfault", ProcessDeath::Signal(11));
}

#[test]
fn an_exit_costs_three_processes_and_one_event() {
    costs_three_processes_and_one_event("exit", ProcessDeath::Exit(7));
}

#[test]
fn a_stack_overflow_costs_three_processes_and_one_event() {
    costs_three_processes_and_one_event("stack overflow", ProcessDeath::Signal(6));
}

#[test]
fn a_kill_as_for_want_of_memory_costs_three_processes_and_one_event() {
    costs_three_processes_and_one_event("kill itself", ProcessDeath::Signal(9));
}

#[test]
fn an_event_that_ends_the_process_once_is_handed_over_again_and_not_lost() {
    let module = IsolatedModule::start(MISBEHAVING);
    let mut event = told_to("abort once");
    event["Mark"] = json!(module.folder.path().join("mark"));

    assert_eq!(module.answer(&event), Ok(vec![json!({"said": "hello"})]));

    assert_eq!((module.figures().deaths, module.figures().restarts), (1, 1));
}

#[test]
fn a_process_that_is_killed_while_it_waits_costs_no_event() {
    let module = IsolatedModule::start(MISBEHAVING);
    assert_eq!(module.answer(&told_to("count")), Ok(vec![json!({"call": 1})]));
    let first = module.pid();

    send_signal("KILL", first);
    let answers = module.answers(&[told_to("count"), told_to("count")]);

    assert_eq!(words(&answers[0]), Ok(vec![json!({"call": 1})]), "another process begins anew");
    assert_eq!(words(&answers[1]), Ok(vec![json!({"call": 2})]));
    assert_ne!(module.pid(), first);
    assert_eq!((module.figures().deaths, module.figures().restarts), (1, 1));
}

#[test]
fn a_call_that_hangs_is_given_up_with_its_process_and_the_next_event_is_answered() {
    let limit = Duration::from_millis(200);
    let module = IsolatedModule::limited(MISBEHAVING, limit);
    let first = module.pid();

    let answers = module.answers(&[told_to("fire"), told_to("hang"), told_to("count")]);

    assert_eq!(words(&answers[0]), Ok(vec![json!({"said": "hello"})]));
    assert!(matches!(answers[1], Err(CallFailure::TimedOut(given)) if given == limit), "{:?}", answers[1]);
    assert_eq!(words(&answers[2]), Ok(vec![json!({"call": 1})]));
    let figures = module.figures();
    assert_eq!((figures.timeouts, figures.deaths, figures.restarts), (1, 0, 1));
    assert!(!runs(first));
}

#[test]
fn calls_that_take_almost_too_long_one_after_another_are_none_that_hangs() {
    let module = IsolatedModule::limited(MISBEHAVING, Duration::from_millis(800));
    let mut events = vec![told_to("fire"); 16];
    events.extend(vec![told_to("dawdle"); 8]);

    let answers = module.answers(&events);

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(module.figures().timeouts, 0);
}

#[test]
fn a_panic_is_told_with_message_and_place_and_spares_the_process() {
    let module = IsolatedModule::start(MISBEHAVING);
    let first = module.pid();

    let told = module.answer(&told_to("panic")).unwrap_err();

    assert!(told.starts_with("panicked at ") && told.ends_with(": told to panic"), "{told}");
    assert!(told.contains("src/lib.rs:"), "{told}");
    assert_eq!(module.pid(), first);
}

#[test]
fn nonsense_on_the_line_costs_the_process_and_one_event() {
    let module = IsolatedModule::start(MISBEHAVING);

    let answers = module.answers(&[told_to("write over the line"), told_to("fire")]);

    let told = words(&answers[0]).unwrap_err();
    assert!(told.starts_with("broke the module protocol: a frame of 4294967295 bytes"), "{told}");
    assert_eq!(words(&answers[1]), Ok(vec![json!({"said": "hello"})]));
}

#[test]
fn two_thousand_events_are_answered_in_their_order() {
    let module = IsolatedModule::start(MISBEHAVING);
    // Every seventh asks the host something while others wait in the line; some are large.
    let event = |n: usize| match n % 7 {
        0 => said("ask for the reseller", json!(n)),
        1 if n % 500 == 1 => said("fire", json!([n, "x".repeat(300_000)])),
        _ => said("fire", json!(n)),
    };
    let events: Vec<Value> = (0..2000).map(event).collect();

    let answers = module.answers(&events);

    for (n, answer) in answers.iter().enumerate() {
        let mut expected = json!({"said": events[n]["Say"]});
        if n % 7 == 0 {
            expected["reseller"] = json!("boss");
        }
        assert_eq!(words(answer), Ok(vec![expected]), "event {n}");
    }
    assert_eq!(module.figures().deaths, 0);
}

#[test]
fn what_a_module_logs_and_writes_is_in_the_hosts_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || {
        let module = IsolatedModule::start(MISBEHAVING);
        assert_eq!(module.answer(&told_to("speak")), Ok(vec![]));
        assert!(module.answer(&told_to("abort")).is_err());
    });

    let log = log.text();
    let line = |words: &[&str]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(
        line(&["WARN", "a module speaks", "told to speak", "webhooks_misbehaving", "generation=1"]),
        "{log}"
    );
    assert!(line(&["WARN", "a module's process has died", "SIGABRT (abort)", "about to abort"]), "{log}");
}

#[test]
fn a_module_that_writes_and_writes_is_not_held_up() {
    let module = IsolatedModule::start(MISBEHAVING);
    assert_eq!(module.answer(&told_to("write 10 MB")), Ok(vec![]));
    assert_eq!(module.figures().deaths, 0);
}

#[derive(Clone, Default)]
struct Log(Arc<std::sync::OnceLock<tempfile::NamedTempFile>>);

impl Log {
    fn file(&self) -> &tempfile::NamedTempFile {
        self.0.get_or_init(|| tempfile::NamedTempFile::new().unwrap())
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file().path()).unwrap()
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = std::fs::File;

    fn make_writer(&self) -> std::fs::File {
        std::fs::OpenOptions::new().append(true).open(self.file().path()).unwrap()
    }
}

#[test]
fn the_process_has_nothing_of_its_starter_but_a_few_variables() {
    let module = IsolatedModule::start(MISBEHAVING);

    let around = module.answer(&told_to("look around")).unwrap().remove(0);

    let kept = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "RUST_BACKTRACE"];
    for name in around["environment"].as_array().unwrap() {
        assert!(kept.contains(&name.as_str().unwrap()), "{name}");
    }
    // The standard three, the line in two copies, the lifeline, and the folder that is being read.
    assert_eq!(around["descriptors"], 7, "{around}");
}

#[test]
fn signals_that_mean_the_host_do_not_end_its_modules() {
    let module = IsolatedModule::start(MISBEHAVING);
    let pid = module.pid();

    for signal in ["TERM", "INT", "HUP"] {
        send_signal(signal, pid);
    }

    assert_eq!(module.answer(&told_to("fire")), Ok(vec![json!({"said": "hello"})]));
    assert_eq!(module.pid(), pid);
}

#[test]
fn stopping_ends_the_process_and_later_events_are_told_so() {
    let module = IsolatedModule::start(MISBEHAVING);
    let pid = module.pid();

    module.isolated.stop(PATIENCE);

    assert!(!runs(pid));
    assert_eq!(module.figures().pid, None);
    assert_eq!(module.answer(&told_to("fire")), Err("is not running".to_owned()));
}

#[test]
fn stopping_does_not_wait_for_a_call_that_hangs() {
    let module = IsolatedModule::start(MISBEHAVING);
    let pid = module.pid();
    let isolated = Arc::clone(&module.isolated);
    let (begun, begins) = std::sync::mpsc::channel();

    let hanging = std::thread::spawn(move || {
        let event = |event: Value| Arc::new(Event::parse(event.to_string().into()).unwrap());
        let mut answers = Vec::new();
        isolated.handle(
            &[event(told_to("fire")), event(told_to("hang")), event(told_to("fire"))],
            &mut |_, answer| {
                answers.push(words(&answer));
                // The test has failed and waits no more.
                begun.send(()).ok();
            },
        );
        answers
    });
    // An answer does not wait for the call behind it.
    begins.recv_timeout(PATIENCE / 4).unwrap();
    module.isolated.stop(Duration::from_millis(50));

    let stopped = Err("is not running".to_owned());
    assert_eq!(hanging.join().unwrap(), [Ok(vec![json!({"said": "hello"})]), stopped.clone(), stopped]);
    assert!(!runs(pid));
}

#[tokio::test]
async fn dropping_it_kills_the_process_and_what_the_module_started() {
    let module = IsolatedModule::start(MISBEHAVING);
    let pid = module.pid();
    let sleeper = module.answer(&told_to("start a sleeper")).unwrap()[0]["pid"].as_u64().unwrap();
    let sleeper = u32::try_from(sleeper).unwrap();
    assert!(runs(pid) && runs(sleeper));

    drop(module);

    assert!(!runs(pid));
    eventually("the sleeper is gone", || async { (!runs(sleeper)).then_some(()) }).await;
}

/// Set where a test runs itself once more, in a process that plays the host.
const PLAY: &str = "HOOKLINE_TEST_PLAY_THE_HOST";

/// This test program, told to run one of its tests as a host.
fn played(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("isolation::{test}"), "--nocapture"]).env(PLAY, "yes");
    command
}

#[tokio::test]
async fn a_killed_host_leaves_no_process_of_a_module_even_of_one_that_hangs() {
    if std::env::var_os(PLAY).is_some() {
        let module = IsolatedModule::start(MISBEHAVING);
        let sleeper = module.answer(&told_to("start a sleeper")).unwrap()[0]["pid"].clone();
        println!("\nprocesses {} {sleeper}", module.pid());
        _ = module.answers(&[told_to("hang")]);
        return;
    }
    let test = "a_killed_host_leaves_no_process_of_a_module_even_of_one_that_hangs";
    let mut host = played(test).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.starts_with("processes ")).unwrap();
    let pids: Vec<u32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| runs(*pid)), "{pids:?}");

    host.kill().unwrap();
    host.wait().unwrap();

    for pid in pids {
        eventually("the process is gone", || async { (!runs(pid)).then_some(()) }).await;
    }
}

#[test]
fn a_hundred_deaths_leave_no_zombie_no_thread_and_no_descriptor() {
    let test = "a_hundred_deaths_leave_no_zombie_no_thread_and_no_descriptor";
    if std::env::var_os(PLAY).is_none() {
        let played = played(test).output().unwrap();
        assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stdout));
        return;
    }
    let entries = |folder: &str| -> HashSet<String> {
        let name =
            |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        std::fs::read_dir(folder).unwrap().map(name).collect()
    };
    let held = || (entries("/proc/self/fd").len(), entries("/proc/self/task").len(), children().len());
    // Its thread stays as long as the process.
    hookline::stall::counts();
    let before = held();
    for n in 0..100 {
        let module = IsolatedModule::start(MISBEHAVING);
        let mut event = told_to("abort once");
        event["Mark"] = json!(module.folder.path().join("mark"));
        if n % 10 == 0 {
            assert!(module.answer(&event).is_ok());
        }
        send_signal("KILL", module.pid());
    }
    assert_eq!(held(), before);
}

/// This process's children, zombies too.
fn children() -> Vec<String> {
    let mut all = String::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let file = task.unwrap().path().join("children");
        // The thread may have ended meanwhile.
        if let Ok(mut file) = std::fs::File::open(file) {
            file.read_to_string(&mut all).unwrap();
        }
    }
    all.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_word_for_a_modules_process_is_of_no_use_to_people() {
    let said = Command::new(hookline()).arg("_module-child").stdin(Stdio::null()).output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    let told = String::from_utf8(said.stderr).unwrap();
    assert!(told.starts_with("hookline: module-child is a part of the host, not a command"), "{told}");
    let help = Command::new(hookline()).arg("--help").output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("module-child"));
}
