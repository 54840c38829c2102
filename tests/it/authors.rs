//! What authors of modules meet: a new module, its README, and how one is made inside the repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{Home, Shown, blocks, done, eventually, program, say, shell};
use tokio::process::Command;

#[tokio::test]
async fn a_new_module_builds_and_fires_as_its_readme_says() {
    let home = Home::new("", &[]);
    // Whatever workspace it may lie in, it is none of its business.
    std::fs::write(home.path("Cargo.toml"), "[workspace]\nmembers = [\"none\"]\n").unwrap();
    let mut new = program(&["new", "door_bell"]);
    new.current_dir(home.path(""));
    let said = done(new).await;
    assert!(said.contains("webhooks_door_bell/README.md leads on to a fired webhook"), "{said}");
    let folder = home.path("webhooks_door_bell");
    let [build, install, show, hook, post, test, look] =
        blocks(&folder.join("README.md")).try_into().expect("five commands, and two on changes");

    let host = home.start().await;
    done(shell(&folder, &build)).await;
    done(shell(&folder, &install)).await;
    let token = host.token();
    let loaded = || async {
        let said =
            say(&["modules", "show", "webhooks_door_bell", "--url", host.url(), "--token", &token]).await;
        (said.code == Some(0)).then_some(())
    };
    eventually("the running host takes the module", loaded).await;
    let mut shown = Shown::start(&folder, &show);
    let receiver = shown.next().await;
    let mut command = shell(&folder, &format!("{hook}{post}"));
    done_with(&mut command, &[("HOOKLINE_URL", host.url()), ("RECEIVER", &receiver)]).await;

    let line = shown.next().await;
    let payload: Value = serde_json::from_str(line.strip_prefix("/greetings ").expect(&line)).unwrap();
    assert_eq!((&payload["greeting"], &payload["hook_event"]), (&"hello".into(), &"door_bell".into()));

    let tested = done(shell(&folder, &test)).await;
    assert_eq!(tested.matches("test result: ok.").count(), 3, "{tested}");
    let looked = done(shell(&folder, &look)).await;
    assert!(looked.contains("webhooks_door_bell 1.0.0 (ABI "), "{looked}");
    let request: Value = serde_json::from_str(looked.lines().last().unwrap()).unwrap();
    assert_eq!(request["url"], "http://127.0.0.1:9000/greetings");
    done(shell(&folder, "cargo fmt --check")).await;
}

#[track_caller]
fn done_with(command: &mut Command, variables: &[(&str, &str)]) -> impl Future<Output = String> {
    for (name, value) in variables {
        command.env(name, value);
    }
    done(std::mem::replace(command, Command::new("true")))
}

#[tokio::test]
async fn a_new_module_goes_where_it_is_told_and_over_nothing() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    std::fs::create_dir(path("empty")).unwrap();
    std::fs::write(path("file"), "mine").unwrap();

    say(&["new", "doorbell", "--dir", &path("empty")]).await.success();
    say(&["new", "webhooks_doorbell", "--dir", &path("a/new/one")]).await.success();
    let full = say(&["new", "doorbell", "--dir", &path("empty")]).await.one_line_failure();
    let file = say(&["new", "doorbell", "--dir", &path("file")]).await.one_line_failure();

    assert_eq!(read(&home.path().join("empty")), read(&home.path().join("a/new/one")));
    assert!(full.contains("empty is not empty; empty it, or choose another folder with --dir"), "{full}");
    assert!(file.contains("file is not a folder"), "{file}");
    assert_eq!(std::fs::read_to_string(path("file")).unwrap(), "mine");
}

/// Names that no new module may have, with a part of what is said to each.
const BAD_NAMES: [(&str, &str); 10] = [
    ("", "is empty"),
    ("webhooks_", "is empty"),
    ("Doorbell", "lower-case"),
    ("door-bell", "such as door_bell"),
    ("door__bell", "such as door_bell"),
    ("3door", "begins with a letter"),
    ("all", "such as my_all"),
    ("skel", "no hook can ask for it"),
    ("sms", "such as my_sms"),
    ("event", "the type Event would hide"),
];

#[tokio::test]
async fn a_bad_name_is_refused_with_what_would_be_right() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("none").display().to_string();
    let long = "x".repeat(56);
    for (name, says) in BAD_NAMES.into_iter().chain([(long.as_str(), "may have 64; shorten the name to 55")])
    {
        let said = say(&["new", name, "--dir", &folder]).await.one_line_failure();
        assert!(said.contains(says), "{name}: {said}");
    }
    assert!(!home.path().join("none").exists());
}

/// Every file below a folder, by its path in it.
fn read(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(below) = open.pop() {
        for entry in std::fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

/// A copy of the repository's sources.
fn copy_of_the_repository() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), copy.path());
    copy
}

fn copy_sources(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "data", ".git"].contains(&name.as_str()) {
                std::fs::create_dir(to.join(&name)).unwrap();
                copy_sources(&path, &to.join(&name));
            }
        } else if !name.ends_with(std::env::consts::DLL_SUFFIX) {
            std::fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}

fn members(root: &Path) -> Vec<String> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let lines = manifest.lines().filter(|line| line.starts_with("    \"plugins/webhooks_"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_member_of_the_workspace_is_the_same_module() {
    let copy = copy_of_the_repository();
    let root = copy.path();
    let before = members(root);

    let said = say(&["new", "door_bell", "--member-of", &root.display().to_string()]).await.success();
    assert!(said.contains("cargo test -p webhooks_door_bell"), "{said}");

    let mut after = members(root);
    assert!(after.is_sorted(), "{after:?}");
    after.retain(|line| line != "    \"plugins/webhooks_door_bell\",");
    assert_eq!(after, before);
    let elsewhere = root.join("elsewhere");
    say(&["new", "door_bell", "--dir", &elsewhere.display().to_string()]).await.success();
    let made = root.join("plugins/webhooks_door_bell");
    for part in ["src", "tests"] {
        assert_eq!(read(&made.join(part)), read(&elsewhere.join(part)));
    }
    let tested = done(shell(root, "cargo test -p webhooks_door_bell && cargo fmt --check")).await;
    assert_eq!(tested.matches("test result: ok.").count(), 3, "{tested}");
}

#[tokio::test]
async fn a_member_with_a_bad_name_or_in_another_folder_is_refused_and_nothing_changes() {
    let copy = copy_of_the_repository();
    let before = read(copy.path());
    let long = "x".repeat(56);
    let root = copy.path().display().to_string();
    for (name, says) in BAD_NAMES.into_iter().chain([(long.as_str(), "may have 64; shorten the name to 55")])
    {
        let said = say(&["new", name, "--member-of", &root]).await.one_line_failure();
        assert!(said.contains(says), "{name}: {said}");
    }
    let below = copy.path().join("host").display().to_string();
    let said = say(&["new", "door_bell", "--member-of", &below]).await.one_line_failure();
    assert!(said.contains("host/Cargo.toml lists no bundled modules"), "{said}");
    assert!(read(copy.path()) == before, "something was changed");
}
