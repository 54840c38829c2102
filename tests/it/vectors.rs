//! The recorded outputs of KAZOO's own code, reproduced by `hookline try` to the letter.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tests::{cdylib, hookline, vectors};
use tokio::process::Command;

/// Cases whose settings do not say what was in force when they were recorded.
const LEFT_OUT: [(&str, &str); 2] = [
    (
        "a_channel_events: reserved keys node specific",
        "a section for the node reserved other keys than the settings say",
    ),
    (
        "a_channel_events: reserved keys zone specific",
        "a section for the zone reserved other keys than the settings say",
    ),
];

/// A recorded way. Documents stay text, so that numbers beyond 64 bits reach the program as they were.
#[derive(Deserialize)]
struct Case {
    case: String,
    module: String,
    event: Box<RawValue>,
    hooks: Box<RawValue>,
    accounts: Box<RawValue>,
    config: String,
    cluster_id: String,
    requests: Vec<Value>,
}

#[tokio::test]
async fn every_recorded_way_from_event_to_request_is_reproduced() {
    let mut different = Vec::new();
    let mut cases: Vec<Case> = vectors("try");
    let all = cases.len();
    cases.retain(|case| !LEFT_OUT.iter().any(|(name, _)| case.case == *name));
    assert_eq!(cases.len() + LEFT_OUT.len(), all, "a case that is left out is not there any more");
    let count = cases.len();
    // A few programs at a time: each loads a library of its own.
    for group in cases.chunks(8) {
        let tries = group.iter().map(|case| async move { (case, run(case).await) });
        for (case, outcome) in futures_util::future::join_all(tries).await {
            if let Err(difference) = outcome.and_then(|got| compare(case, &got)) {
                different.push(format!("{}: {difference}", case.case));
            }
        }
    }
    assert!(count > 100, "only {count} cases were read");
    assert!(different.is_empty(), "{} of {count} differ:\n{}", different.len(), different.join("\n"));
}

async fn run(case: &Case) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let output = Command::new(hookline())
        .arg("try")
        .args(["--profile", "kazoo", "--cluster-id", &case.cluster_id])
        .arg("--plugin")
        .arg(cdylib(&case.module))
        .arg("--event")
        .arg(file("event.json", case.event.get()))
        .arg("--hooks")
        .arg(file("hooks.json", case.hooks.get()))
        .arg("--accounts")
        .arg(file("accounts.json", case.accounts.get()))
        .arg("--config")
        .arg(file("config.toml", &case.config))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))).collect()
}

/// In any order; JSON bodies as JSON, others to the byte, headers as a subset.
fn compare(case: &Case, got: &[Value]) -> Result<(), String> {
    let expected = &case.requests;
    if expected.len() != got.len() {
        return Err(format!("expected {} requests, got {}: {got:?}", expected.len(), got.len()));
    }
    let mut used = BTreeSet::new();
    for wanted in expected {
        let same = |(n, request): &(usize, &Value)| !used.contains(n) && is_same(wanted, request);
        let Some((n, _)) = got.iter().enumerate().find(same) else {
            return Err(format!("\n  expected {wanted}\n  got      {}", Value::Array(got.to_vec())));
        };
        used.insert(n);
    }
    Ok(())
}

fn is_same(wanted: &Value, got: &Value) -> bool {
    let fields = ["hook_id", "method", "url"];
    let as_json = |text: &Value| serde_json::from_str::<Value>(text.as_str().unwrap_or_default()).ok();
    let headers = wanted["headers"].as_object().unwrap();
    let is_json = headers.get("content-type").is_some_and(|content| content == "application/json");
    let same_body = match (is_json, as_json(&wanted["body"]), as_json(&got["body"])) {
        (true, Some(wanted), Some(got)) => wanted == got,
        _ => wanted["body"] == got["body"],
    };
    fields.iter().all(|field| wanted.get(*field).is_none_or(|value| *value == got[field]))
        && headers.iter().all(|(name, value)| got["headers"][name] == *value)
        && same_body
}
