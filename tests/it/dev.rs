//! The author's loop: `hookline dev` from a new module to its firing, and on from change to change.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Answer, Said, done, eventually, program, runs, scratch, send_signal, shell};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::terminal::at_terminal;

/// How long a build may take that begins with nothing; generous, as machines that run tests are busy.
const PATIENCE_WITH_BUILDS: Duration = Duration::from_mins(10);

/// A new module, and a folder for what is there for a while only.
struct AuthorDesk {
    root: TempDir,
    module: PathBuf,
}

impl AuthorDesk {
    /// Each name once: modules of all tests are built into one folder.
    async fn with_module(name: &str) -> Self {
        let desk = Self::empty(&format!("webhooks_{name}"));
        std::fs::remove_dir(&desk.module).unwrap();
        done(shell(desk.root.path(), &format!("hookline new {name}"))).await;
        desk
    }

    fn empty(folder: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let module = root.path().join(folder);
        std::fs::create_dir(&module).unwrap();
        std::fs::create_dir(root.path().join("tmp")).unwrap();
        AuthorDesk { root, module }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.module.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes a file of the module anew, with one text in the place of another.
    fn replace(&self, path: &str, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.module.join(path)).unwrap();
        assert!(text.contains(old), "{path} has no {old}: {text}");
        self.write(path, &text.replace(old, new));
    }

    /// What is left in the folder for what is there for a while.
    fn left_behind(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root.path().join("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn command(&self, words: &str) -> Command {
        let mut command = shell(&self.module, words);
        command.env("TMPDIR", self.root.path().join("tmp"));
        command
    }

    /// `hookline dev` in the module's folder, at work.
    fn start(&self, words: &str) -> RunningLoop {
        RunningLoop::of(self.command(&format!("exec hookline dev --json {words}")))
    }
}

/// A loop at work, which tells its steps as JSON.
struct RunningLoop {
    child: Child,
    steps: Lines<BufReader<ChildStdout>>,
}

impl RunningLoop {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let steps = BufReader::new(child.stdout.take().unwrap()).lines();
        RunningLoop { child, steps }
    }

    /// Every step up to the next one of this name.
    async fn until(&mut self, step: &str) -> Vec<Value> {
        let mut steps = Vec::new();
        loop {
            let line = tokio::time::timeout(PATIENCE_WITH_BUILDS, self.steps.next_line()).await;
            let line = line.expect("it should have said something by now").unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended before {step}: {steps:?}"));
            steps.push(serde_json::from_str::<Value>(&line).unwrap_or_else(|_| panic!("no JSON: {line}")));
            if steps.last().unwrap()["step"] == step {
                return steps;
            }
        }
    }

    async fn end(&mut self, signal: &str) -> Option<i32> {
        send_signal(signal, self.child.id().unwrap());
        let status = tokio::time::timeout(PATIENCE_WITH_BUILDS, self.child.wait()).await;
        status.expect("it should have ended by now").unwrap().code()
    }
}

fn last(steps: &[Value]) -> &Value {
    steps.last().unwrap()
}

fn of<'s>(steps: &'s [Value], step: &str) -> Vec<&'s Value> {
    steps.iter().filter(|said| said["step"] == step).collect()
}

fn diff_of(steps: &[Value], event: &str) -> Vec<String> {
    let event = of(steps, "event").into_iter().find(|said| said["event"] == event).unwrap();
    event["diff"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

const GREETED: &str = "tests/events/greeted.json";

#[tokio::test]
async fn one_command_leads_from_a_new_module_to_its_firing() {
    let desk = AuthorDesk::with_module("tide_once").await;

    let said = done(desk.command("hookline dev --once")).await;

    for part in [
        "webhooks_tide_once serves as generation 1 after ",
        "\ntests/events/greeted.json\n  tide_once/greeted\n  fires tide_once for acct1, mood \"sunny\"\n    POST /acct1\n",
        "\n      webhook-id: (another each time)\n",
        "\n      x-account-id: acct1\n",
        "\n        \"greeting\": \"hello\",\n",
        "\nran 1 event in ",
        ": 1 firing, 1 request\n",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    assert!(!said.contains('\u{1b}'), "{said}");
    assert_eq!(desk.left_behind(), Vec::<PathBuf>::new());

    let scratch = scratch().display().to_string();
    let folder = desk.module.display().to_string();
    let variables = [("CARGO_TARGET_DIR", scratch.as_str()), ("CARGO_NET_OFFLINE", "true")];
    let coloured = at_terminal(100, &["dev", &folder, "--once"], &variables).await;
    assert!(coloured.contains("\u{1b}[1mtests/events/greeted.json\u{1b}[0m\n"), "{coloured:?}");
    let variables = [&variables[..], &[("NO_COLOR", "1")]].concat();
    let plain = at_terminal(100, &["dev", &folder, "--once"], &variables).await;
    assert!(plain.contains("\ntests/events/greeted.json\n"), "{plain:?}");
}

#[tokio::test]
async fn a_change_shows_what_is_another_and_a_broken_one_leaves_the_last_good_one_serving() {
    let desk = AuthorDesk::with_module("tide_turns").await;
    let mut at_work = desk.start("");
    let first = at_work.until("run").await;
    let (host, run) = (&of(&first, "host")[0], last(&first));
    assert_eq!((&run["firings"], &run["requests"], &run["changed"]), (&1.into(), &1.into(), &Value::Null));
    let (url, data) = (host["url"].as_str().unwrap().to_owned(), host["data"].as_str().unwrap().to_owned());

    desk.replace(
        "src/lib.rs",
        ".str(\"greeting\", greeting)",
        ".str(\"greeting\", &greeting.to_uppercase())",
    );
    let changed = at_work.until("run").await;
    assert_eq!(of(&changed, "change")[0]["files"], json!(["src/lib.rs"]));
    let diff = diff_of(&changed, GREETED);
    let differs: Vec<&String> = diff.iter().filter(|line| line.starts_with(['-', '+'])).collect();
    assert_eq!(differs, ["-      \"greeting\": \"hello\",", "+      \"greeting\": \"HELLO\","], "{diff:?}");
    assert_eq!(last(&changed)["changed"], 1);

    desk.replace("src/lib.rs", "/// Describes the module", "/// Tells of the module");
    let unchanged = at_work.until("run").await;
    assert_eq!((&last(&unchanged)["changed"], diff_of(&unchanged, GREETED)), (&0.into(), Vec::new()));
    let generation = of(&unchanged, "load")[0]["generation"].clone();

    desk.replace("src/lib.rs", "fn handle_event", "fn handle_event is broken");
    let broken = at_work.until("build").await;
    assert_eq!(last(&broken)["ok"], false);
    let token = std::fs::read_to_string(Path::new(&data).join("admin.token")).unwrap();
    let asked = reqwest::Client::new().get(format!("{url}/modules")).header("x-auth-token", token.trim());
    let modules = Answer::of(asked).await.json;
    assert_eq!(
        (&modules["data"][0]["generation"], &modules["data"][0]["state"]),
        (&generation, &"active".into())
    );

    desk.write("tests/events/second.json", &std::fs::read_to_string(desk.module.join(GREETED)).unwrap());
    desk.replace("src/lib.rs", "fn handle_event is broken", "fn handle_event");
    // Each of the two changes may have been seen on its own.
    let mended = loop {
        let round = at_work.until("build").await;
        if last(&round)["ok"] == true {
            break at_work.until("run").await;
        }
    };
    assert_eq!((&last(&mended)["events"], &last(&mended)["changed"]), (&2.into(), &1.into()), "{mended:?}");
    assert!(diff_of(&mended, "tests/events/second.json").iter().all(|line| line.starts_with(['+', '@'])));

    assert_eq!(at_work.end("TERM").await, Some(0));
    assert_eq!(desk.left_behind(), Vec::<PathBuf>::new());
}

/// What the module does with an event, by its `Greeting`.
const MISDEEDS: &str = r##"
        match event.required_str("Greeting")? {
            "panic" => panic!("told to panic"),
            "hang" => loop {
                std::thread::park();
            },
            "abort" => std::process::abort(),
            "shout" => (0..20_000).for_each(|n| eprintln!("line {n}")),
            "log" => (0..1_000).for_each(|_| host.log(Level::Info, &"word ".repeat(1_000))),
            "many" | "some" => {
                let most = if event.str("Greeting") == Some("many") { 100_000 } else { 900 };
                for n in 0..most {
                    let payload = JsonWriter::object().str("n", &n.to_string()).finish();
                    host.fire(&Firing::new("tide_errs", "acct1"), &payload);
                }
                return Ok(());
            }
            "large" => {
                let payload = JsonWriter::object().str("text", &"word ".repeat(1_000_000)).finish();
                host.fire(&Firing::new("tide_errs", "acct1"), &payload);
                return Ok(());
            }
            "carried" => {
                let hook = r#"{"_id": "h9", "pvt_account_id": "acct1", "hook": "x", "uri": "http://1.1.1.1/x"}"#;
                assert!(host.fire_at(hook.as_bytes(), &JsonWriter::object().str("to", "x").finish()));
                return Ok(());
            }
            "elsewhere" => {
                host.fire(&Firing::new("another", "acct1"), &JsonWriter::object().str("to", "y").finish());
                return Ok(());
            }
            "now" => {
                let payload = JsonWriter::object().str("at", &host.now_ms().to_string()).finish();
                host.fire(&Firing::new("tide_errs", "acct1"), &payload);
                return Ok(());
            }
            _ => {}
        }
"##;

#[tokio::test]
async fn a_module_that_misbehaves_is_shown_and_ends_nothing() {
    let desk = AuthorDesk::with_module("tide_errs").await;
    let before = "        // An error says what is wrong to the operator;";
    desk.replace("src/lib.rs", before, &format!("{MISDEEDS}{before}"));
    std::fs::remove_file(desk.module.join(GREETED)).unwrap();
    let kinds = [
        "abort",
        "hang",
        "hang",
        "hang",
        "hang",
        "large",
        "log",
        "many",
        "panic",
        "shout",
        "some",
        "well",
        "carried",
        "elsewhere",
        "now",
    ];
    for (n, greeting) in kinds.iter().enumerate() {
        let event = json!({
            "Event-Category": "tide_errs", "Event-Name": "greeted", "Account-ID": "acct1", "Greeting": greeting,
        });
        desk.write(&format!("tests/events/{n:02}_{greeting}.json"), &event.to_string());
    }
    desk.write("short.toml", "[modules]\ncall_timeout_ms = 2000\n");

    let mut command = desk.command("hookline dev --once --json --config short.toml");
    command.env("CARGO_TERM_QUIET", "true");
    let said = Said::of(tokio::time::timeout(PATIENCE_WITH_BUILDS, command.output()).await.unwrap().unwrap());

    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.len() < 2_000_000, "it printed {} bytes", said.out.len());
    let steps: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = |n: usize| {
        let name = format!("tests/events/{n:02}_{}.json", kinds[n]);
        *of(&steps, "event").iter().find(|step| step["event"] == name.as_str()).unwrap()
    };
    for (n, says) in [
        (0, "ended its process 3 times over this event"),
        (1, "did not answer within 2000 ms"),
        (3, "did not answer within 2000 ms"),
        (4, "did not answer within 2000 ms"),
        (7, "fired more than 1000 times for one event"),
        (8, "told to panic"),
    ] {
        let failure = event(n)["failure"].as_str().unwrap_or_default();
        assert!(failure.contains(says), "{}: {}", kinds[n], event(n));
    }
    for (n, firings) in [(5, 1), (6, 1), (9, 1), (10, 900), (11, 1), (14, 1)] {
        let event = event(n);
        assert_eq!(
            (&event["failure"], &event["firings"], &event["requests"]),
            (&Value::Null, &firings.into(), &firings.into()),
            "{event}"
        );
    }
    let shown = |n: usize| event(n)["shown"][0].clone();
    let carried = shown(12);
    assert!(carried["note"].as_str().unwrap().starts_with("not sent: "), "{carried}");
    assert_eq!(carried["requests"][0]["to"], "http://1.1.1.1/x");
    assert_eq!(carried["requests"][0]["arrived"], false);
    let elsewhere = shown(13);
    assert!(elsewhere["note"].as_str().unwrap().contains("\"tide_errs\", the name in its id"), "{elsewhere}");
    assert_eq!(elsewhere["payload"], "{\n  \"to\": \"y\"\n}");
    let now = shown(14)["requests"][0]["body"].clone();
    assert!(now.as_str().unwrap().contains("\"at\": (now),\n"), "{now}");
    assert!(steps.iter().any(|step| step["line"].as_str().is_some_and(|line| line.ends_with(" more lines"))));
    assert_eq!(last(&steps)["failed"], 7, "{}", last(&steps));
    assert_eq!(desk.left_behind(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_build_ends_the_build_too() {
    for signal in ["TERM", "INT", "HUP"] {
        let desk = AuthorDesk::empty("slow");
        desk.write("Cargo.toml", "");
        desk.write(
            "cargo",
            "#!/bin/sh\necho $$ > pid.new\nmv pid.new pid\nsleep 1000 &\necho $! > child\nwait\n",
        );
        done(desk.command("chmod +x cargo")).await;
        let mut command = desk.command("exec hookline dev --json");
        command.env("CARGO", desk.module.join("cargo"));
        let mut at_work = RunningLoop::of(command);
        let pid = |name: &'static str| {
            let file = desk.module.join(name);
            async move { std::fs::read_to_string(file).ok()?.trim().parse::<u32>().ok() }
        };
        at_work.until("host").await;
        let building = eventually("the build begins", || pid("pid")).await;
        let child = eventually("the build has a process of its own", || pid("child")).await;

        assert_eq!(at_work.end(signal).await, Some(0), "{signal}");

        let gone = || async { (!runs(building) && !runs(child)).then_some(()) };
        eventually("the build has ended", gone).await;
        assert_eq!(desk.left_behind(), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn what_is_no_module_is_told_in_one_line() {
    let desk = AuthorDesk::empty("nothing");
    let says = async |words: &[&str]| {
        let mut command = program(words);
        command.current_dir(&desk.module);
        tests::ended(command).await.one_line_failure()
    };

    let nothing = says(&["dev", "--once"]).await;
    let missing = says(&["dev", "none"]).await;
    desk.write("Cargo.toml", "[package]\nname = \"plain\"\n[workspace]\n");
    desk.write("wrong.toml", "nothing = 1\n");
    let wrong = says(&["dev", "--config", "wrong.toml"]).await;

    assert!(
        nothing.contains("there is no Cargo.toml in .; `hookline new NAME` writes a module"),
        "{nothing}"
    );
    assert!(missing.contains("looking at the folder none: No such file"), "{missing}");
    assert!(wrong.contains("nothing"), "{wrong}");
}

#[tokio::test]
async fn a_crate_that_is_no_module_says_what_is_missing() {
    let desk = AuthorDesk::empty("plain");
    desk.write("Cargo.toml", "[package]\nname = \"tide_plain\"\nedition = \"2024\"\n[workspace]\n");
    desk.write("src/lib.rs", "//! Nothing.\n");
    let mut command = desk.command("exec hookline dev --once");
    let output = tokio::time::timeout(PATIENCE_WITH_BUILDS, command.output()).await.unwrap().unwrap();
    let said = Said::of(output);
    assert_eq!(said.code, Some(1));
    let last = said.err.lines().last().unwrap();
    assert!(last.contains("a module has [lib] crate-type = [\"cdylib\", \"rlib\"]"), "{last}");
}
