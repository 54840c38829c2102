//! The API's description, against which every answer that a test reads is held.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use jsonschema::Validator;
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};

use super::Answer;

static DESCRIPTION: LazyLock<Value> = LazyLock::new(hookline::api::description);

/// What the description says of one operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The method, in lower case.
    pub method: &'static str,
    /// The path, with names in braces.
    pub path: &'static str,
    /// All the rest.
    pub says: &'static Value,
}

/// All operations.
pub fn described() -> impl Iterator<Item = Operation> {
    let paths = DESCRIPTION["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods");
        methods.iter().map(move |(method, says)| Operation { method, path, says })
    })
}

/// Whether a value is of a schema of the description, which may speak of its other parts.
///
/// # Errors
/// What is wrong with the value.
pub fn valid(schema: &Value, value: &Value) -> Result<(), String> {
    validator(&schema.to_string(), schema)
        .validate(value)
        .map_err(|error| format!("{error} at {}", error.instance_path()))
}

/// Panics where an answer is not as its operation says; nothing where the description knows no such operation.
#[track_caller]
pub(super) fn check(method: &Method, path: &str, answer: &Answer) {
    // A slash at the end means nothing.
    let path = path.trim_end_matches('/');
    let found = described().find(|operation| {
        operation.method.eq_ignore_ascii_case(method.as_str()) && matches(operation.path, path)
    });
    let Some(operation) = found else { return };
    let (responses, status) = (&operation.says["responses"], answer.status.as_str());
    let response = responses.get(status).or_else(|| {
        let failed = answer.status.is_client_error() || answer.status.is_server_error();
        failed.then(|| responses.get("default")).flatten()
    });
    let response = response.unwrap_or_else(|| panic!("{method} {path}: {status} is not in the description"));
    let kind = answer.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
    let content = &response["content"];
    let kinds = content.as_object().expect("kinds of content");
    let known = kinds.keys().any(|known| known == "*/*" || kind.starts_with(known.as_str()));
    assert!(known, "{method} {path}: {status} is {kind:?}, and the description says {:?}", kinds.keys());
    if let Some(schema) = content["application/json"].get("schema")
        && let Err(wrong) = valid(schema, &answer.json)
    {
        panic!("{method} {path}: {status} breaks its description: {wrong}\n{}", answer.json);
    }
}

/// Paths with a name where others have a word come after those.
fn matches(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(name), Some(part)) if name.starts_with('{') => {
                if part == "attempts" {
                    return false;
                }
            }
            (Some(word), Some(part)) if word == part => {}
            _ => return false,
        }
    }
}

fn validator(name: &str, schema: &Value) -> Arc<Validator> {
    static MADE: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    if let Some(made) = MADE.lock().get(name) {
        return Arc::clone(made);
    }
    let mut whole = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "allOf": [schema]});
    whole["components"] = DESCRIPTION["components"].clone();
    let made = Arc::new(jsonschema::validator_for(&whole).expect("a schema"));
    MADE.lock().insert(name.to_owned(), Arc::clone(&made));
    made
}
