//! The built program, as people and scripts run it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use tests::{Home, Program, Receiver, cdylib, ended, eventually, say, say_with_input};
use tokio::process::Command;

const MODULE: &[&str] = &["webhooks_misbehaving"];

fn path_of(module: &str) -> String {
    cdylib(module).display().to_string()
}

fn event(account: &str, misdeed: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": misdeed, "Say": "hello"})
}

#[tokio::test]
async fn run_prints_where_it_listens_and_ends_well_at_a_signal() {
    for signal in ["TERM", "INT"] {
        let program = Home::new("", MODULE).start().await;
        let (url, mode) = (program.url().to_owned(), token_mode(&program));

        let (said, _) = program.signalled(signal).await;

        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(said.out, format!("listening on {url}\n"));
        assert_eq!(mode, 0o600);
    }
}

fn token_mode(program: &Program) -> u32 {
    let file = std::fs::metadata(program.folder().join("data/admin.token")).unwrap();
    file.permissions().mode() & 0o777
}

#[tokio::test]
async fn check_tells_what_a_module_is() {
    let out = say(&["check", &path_of("webhooks_misbehaving")]).await.success();

    for part in ["webhooks_misbehaving 1.0.0 (ABI 1.1", "tests misbehave.#", "misbehave *"] {
        assert!(out.contains(part), "{part} is missing in {out}");
    }
    let as_json = say(&["check", "--json", &path_of("webhooks_misbehaving")]).await.success();
    let description: Value = serde_json::from_str(&as_json).unwrap();
    assert_eq!(description["responders"], json!([{"category": "misbehave", "name": "*"}]));
}

#[tokio::test]
async fn check_fails_with_one_line_for_each_file_that_would_be_refused() {
    let good = path_of("webhooks_misbehaving");

    let said = say(&["check", &good, &path_of("no_module"), "/dev/null", "/no/such/file.so"]).await;

    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("webhooks_misbehaving 1.0.0"));
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines.len(), 3, "{}", said.err);
    assert!(lines[0].contains("does not export HOOKLINE_MODULE_MANIFEST"));
    assert!(lines[1].starts_with("/dev/null is a device"));
    assert!(lines[2].starts_with("/no/such/file.so cannot be looked at: No such file"));
}

#[tokio::test]
async fn try_prints_the_requests_and_sends_nothing() {
    let home = Home::new("", &[]);
    let write = |name: &str, value: &Value| std::fs::write(home.path(name), value.to_string()).unwrap();
    write(
        "hooks.json",
        &json!([
            {"_id": "h1", "pvt_account_id": "a1", "hook": "misbehaving", "uri": "http://example.invalid/x", "format": "json"},
            {"_id": "h2", "pvt_account_id": "a1", "hook": "another", "uri": "http://example.invalid/y"},
        ]),
    );
    write("accounts.json", &json!([{"_id": "a1", "pvt_tree": []}]));
    let file = |name: &str| home.path(name).display().to_string();
    let (module, hooks, accounts) =
        (path_of("webhooks_misbehaving"), file("hooks.json"), file("accounts.json"));
    let args = [
        "try",
        "--plugin",
        &module,
        "--event",
        "-",
        "--hooks",
        &hooks,
        "--accounts",
        &accounts,
        "--cluster-id",
        "c1",
    ];

    let out = say_with_input(&args, &event("a1", "fire").to_string()).await.success();
    let none = say_with_input(&args, &event("unknown", "fire").to_string()).await.success();
    let failed = say_with_input(&args, &event("a1", "panic").to_string()).await.one_line_failure();

    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["hook_id"], "h1");
    assert_eq!(lines[0]["method"], "post");
    assert_eq!(lines[0]["url"], "http://example.invalid/x");
    assert_eq!(lines[0]["headers"]["x-account-id"], "a1");
    assert_eq!(lines[0]["body"], r#"{"said":"hello","cluster_id":"c1"}"#);
    assert_eq!(none, "");
    assert!(failed.contains("panicked at") && failed.contains("told to panic"), "{failed}");
}

/// A host with an account and a hook, and where to reach it.
async fn serving(receiver: &Receiver) -> (Program, String, String) {
    let program = Home::new("", MODULE).start().await;
    let http = reqwest::Client::new();
    let put = |path: String, data: Value| {
        let request = http.put(format!("{}{path}", program.url())).header("x-auth-token", program.token());
        async move { request.json(&json!({"data": data})).send().await.unwrap().json::<Value>().await.unwrap() }
    };
    let account = put("/v2/accounts".to_owned(), json!({"name": "acme"})).await["data"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let hook = json!({"name": "h", "hook": "misbehaving", "uri": receiver.url("/"), "format": "json"});
    put(format!("/v2/accounts/{account}/webhooks"), hook).await;
    let data = program.folder().join("data").display().to_string();
    (program, account, data)
}

#[tokio::test]
async fn publish_puts_events_onto_the_bus_of_a_running_host() {
    let mut receiver = Receiver::answering(200).await;
    let (program, account, data) = serving(&receiver).await;
    let url = program.url();
    let file = program.folder().join("event.json");
    std::fs::write(&file, event(&account, "fire").to_string()).unwrap();
    let file = file.display().to_string();
    let lines = format!("{}\n{}\n", event(&account, "fire"), event(&account, "fire"));

    say(&["publish", &file, "--url", url, "--data", &data]).await.success();
    say_with_input(&["publish", "--url", url, "--data", &data], &lines).await.success();
    let routed = [
        "publish",
        &file,
        "--url",
        url,
        "--data",
        &data,
        "--exchange",
        "tests",
        "--routing-key",
        "misbehave.x",
    ];
    say(&routed).await.success();

    for _ in 0..4 {
        assert_eq!(receiver.next_request().await.json()["said"], "hello");
    }
    let nowhere =
        ["publish", &file, "--url", url, "--data", &data, "--exchange", "tests", "--routing-key", "nobody"];
    let unroutable = say(&nowhere).await.one_line_failure();
    assert!(unroutable.contains("bound"), "{unroutable}");
    let malformed = say_with_input(&["publish", "--url", url, "--data", &data], "{\"Event-Name\": 1}").await;
    assert_ne!(malformed.code, Some(0));
}

#[tokio::test]
async fn a_test_is_suggested_of_a_hook_until_something_is_sent_to_it() {
    let mut receiver = Receiver::answering(200).await;
    let (program, account, data) = serving(&receiver).await;
    let client = ["--url", program.url(), "--data", &data];
    let next = async || say(&[&["next"][..], &client].concat()).await.success();

    let before = next().await;
    let publish = [&["publish"][..], &client].concat();
    say_with_input(&publish, &event(&account, "fire").to_string()).await.success();
    receiver.next_request().await;

    assert!(before.contains(&format!("\n  hookline hooks test --account {account} --hook ")), "{before}");
    // Of a success no attempt is on record.
    eventually("the suggestion goes", async || (!next().await.contains("hooks test")).then_some(())).await;
}

#[tokio::test]
async fn modules_and_hooks_are_listed_as_tables_and_as_json() {
    let receiver = Receiver::answering(200).await;
    let (program, account, data) = serving(&receiver).await;
    let client = ["--url", program.url(), "--data", &data];
    let list = |words: &[&'static str]| [words, &client[..]].concat();

    let modules = say(&list(&["modules", "list"])).await.success();
    let shown = say(&list(&["modules", "show", "webhooks_misbehaving"])).await.success();
    let as_json = say(&list(&["modules", "list", "--json"])).await.success();
    let hooks = say(&list(&["hooks", "list"])).await.success();
    let of_account = say(&[&["hooks", "--account", &account], &client[..]].concat()).await.success();

    assert!(modules.contains("webhooks_misbehaving") && modules.contains("active"), "{modules}");
    assert!(shown.contains("misbehave"), "{shown}");
    let as_json: Value = serde_json::from_str(&as_json).unwrap();
    let ids: Vec<&Value> = as_json["data"].as_array().unwrap().iter().map(|module| &module["id"]).collect();
    assert_eq!(ids, ["webhooks_misbehaving"], "{as_json}");
    assert!(hooks.contains(&account) && hooks.contains("found 1 webhooks"), "{hooks}");
    assert!(of_account.contains(&receiver.url("/")), "{of_account}");
}

#[tokio::test]
async fn commands_that_cannot_reach_the_host_say_so_in_one_line() {
    let receiver = Receiver::answering(200).await;
    let (program, _, _) = serving(&receiver).await;

    let nobody =
        say(&["modules", "list", "--url", "http://127.0.0.1:1", "--token", "x"]).await.one_line_failure();
    let wrong =
        say(&["modules", "list", "--url", program.url(), "--token", "wrong"]).await.one_line_failure();

    assert!(nobody.contains("cannot reach the host at http://127.0.0.1:1"), "{nobody}");
    assert!(wrong.contains("invalid_credentials") || wrong.contains("token"), "{wrong}");
}

#[tokio::test]
async fn every_command_has_its_help() {
    for command in
        ["run", "check", "try", "new", "publish", "modules", "hooks", "config", "completions", "man"]
    {
        let help = say(&[command, "--help"]).await.success();
        assert!(help.contains("Usage: hookline"), "{command}: {help}");
    }
}

#[tokio::test]
async fn shells_complete_the_words_of_the_program() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = say(&["completions", shell]).await.success();
        assert!(script.contains("hookline") && script.contains("publish"), "{shell}: {script}");
    }
    let script = say(&["completions", "bash"]).await.success();
    let asks =
        "COMP_WORDS=(hookline mod) COMP_CWORD=1; _hookline hookline mod hookline; echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(format!("{script}\n{asks}"));

    assert_eq!(ended(bash).await.success(), "modules\n");
    let unknown = say(&["completions", "tcsh"]).await;
    assert!(
        unknown.err.contains("[possible values: bash, elvish, fish, powershell, zsh]"),
        "{}",
        unknown.err
    );
}

#[tokio::test]
async fn every_command_has_its_page_in_the_manual() {
    let page = say(&["man"]).await.success();
    for part in [".TH hookline 1", "hookline\\-run(1)", "hookline\\-modules(1)"] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    let of_try = say(&["man", "try"]).await.success();
    assert!(of_try.contains(".TH hookline-try 1") && of_try.contains("\\-\\-plugin"), "{of_try}");
    let nested = say(&["man", "modules", "show"]).await.success();
    assert!(nested.contains("hookline\\-modules\\-show"), "{nested}");
    let unknown = say(&["man", "nothing"]).await.one_line_failure();
    assert!(unknown.contains("there is no page on \"nothing\""), "{unknown}");
    let help = say(&["--help"]).await.success();
    assert!(help.contains("completions") && !help.contains("  man"), "{help}");
}

/// Commands without `--json`, and why.
const NO_JSON: [(&str, &str); 3] = [
    ("run", "it goes on; its log can be JSON"),
    ("try", "it prints JSON anyway, one request a line"),
    ("completions", "it prints what a shell reads"),
];

#[tokio::test]
async fn whatever_answers_something_can_answer_json() {
    let folder = tempfile::tempdir().unwrap();
    say(&["man", "--all", &folder.path().display().to_string()]).await.success();
    let pages = std::fs::read_dir(folder.path()).unwrap().map(|page| page.unwrap());
    let pages: Vec<(String, String)> = pages
        .map(|page| {
            let name = page.file_name().into_string().unwrap();
            (name.trim_end_matches(".1").to_owned(), std::fs::read_to_string(page.path()).unwrap())
        })
        .collect();
    let has_words = |command: &str| pages.iter().any(|(name, _)| name.starts_with(&format!("{command}-")));
    // Whatever is no more than the beginning of longer ones answers nothing itself.
    let commands: Vec<_> = pages.iter().filter(|(name, _)| !has_words(name)).collect();
    assert!(commands.len() > 25, "{commands:?}");
    for (name, page) in commands {
        let words = name.strip_prefix("hookline-").unwrap();
        let reason = NO_JSON.iter().find(|(command, _)| *command == words);
        let json = page.contains("\\-\\-json");
        assert!(json != reason.is_some(), "{words}: --json {json}, reason against it: {reason:?}");
    }
}

/// What a command prints is one JSON object, whatever its exit code.
async fn object(words: &[&str]) -> Value {
    let said = say(&[words, &["--json"]].concat()).await;
    let object: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{words:?}: {said:?}"));
    assert!(object.is_object(), "{words:?}: {object}");
    object
}

#[tokio::test]
async fn what_commands_did_is_an_object_for_programs() {
    let host = Home::new("", &["webhooks_misbehaving"]).start().await;
    let (url, token) = (host.url().to_owned(), host.token());
    let client = ["--url", url.as_str(), "--token", token.as_str()];
    let ask = async |words: &[&str]| object(&[words, &client[..]].concat()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("events"), format!("{0}\n{0}\n", event("a", "nothing"))).unwrap();

    assert_eq!(ask(&["publish", &path("events")]).await, json!({"accepted": 2}));

    let backup = ask(&["backup", &path("backup")]).await;
    let bytes = std::fs::metadata(path("backup")).unwrap().len();
    assert_eq!((&backup["file"], &backup["bytes"]), (&path("backup").into(), &bytes.into()), "{backup}");
    let restored = object(&["restore", &path("backup"), "--data", &path("data")]).await;
    assert_eq!(restored["contents"], backup["contents"]);
    assert_eq!((&restored["data"], &restored["put_aside"]), (&path("data").into(), &Value::Null));
    assert_eq!(restored["needs_secrets_key"], false);
    let again = object(&["restore", &path("backup"), "--data", &path("data")]).await;
    assert!(Path::new(again["put_aside"].as_str().unwrap()).exists(), "{again}");

    assert_eq!(
        object(&["health", "--url", &url]).await,
        json!({"ready": true, "reasons": [], "degraded": []})
    );
    assert_eq!(
        object(&["health", "--alive", "--url", &url]).await,
        json!({"alive": true, "reasons": [], "degraded": []})
    );
    let gone = object(&["health", "--url", "http://127.0.0.1:1"]).await;
    assert_eq!(gone["ready"], false);
    assert!(gone["reasons"][0].as_str().unwrap().starts_with("cannot reach the host at "), "{gone}");

    let next = ask(&["next"]).await;
    assert!(next["says"].as_str().unwrap().contains("no hooks"), "{next}");
    let commands = next["next"].as_array().unwrap();
    assert_eq!(commands[0]["command"], "hookline modules");
    assert!(commands.iter().all(|next| next["does"].is_string()), "{next}");

    let new = object(&["new", "doorbell", "--dir", &path("doorbell")]).await;
    assert_eq!((&new["id"], &new["folder"]), (&"webhooks_doorbell".into(), &path("doorbell").into()));
    for file in new["files"].as_array().unwrap() {
        assert!(folder.path().join("doorbell").join(file.as_str().unwrap()).exists(), "{file}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_ready_says_why_in_json_too() {
    let away = "[bus]\nkind = \"amqp\"\nuri = \"amqp://127.0.0.1:1\"\n";
    let waiting = Home::new(away, &[]).start().await;
    let said = say(&["health", "--json", "--url", waiting.url()]).await;
    let health: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &health["ready"]), (Some(1), &false.into()));
    assert!(!health["reasons"].as_array().unwrap().is_empty(), "{health}");
    assert!(said.err.starts_with("hookline: not ready: "), "{}", said.err);
}
