//! Reads the recorded cases of the original for the tests of this crate and of the modules.
#![allow(dead_code, reason = "each crate that includes this file uses a part of it")]

use std::path::{Path, PathBuf};

use plugin_api::serde_json::{self, Value};
use serde_json::json;

/// One recorded case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) input: Value,
    pub(crate) context: Value,
    pub(crate) expected: Value,
}

/// The cases of a file in which the function `function` was recorded.
#[track_caller]
pub(crate) fn cases(file: &str, function: &str) -> Vec<Case> {
    let path = folder().join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<Case> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|case| case["fn"] == function)
        .map(|mut case| Case {
            name: case["case"].as_str().unwrap().to_owned(),
            input: case["input"].take(),
            context: case["context"].take(),
            expected: case["expected"].take(),
        })
        .collect();
    assert!(!cases.is_empty(), "{file} has no case of {function}");
    cases
}

fn folder() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = crate_folder.ancestors().map(|folder| folder.join("tests/fixtures/vectors"));
    folders.into_iter().find(|folder| folder.is_dir()).unwrap()
}

/// Runs every case but those that `otherwise` names, with the reason; those are handed to `documented`.
///
/// `expected` and what `ours` says must be the same to the order of fields; `None` means an error.
#[track_caller]
pub(crate) fn check(
    file: &str,
    function: &str,
    otherwise: &[(&str, &str)],
    ours: impl Fn(&Case) -> Result<Value, String>,
    documented: impl Fn(&Case, Result<Value, String>),
) {
    let cases = cases(file, function);
    for (name, reason) in otherwise {
        assert!(cases.iter().any(|case| case.name == *name), "no case {name} (skipped: {reason})");
    }
    let mut wrong = Vec::new();
    for case in &cases {
        if otherwise.iter().any(|(name, _)| *name == case.name) {
            documented(case, ours(case));
            continue;
        }
        // As text, because that compares the order of fields, too.
        let expected = case.expected.get("value").unwrap_or(&case.expected).to_string();
        match ours(case).map(|value| value.to_string()) {
            Ok(value) if value == expected => {}
            Ok(value) => wrong.push(format!("{}:\n  expected {expected}\n  got      {value}", case.name)),
            Err(error) => wrong.push(format!("{}:\n  expected {expected}\n  failed   {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases differ\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The bodies that the original posted as JSON, without what the host adds to a payload.
pub(crate) fn posted(case: &Case) -> Vec<Value> {
    let bodies = case.expected["http"].as_array().unwrap().iter().map(|request| request["body"].as_str());
    let parsed = bodies.filter_map(|body| serde_json::from_str::<Value>(body.unwrap_or_default()).ok());
    parsed
        .map(|mut body| {
            let fields = body.as_object_mut().unwrap();
            fields.shift_remove("cluster_id");
            body
        })
        .collect()
}

/// Whether the original crashed.
pub(crate) fn crashed(case: &Case) -> bool {
    case.expected.get("error").is_some() || case.expected.get("crashed").is_some()
}

/// Runs the original's whole handler: what it posted must be what the module fires; where it crashed, the module
/// answers an error that `otherwise` tells for the case or a part of its text.
#[track_caller]
pub(crate) fn check_handler(
    file: &str,
    function: &str,
    otherwise: &[(&str, &str)],
    ours: impl Fn(&Case) -> Result<Vec<Value>, String>,
) {
    let cases = cases(file, function);
    for (name, _) in otherwise {
        assert!(cases.iter().any(|case| case.name == *name), "no case {name}");
    }
    for case in &cases {
        let answer = ours(case);
        let text = json!(answer.clone().unwrap_or_default()).to_string();
        if let Some((_, expected)) = otherwise.iter().find(|(name, _)| *name == case.name) {
            let said = answer.err().unwrap_or(text);
            assert!(said.contains(expected), "{}: {said} instead of {expected}", case.name);
        } else {
            let fired = answer.unwrap_or_else(|error| panic!("{}: {error}", case.name));
            assert!(!crashed(case), "{}: the original crashed, ours fired {text}", case.name);
            for body in posted(case) {
                assert_eq!(fired.first().map(Value::to_string), Some(body.to_string()), "{}", case.name);
            }
        }
    }
}
