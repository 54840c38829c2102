//! What people see at a terminal, and programs that read what commands print.

use serde_json::json;
use tests::{Answer, Home, Program, ended, eventually, program, say};
use tokio::process::Command;

/// Runs a command at a terminal of so many columns and prints what it shows there.
const TERMINAL: &str = r#"
import fcntl, os, struct, subprocess, sys, termios
master, slave = os.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(sys.argv[1]), 0, 0))
child = subprocess.Popen(sys.argv[2:], stdin=slave, stdout=slave, stderr=slave)
os.close(slave)
while True:
    try:
        data = os.read(master, 4096)
    except OSError:
        break
    if not data:
        break
    sys.stdout.buffer.write(data)
sys.exit(child.wait())
"#;

/// What `hookline` shows at a terminal of so many columns, with these variables.
pub(super) async fn at_terminal(columns: u16, words: &[&str], variables: &[(&str, &str)]) -> String {
    let direct = program(words);
    let direct = direct.as_std();
    let mut command = Command::new("python3");
    command.args(["-c", TERMINAL, &columns.to_string()]).arg(direct.get_program()).args(direct.get_args());
    for (name, value) in direct.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("TERM", "xterm").env_remove("NO_COLOR").envs(variables.iter().copied());
    ended(command).await.success().replace("\r\n", "\n")
}

const ESCAPE: char = '\u{1b}';

/// Without what colours it.
fn plain(text: &str) -> String {
    let mut parts = text.split(ESCAPE);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |sum, part| {
        sum + part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest)
    })
}

async fn host() -> (Program, [String; 4]) {
    let host = Home::new("", &["webhooks_misbehaving"]).start().await;
    let ask = async |path: &str, body: serde_json::Value| {
        let request = reqwest::Client::new().put(format!("{}{path}", host.url()));
        let answer = Answer::of(request.header("x-auth-token", host.token()).json(&body)).await;
        assert_eq!(answer.status, 201, "{}", answer.json);
        answer.json["data"]["id"].as_str().unwrap().to_owned()
    };
    let account = ask("/v2/accounts", json!({"data": {"name": "acme"}})).await;
    let uri = format!("http://127.0.0.1:9/{}", "long/".repeat(12));
    let hook = json!({"data": {"name": "n", "hook": "misbehaving", "uri": uri}});
    ask(&format!("/v2/accounts/{account}/webhooks"), hook).await;
    let client = ["--url".to_owned(), host.url().to_owned(), "--token".to_owned(), host.token()];
    (host, client)
}

#[tokio::test]
async fn listings_fit_the_terminal_and_are_coloured_there_alone() {
    let (_host, client) = host().await;
    for listing in ["modules", "hooks"] {
        let words: Vec<&str> = [listing].into_iter().chain(client.iter().map(String::as_str)).collect();
        for columns in [60, 100] {
            let shown = at_terminal(columns, &words, &[]).await;
            let widest = plain(&shown).lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= usize::from(columns), "{listing}: {widest} of {columns} columns\n{shown}");
            assert!(shown.contains(ESCAPE), "{listing} has no colour: {shown}");
            let without = at_terminal(columns, &words, &[("NO_COLOR", "1")]).await;
            assert!(!without.contains(ESCAPE), "{listing} is coloured: {without}");
            assert_eq!(plain(&shown), without);
        }
        let piped = say(&words).await;
        assert_eq!(piped.err, "");
        let piped = piped.success();
        assert!(!piped.contains(ESCAPE), "{listing} is coloured: {piped}");
        let json = say(&[&words[..], &["--json"]].concat()).await.success();
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
        assert!(!json.contains(ESCAPE));
    }
    let words: Vec<&str> = ["hooks"].into_iter().chain(client.iter().map(String::as_str)).collect();
    let piped = say(&words).await.success();
    assert!(piped.contains(&"long/".repeat(12)), "programs get whole lines: {piped}");
    let modules: Vec<&str> = ["modules"].into_iter().chain(client.iter().map(String::as_str)).collect();
    let shown = at_terminal(200, &modules, &[]).await;
    assert!(shown.lines().any(|line| line.contains("\u{1b}[38;5;10m active")), "{shown:?}");
}

#[tokio::test]
async fn whoever_types_nothing_is_told_what_to_type() {
    async fn told(variables: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut command = program(&[]);
        command.current_dir(folder.path()).envs(variables.iter().copied());
        ended(command).await.success()
    }
    let (host, _) = host().await;
    let data = host.folder().join("data").display().to_string();
    let url = ("HOOKLINE_URL", host.url());

    let nobody = told(&[("HOOKLINE_URL", "http://127.0.0.1:1")]).await;
    let no_token = told(&[url]).await;
    let wrong = told(&[url, ("HOOKLINE_TOKEN", "wrong")]).await;
    let at_work = told(&[url, ("HOOKLINE_DATA_DIR", &data)]).await;
    let advised = at_work.lines().find_map(|line| line.trim().strip_prefix("hookline hooks test "));
    let advised = advised.expect(&at_work).split("  ").next().unwrap();
    let payload = host.folder().join("payload").display().to_string();
    std::fs::write(&payload, "{}").unwrap();
    let more = ["--payload", &payload, "--url", host.url(), "--data", &data];
    let words: Vec<&str> = ["hooks", "test"].into_iter().chain(advised.split(' ')).chain(more).collect();
    let tested = say(&words).await;
    // Nobody listens where that hook is sent to.
    assert!(tested.err.starts_with("hookline: the endpoint did not take it: "), "{tested:?}");
    let tested = eventually("the test is on record", async || {
        let now = told(&[url, ("HOOKLINE_DATA_DIR", &data)]).await;
        (!now.contains("hooks test")).then_some(now)
    });
    assert!(tested.await.contains("is at work with 1 modules and 1 hooks\n"));
    let bare = Home::new("", &[]).start().await;
    let data = bare.folder().join("data").display().to_string();
    let no_modules = told(&[("HOOKLINE_URL", bare.url()), ("HOOKLINE_DATA_DIR", &data)]).await;

    assert!(nobody.starts_with("cannot reach the host at http://127.0.0.1:1/"), "{nobody}");
    assert!(nobody.contains("\n  hookline run --demo "), "{nobody}");
    assert!(
        no_token.contains("to ask it for more takes a token\n  hookline modules --data DIR "),
        "{no_token}"
    );
    assert!(wrong.contains("but not to this token: GET /modules: 401 Unauthorized"), "{wrong}");
    assert!(at_work.contains("is at work with 1 modules and 1 hooks\n"), "{at_work}");
    assert!(
        no_modules.contains("has no modules") && no_modules.contains("\n  hookline new NAME "),
        "{no_modules}"
    );
    for told in [nobody, no_token, wrong, at_work, no_modules] {
        assert!(told.lines().last().unwrap().starts_with("  hookline --help"), "{told}");
    }
}

#[tokio::test]
async fn health_says_by_its_exit_code_whether_a_host_is_alive_and_ready() {
    // Nobody listens at that broker: alive, and not ready.
    let away = "[bus]\nkind = \"amqp\"\nuri = \"amqp://127.0.0.1:1\"\n";
    let waiting = Home::new(away, &[]).start().await;
    let ready = Home::new("", &[]).start().await;

    let health = async |url: &str, words: &[&str]| say(&[&["health", "--url", url], words].concat()).await;

    assert_eq!(health(ready.url(), &[]).await.success(), "ready\n");
    assert_eq!(health(ready.url(), &["--alive"]).await.success(), "alive\n");
    let reasons = health(waiting.url(), &[]).await.one_line_failure();
    assert!(reasons.starts_with("hookline: not ready: "), "{reasons}");
    assert_eq!(health(waiting.url(), &["--alive"]).await.success(), "alive\n");
    let gone = health("http://127.0.0.1:1", &["--alive"]).await.one_line_failure();
    assert!(gone.starts_with("hookline: cannot reach the host at "), "{gone}");
}

#[tokio::test]
async fn every_shell_understands_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let file = folder.path().join(shell);
        std::fs::write(&file, say(&["completions", shell]).await.success()).unwrap();
        let mut reads = Command::new(shell);
        reads.arg("-n").arg(&file);
        let said = ended(reads).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{shell}");
    }
}

#[tokio::test]
async fn names_that_turn_text_around_or_hide_it_are_shown_escaped() {
    let (host, client) = host().await;
    let odd = "inv\u{202e}gpj.\u{2066}exe\u{200b}\u{2028}\u{9b}31m\u{feff}\u{e0041}";
    let account = host.account(odd).await;
    let made = host
        .ask("PUT", &format!("/v2/accounts/{account}/tokens"), Some(json!({"data": {"name": odd}})))
        .await;
    assert_eq!(made.status, 201, "{}", made.json);
    let words = |words: &[&str]| -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).chain(client.iter().cloned()).collect()
    };
    let unknown = format!("{odd}x");
    for words in [
        words(&["token", "list"]),
        words(&["token", "list", "--json"]),
        words(&["audit"]),
        words(&["attempts", "--account", &unknown]),
        words(&["modules", "show", &unknown]),
    ] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = say(&words).await;
        let shown = format!("{}{}", said.out, said.err);
        let harmful = |c: char| c != '\n' && (c.is_control() || odd.contains(c) && !c.is_ascii());
        assert!(!shown.contains(harmful), "{words:?}: {shown:?}");
    }
    let list: Vec<String> = words(&["token", "list"]);
    let listed = say(&list.iter().map(String::as_str).collect::<Vec<_>>()).await.success();
    assert!(listed.contains("inv\\u202egpj.\\u2066exe"), "{listed}");
    // JSON means the same.
    let list: Vec<String> = words(&["token", "list", "--json"]);
    let listed = say(&list.iter().map(String::as_str).collect::<Vec<_>>()).await.success();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert!(listed.as_array().unwrap().iter().any(|token| token["name"] == odd), "{listed}");
}
