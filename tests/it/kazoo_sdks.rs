//! KAZOO's SDKs for Python, as they come from PyPI, against the built program.

use std::path::Path;
use std::process::Stdio;

use tests::{Home, Receiver, call_event, eventually};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

const SETTINGS: &str = "[delivery]\nallow_targets = [\"127.0.0.1/32\"]\nlog_successful_attempts = true\n";

/// The Python that has the SDKs; installs them where they are missing.
async fn python() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kazoo-sdks");
    // Installing them may take its time, once.
    let said = Command::new(script).stderr(Stdio::inherit()).output().await.expect("scripts/kazoo-sdks");
    assert!(said.status.success(), "the SDKs cannot be installed");
    String::from_utf8(said.stdout).expect("a path").trim().to_owned()
}

/// Runs a program of an SDK, which names its hook when something is to be sent to that.
async fn works(program: &str) {
    let python = python().await;
    let host = Home::new(SETTINGS, &["webhooks_channel_create"]).start().await;
    let mut receiver = Receiver::answering(200).await;
    let account = host.account("acme").await;
    let made = host.ask("PUT", &format!("/v2/accounts/{account}/api_key"), None).await;
    let key = made.json["data"]["api_key"].as_str().expect("a key");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/kazoo_sdks").join(program);
    let mut running = Command::new(python)
        .arg(script)
        .args([&format!("{}/v2", host.url()), key, &account, &receiver.url("/calls")])
        .env("no_proxy", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python");
    let mut lines = BufReader::new(running.stdout.take().expect("its output")).lines();
    let hook = lines.next_line().await.expect("a line").expect("the program's hook");

    host.ask("POST", "/events", Some(call_event("CHANNEL_CREATE", &account, "call-1"))).await;
    assert_eq!(receiver.next_request().await.path, "/calls");
    let path = format!("/v2/accounts/{account}/webhooks/{hook}/attempts");
    eventually("the attempt is kept", || async {
        let shown = host.ask("GET", &path, None).await;
        (shown.json["data"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
    let mut input = running.stdin.take().expect("its input");
    input.write_all(b"sent\n").await.expect("the program should read on");

    assert!(running.wait().await.expect("its end").success(), "{program} failed, see above");
}

#[tokio::test]
async fn kazoo_sdk_logs_in_and_works_with_hooks() {
    works("kazoo_sdk.py").await;
}

#[tokio::test]
async fn pykazoo_logs_in_and_works_with_hooks() {
    works("pykazoo_client.py").await;
}
