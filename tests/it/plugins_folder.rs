//! What else may lie in the plugins folder under a module's name: refused with the reason, and in nobody's way.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::{Home, Program, cdylib, eventually, say};

const MISBEHAVING: &str = "webhooks_misbehaving";

async fn modules(host: &Program) -> Value {
    host.ask("GET", "/modules", None).await.json
}

/// Why a file is refused that is shown under this name.
async fn refusal(host: &Program, shown: &str) -> String {
    let asked = || async {
        let listed = modules(host).await;
        let refused = listed["refused"].as_array().expect("never null").clone();
        let of_file = |entry: &&Value| entry["file"].as_str().is_some_and(|file| file.ends_with(shown));
        refused.iter().find(of_file).map(|entry| entry["reason"].as_str().unwrap().to_owned())
    };
    eventually(&format!("{shown} is refused"), asked).await
}

/// A module that is dropped now is loaded, and taken away with its file.
async fn hot_reload_goes_on(host: &Program) {
    let file = host.folder().join("plugins").join("late.so");
    std::fs::copy(cdylib(MISBEHAVING), &file).unwrap();
    let loaded = |there: bool| async move {
        let asked = || async {
            let answer = host.ask("GET", &format!("/modules/{MISBEHAVING}"), None).await;
            ((answer.status == 200) == there).then_some(())
        };
        eventually("the module comes and goes", asked).await;
    };
    loaded(true).await;
    std::fs::remove_file(&file).unwrap();
    loaded(false).await;
}

fn pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_by_its_type_at_the_start_and_later() {
    let home = Home::new("", &[]);
    pipe(&home.path("plugins/early.so"));
    let host = home.start().await;
    assert!(refusal(&host, "early.so").await.contains("early.so is a named pipe"), "refused by its type");

    let plugins = host.folder().join("plugins");
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, plugins.join(name)).unwrap();
    pipe(&plugins.join("pipe.so"));
    std::fs::create_dir(plugins.join("folder.so")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(plugins.join("socket.so")).unwrap();
    link("pipe.so", "link_to_pipe.so");
    link("/dev/zero", "device.so");
    link("loop.so", "loop.so");
    std::fs::File::create(plugins.join("sparse.so")).unwrap().set_len(10 << 30).unwrap();
    for (name, says) in [
        ("pipe.so", "is a named pipe"),
        ("folder.so", "is a folder"),
        ("socket.so", "is a socket"),
        ("link_to_pipe.so", "is a named pipe"),
        ("device.so", "is a device"),
        ("loop.so", "cannot be looked at"),
        ("sparse.so", "has 10737418240 bytes"),
    ] {
        let reason = refusal(&host, &format!("/{name}")).await;
        assert!(reason.contains(says), "{name}: {reason}");
    }
    hot_reload_goes_on(&host).await;

    // What is gone is refused no more.
    for name in ["pipe.so", "link_to_pipe.so", "device.so", "loop.so", "sparse.so", "socket.so", "early.so"] {
        std::fs::remove_file(plugins.join(name)).unwrap();
    }
    std::fs::remove_dir(plugins.join("folder.so")).unwrap();
    let forgotten = || async { modules(&host).await["refused"].as_array().unwrap().is_empty().then_some(()) };
    eventually("nothing is refused any more", forgotten).await;
}

#[tokio::test]
async fn a_file_that_grows_without_end_holds_nothing_up_and_is_named() {
    let host = Home::new("", &[]).start().await;
    let path = host.folder().join("plugins/growing.so");
    let mut bytes = std::fs::read(cdylib(MISBEHAVING)).unwrap();
    bytes.truncate(20_000);
    let grow = async {
        loop {
            // Opened anew each time, so that nothing but its size shows that somebody writes it.
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
            std::io::Write::write_all(&mut file, &bytes).unwrap();
            drop(file);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let others = async {
        hot_reload_goes_on(&host).await;
        refusal(&host, "growing.so").await
    };
    tokio::select! {
        never = grow => never,
        reason = others => assert!(
            reason.contains("is still being written") || reason.contains("was cut short") || reason.contains("is not") || reason.contains("not a module"),
            "{reason}"
        ),
    }
}

#[tokio::test]
async fn a_name_that_is_no_text_or_turns_text_around_is_shown_escaped_everywhere() {
    let home = Home::new("", &[]);
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff\xfe.so");
    let turned = "turned\u{202e}\u{200b}so.so";
    std::fs::copy(cdylib(MISBEHAVING), home.path("plugins").join(odd)).unwrap();
    std::fs::write(home.path("plugins").join(std::ffi::OsStr::from_bytes(b"bad\xff.so")), "no module")
        .unwrap();
    std::fs::write(home.path("plugins").join(turned), "no module").unwrap();
    let host = home.start_logging("info", &[]).await;

    assert!(refusal(&host, "/bad\\xff.so").await.starts_with("bad\\xff.so is not a dynamic library"));
    refusal(&host, "turned\\u202e\\u200bso.so").await;
    let listed = modules(&host).await;
    let file = listed["data"][0]["file"].as_str().unwrap();
    assert!(file.ends_with("/odd\\xff\\xfe.so"), "{listed:#}");
    let client = ["--url", host.url(), "--token", &host.token()].map(str::to_owned);
    for words in [&["modules"][..], &["modules", "--json"], &["modules", "show", MISBEHAVING]] {
        let words: Vec<&str> = words.iter().copied().chain(client.iter().map(String::as_str)).collect();
        let shown = say(&words).await.success();
        assert!(!shown.contains(['\u{202e}', '\u{200b}', '\u{fffd}']), "{shown}");
        assert!(shown.contains("xff"), "{shown}");
    }
    let log = std::fs::read_to_string(host.folder().join("log")).unwrap();
    assert!(log.contains("bad\\xff.so") && log.contains("odd\\xff\\xfe.so"), "{log}");
    assert!(!log.contains(['\u{202e}', '\u{200b}']), "{log}");
}
