//! The commands of the README and the guides, run as they stand there.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{Home, Program, Shown, blocks, done, fenced, say, scratch, shell};

const PAGES: [&str; 5] = [
    "README.md",
    "docs/operators-guide.md",
    "docs/module-authors-guide.md",
    "docs/modules.md",
    "docs/kazoo-clients.md",
];

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

#[test]
fn every_block_says_what_it_is_and_those_for_a_shell_are_run_here() {
    for name in PAGES {
        for (language, block) in fenced(&page(name)) {
            // `console`: not for a test, as it does not end or changes the machine.
            let known = ["sh", "console", "toml", "yaml", "rust", "text"].contains(&language.as_str());
            assert!(known, "{name}: {language:?} stands over\n{block}");
            let typed = block
                .lines()
                .any(|line| ["hookline ", "cargo ", "curl "].iter().any(|it| line.starts_with(it)));
            assert!(
                !typed || language == "sh" || language == "console",
                "{name}: commands in {language}:\n{block}"
            );
        }
    }
}

/// Ends the process whose number a file has, also when the test fails.
struct EndOf(PathBuf);

impl Drop for EndOf {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(&self.0) {
            std::process::Command::new("kill").arg(pid.trim()).status().ok();
        }
    }
}

/// A `scripts/run` that builds nothing: the host is the one that was built for the tests, on a free port.
fn stand_in_for_the_script(home: &Home) -> EndOf {
    use std::os::unix::fs::PermissionsExt;
    let pid = home.path("pid");
    let script =
        format!("#!/bin/sh\necho $$ > '{}'\nexec hookline run --listen 127.0.0.1:0 \"$@\"\n", pid.display());
    std::fs::create_dir(home.path("scripts")).unwrap();
    std::fs::write(home.path("scripts/run"), script).unwrap();
    std::fs::set_permissions(home.path("scripts/run"), PermissionsExt::from_mode(0o755)).unwrap();
    EndOf(pid)
}

#[tokio::test]
async fn the_readmes_first_webhook_fires() {
    let [run, show, post] = blocks(&page("README.md")).try_into().expect("a host, a server, a webhook");
    let home = Home::new("", &["webhooks_channel_create"]);
    let folder = home.path("");
    let _end = stand_in_for_the_script(&home);

    let mut host = Shown::of(shell(&folder, &run));
    let url = host.next().await;
    let mut shown = Shown::start(&folder, &show);
    let receiver = shown.next().await;
    let mut typed = shell(&folder, &post);
    typed.env("HOOKLINE_URL", url.strip_prefix("listening on ").unwrap()).env("RECEIVER", &receiver);
    let said = done(typed).await;

    let line = shown.next().await;
    let payload: Value = serde_json::from_str(line.strip_prefix("/calls ").expect(&line)).unwrap();
    assert_eq!(
        (&payload["call_id"], &payload["hook_event"]),
        (&"call-1".into(), &"channel_create".into()),
        "{said}"
    );
}

/// What a command prints in the folder of a host, and asks of that host.
async fn typed(host: &Program, words: &str, variables: &[(&str, &str)]) -> String {
    let mut command = shell(host.folder(), words);
    command.env("HOOKLINE_URL", host.url()).envs(variables.iter().copied());
    done(command).await
}

#[tokio::test]
async fn the_operators_commands_do_what_the_guide_says() {
    let [complete, backup, restore, tokens, audit] =
        blocks(&page("docs/operators-guide.md")).try_into().expect("five blocks");
    let host = Home::new("", &[]).start().await;
    let client = ["--url", host.url(), "--token", &host.token()].map(str::to_owned);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).chain(client.clone()).collect();
    let ask =
        async |said: Vec<String>| say(&said.iter().map(String::as_str).collect::<Vec<_>>()).await.success();
    let put = reqwest::Client::new()
        .put(format!("{}/v2/accounts", host.url()))
        .header("x-auth-token", host.token());
    let made =
        put.body(r#"{"data": {"name": "acme"}}"#).header("content-type", "application/json").send().await;
    let made: Value = made.unwrap().json().await.unwrap();
    let account = made["data"]["id"].as_str().unwrap();
    ask(words(&["token", "create", "--account", account])).await;
    let listed: Value = serde_json::from_str(&ask(words(&["token", "list", "--json"])).await).unwrap();
    let token = listed[0]["id"].as_str().unwrap();

    typed(&host, &complete, &[]).await;
    let completions = std::fs::read_to_string(host.folder().join("hookline.bash")).unwrap();
    assert!(completions.contains("complete -F _hookline"));
    assert!(host.folder().join("man1/hookline-modules-show.1").exists());
    let backed_up = typed(&host, &backup, &[]).await;
    assert!(backed_up.starts_with("monday.backup: 1 accounts, 0 hooks, "), "{backed_up}");
    let restored = typed(&host, &restore, &[]).await;
    assert!(restored.starts_with("restored: 1 accounts, 0 hooks, "), "{restored}");
    let of_tokens = typed(&host, &tokens, &[("account", account), ("token_id", token)]).await;
    assert!(of_tokens.contains("pager"), "{of_tokens}");
    let left = ask(words(&["token", "list", "--json"])).await;
    assert!(!left.contains(token), "{left}");
    let changed = typed(&host, &audit, &[]).await;
    for change in ["account.create", "token.create", "token.revoke", "store.backup"] {
        assert!(changed.contains(change), "{changed}");
    }
}

#[tokio::test]
async fn a_client_logs_in_by_the_commands_of_its_page() {
    let [log_in] = blocks(&page("docs/kazoo-clients.md")).try_into().expect("one block");
    let host = Home::new("", &[]).start().await;
    let account = host.account("acme").await;

    let said = typed(&host, &log_in, &[("account", &account)]).await;

    let said: Value = serde_json::from_str(&said).expect("one envelope");
    assert_eq!(said["data"]["account_id"], account.as_str());
    assert!(said["auth_token"].as_str().is_some_and(|token| token.split('.').count() == 3), "{said}");
}

#[tokio::test]
async fn the_authors_commands_lead_from_a_name_to_a_module_that_serves() {
    let [new, look, install] =
        blocks(&page("docs/module-authors-guide.md")).try_into().expect("three blocks");
    let home = Home::new("", &[]);
    let folder = home.path("");
    // Whatever workspace it may lie in, it is none of its business.
    std::fs::write(home.path("Cargo.toml"), "[workspace]\nmembers = [\"none\"]\n").unwrap();
    done(shell(&folder, &new)).await;
    let module = home.path("webhooks_doorbell");
    std::fs::create_dir_all(scratch()).unwrap();
    std::os::unix::fs::symlink(scratch(), module.join("target")).unwrap();
    let host = home.start().await;

    let mut build = shell(&module, &install);
    build.env("plugins", host.folder().join("plugins")).env_remove("CARGO_TARGET_DIR");
    done(build).await;
    let looked = done(shell(&module, &look)).await;

    assert!(looked.contains("webhooks_doorbell 1.0.0 (ABI "), "{looked}");
    let request: Value = serde_json::from_str(looked.lines().last().unwrap()).unwrap();
    assert_eq!(request["method"], "post");
    let shows = || async {
        let said =
            say(&["modules", "show", "webhooks_doorbell", "--url", host.url(), "--token", &host.token()])
                .await;
        (said.code == Some(0)).then_some(())
    };
    tests::eventually("the running host takes the module", shows).await;
}

/// Commands that stand in the guide's text and tables, beside those in blocks.
#[tokio::test]
async fn every_command_that_a_page_speaks_of_is_one() {
    for name in PAGES {
        let text = std::fs::read_to_string(page(name)).unwrap();
        let spoken = text.split("`hookline ").skip(1).filter_map(|rest| rest.split('`').next());
        for words in spoken.filter(|words| !words.starts_with('_')) {
            let first = words.split_whitespace().next().unwrap();
            let help = say(&[first, "--help"]).await;
            assert_eq!(help.code, Some(0), "{name}: `hookline {words}`: {}", help.err);
        }
    }
}

#[test]
fn every_alarm_has_a_meaning_and_a_remedy_and_looks_at_figures_that_there_are() {
    let guide = std::fs::read_to_string(page("docs/operators-guide.md")).unwrap();
    let (figures, alarms) = guide.split_once("Worth an alarm:\n").unwrap();
    let rows: Vec<&str> = alarms.lines().skip(3).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
        let names = row.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        for name in names.filter(|name| name.starts_with("hookline_")) {
            assert!(figures.contains(&format!("| `{name}` | ")), "{name} is no figure: {row}");
        }
    }
}
