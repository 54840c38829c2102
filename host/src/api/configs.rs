//! `/v2/accounts/{id}/configs/webhooks` and `/v2/system_configs/webhooks`: what an account, or the system, has set about
//! hooks that fail.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::envelope::Reply;
use super::error::Failure;
use super::{Api, body};
use crate::disabler::SYSTEM;
use crate::disabler::limits::{
    COUNT, DISABLE_AFTER, EXPIRY, KEYS, Limits, PAUSE_FIRST, PAUSE_LONGEST, Threshold,
};
use crate::hooks::Document;
use crate::hooks::editor::fields;

type Answer = Result<Reply, Failure>;

/// Milliseconds, up to a year.
const TIMES: RangeInclusive<i64> = 1..=31_536_000_000;

/// Failures.
const COUNTS: RangeInclusive<i64> = 1..=u32::MAX as i64;

pub(super) async fn show(State(api): State<Arc<Api>>, Path(account): Path<String>) -> Answer {
    api.editor.account(&account).await?;
    Ok(shown(&api, &account))
}

pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    api.editor.account(&account).await?;
    change(&api, &account, &headers, body).await
}

pub(super) async fn delete(State(api): State<Arc<Api>>, Path(account): Path<String>) -> Answer {
    api.editor.account(&account).await?;
    forget(&api, &account).await
}

pub(super) async fn show_system(State(api): State<Arc<Api>>) -> Reply {
    shown(&api, SYSTEM)
}

pub(super) async fn patch_system(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Answer {
    change(&api, SYSTEM, &headers, body).await
}

pub(super) async fn delete_system(State(api): State<Arc<Api>>) -> Answer {
    forget(&api, SYSTEM).await
}

/// What was set, and under `_read_only` what applies with everything else.
fn shown(api: &Api, account: &str) -> Reply {
    let mut data = Document::new();
    fields::set(&mut data, "id", "webhooks");
    data.extend(api.disabler.config(account));
    data.insert("_read_only".to_owned(), json!({ "effective": effective(&api.disabler.limits(account)) }));
    Reply::ok(Value::Object(data))
}

fn effective(limits: &Limits) -> Value {
    let count = match limits.threshold {
        Threshold::AtLeast(count) => count,
        Threshold::MoreThan(count) => count.saturating_add(1),
    };
    json!({
        EXPIRY: limits.expiry_ms,
        COUNT: count,
        PAUSE_FIRST: limits.pause_first_ms,
        PAUSE_LONGEST: limits.pause_longest_ms,
        DISABLE_AFTER: limits.disable_after_ms,
    })
}

async fn change(api: &Api, account: &str, headers: &HeaderMap, body: Body) -> Answer {
    let patch = body::data(headers, body, &api.limits).await?;
    let errors = wrong(&patch);
    if !errors.is_empty() {
        return Err(Failure::validation(Value::Object(errors)));
    }
    let set = fields::patched(&api.disabler.config(account), patch);
    api.disabler.set_config(&*api.store, account, set).await?;
    Ok(shown(api, account))
}

async fn forget(api: &Api, account: &str) -> Answer {
    api.disabler.set_config(&*api.store, account, Document::new()).await?;
    Ok(shown(api, account))
}

/// What is wrong with a change, as a validation error's data. `null` takes a value away.
fn wrong(patch: &Document) -> Document {
    let mut errors = Document::new();
    for (key, value) in fields::client_fields(patch.clone()) {
        let allowed = if key == COUNT { COUNTS } else { TIMES };
        let error = match value.as_i64() {
            _ if !KEYS.contains(&key.as_str()) => {
                json!({"enum": {"message": "there is no such setting", "cause": key, "target": KEYS}})
            }
            _ if value.is_null() => continue,
            None => {
                json!({"type": {"message": "value did not match type(s): integer", "target": "integer", "cause": value}})
            }
            Some(number) if number < *allowed.start() => {
                let least = allowed.start();
                json!({"minimum": {"message": format!("value must be at least {least}"), "target": least, "cause": number}})
            }
            Some(number) if number > *allowed.end() => {
                let most = allowed.end();
                json!({"maximum": {"message": format!("value must be at most {most}"), "target": most, "cause": number}})
            }
            Some(_) => continue,
        };
        errors.insert(key, error);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(patch: Value, codes: &[(&str, &str)]) {
        let found = wrong(patch.as_object().unwrap());
        let codes_of =
            |(field, error): (&String, &Value)| (field.clone(), error.as_object().unwrap().clone());
        let found: Vec<(String, Document)> = found.iter().map(codes_of).collect();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(field, error)| (field.as_str(), error.keys().next().unwrap().as_str()))
            .collect();
        assert_eq!(found, codes);
    }

    #[test]
    fn a_setting_is_a_whole_number_that_makes_sense_and_null_takes_it_away() {
        check(json!({EXPIRY: 5000, COUNT: 1, PAUSE_FIRST: null, "id": "webhooks"}), &[]);
        check(json!({EXPIRY: 0, COUNT: 0}), &[(EXPIRY, "minimum"), (COUNT, "minimum")]);
        check(json!({EXPIRY: "5000", COUNT: 1.5}), &[(EXPIRY, "type"), (COUNT, "type")]);
        check(
            json!({DISABLE_AFTER: 31_536_000_001_i64, COUNT: 31_536_000_001_i64}),
            &[(DISABLE_AFTER, "maximum"), (COUNT, "maximum")],
        );
        check(json!({"expiry": 5000}), &[("expiry", "enum")]);
    }
}
