//! `/v2/accounts/{id}/configs/webhooks` and `/v2/system_configs/webhooks`: what an account, or the system, has set about
//! hooks that fail.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use utoipa::ToSchema;

use super::Api;
use super::body::Data;
use super::envelope::{Answer, Reply};
use super::error::Failure;
use crate::disabler::SYSTEM;
use crate::disabler::limits::{
    COUNT, DISABLE_AFTER, EXPIRY, FailureLimits, FailureThreshold, KEYS, PAUSE_FIRST, PAUSE_LONGEST,
};
use crate::hooks::editor::casts::{self, WantedType};
use crate::hooks::editor::fields;
use crate::model::Document;

/// Milliseconds, up to a year.
const TIMES: RangeInclusive<i64> = 1..=31_536_000_000;

/// Failures.
const COUNTS: RangeInclusive<i64> = 1..=u32::MAX as i64;

/// Shows what an account has set about hooks that fail
#[utoipa::path(get, path = "/v2/accounts/{account}/configs/webhooks", tag = "Settings")]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(account): Path<String>) -> Answer<Config> {
    api.editor.account(&account).await?;
    Ok(shown(&api, &account))
}

/// Changes what an account has set
#[utoipa::path(patch, path = "/v2/accounts/{account}/configs/webhooks", tag = "Settings", request_body = ConfigPatch)]
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Data(patch, _): Data<ConfigPatch>,
) -> Answer<Config> {
    api.editor.account(&account).await?;
    change(&api, &account, patch.into_document()).await
}

/// Forgets what an account has set
#[utoipa::path(delete, path = "/v2/accounts/{account}/configs/webhooks", tag = "Settings")]
pub(super) async fn delete(State(api): State<Arc<Api>>, Path(account): Path<String>) -> Answer<Config> {
    api.editor.account(&account).await?;
    forget(&api, &account).await
}

/// Shows what is set for all accounts
#[utoipa::path(get, path = "/v2/system_configs/webhooks", tag = "Settings")]
pub(super) async fn show_system(State(api): State<Arc<Api>>) -> Reply<Config> {
    shown(&api, SYSTEM)
}

/// Changes what is set for all accounts
#[utoipa::path(patch, path = "/v2/system_configs/webhooks", tag = "Settings", request_body = ConfigPatch)]
pub(super) async fn patch_system(
    State(api): State<Arc<Api>>,
    Data(patch, _): Data<ConfigPatch>,
) -> Answer<Config> {
    change(&api, SYSTEM, patch.into_document()).await
}

/// Forgets what is set for all accounts
#[utoipa::path(delete, path = "/v2/system_configs/webhooks", tag = "Settings")]
pub(super) async fn delete_system(State(api): State<Arc<Api>>) -> Answer<Config> {
    forget(&api, SYSTEM).await
}

/// What was set, and under `_read_only` what applies with everything else.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = WebhooksConfig)]
pub(super) struct Config {
    #[schema(value_type = String)]
    id: Option<String>,
    #[schema(value_type = i64, required = false)]
    attempt_failure_expiry_ms: Option<Number>,
    #[schema(value_type = i64, required = false)]
    attempt_failure_count: Option<Number>,
    #[schema(value_type = i64, required = false)]
    pause_first_ms: Option<Number>,
    #[schema(value_type = i64, required = false)]
    pause_longest_ms: Option<Number>,
    #[schema(value_type = i64, required = false)]
    disable_after_ms: Option<Number>,
    #[serde(rename = "_read_only")]
    #[schema(value_type = SettingsInForce)]
    read_only: Option<SettingsInForce>,
}

/// What applies.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = WebhooksConfigReadOnly)]
struct SettingsInForce {
    effective: Map<String, Value>,
}

/// What is to be set; `null` takes a value away.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhooksConfigPatch, example = json!({"attempt_failure_count": 10}))]
pub(super) struct ConfigPatch {
    /// Passed over, as what is shown says it.
    #[schema(required = false, value_type = Value)]
    id: Option<Value>,
    /// Likewise.
    #[serde(rename = "_read_only")]
    #[schema(required = false, value_type = Value)]
    read_only: Option<Value>,
    /// Failures of a hook are counted over this many milliseconds.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 31_536_000_000_i64)]
    attempt_failure_expiry_ms: Option<Number>,
    /// So many failures within that time pause a hook.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 4_294_967_295_i64)]
    attempt_failure_count: Option<Number>,
    /// Milliseconds of the first pause; each further one is twice as long.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 31_536_000_000_i64)]
    pause_first_ms: Option<Number>,
    /// Milliseconds of the longest pause.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 31_536_000_000_i64)]
    pause_longest_ms: Option<Number>,
    /// A hook that fails for so many milliseconds is disabled.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 31_536_000_000_i64)]
    disable_after_ms: Option<Number>,
}

fn shown(api: &Api, account: &str) -> Reply<Config> {
    let mut data = Document::new();
    fields::set(&mut data, "id", "webhooks");
    data.extend(api.disabler.config(account));
    data.insert("_read_only".to_owned(), json!({ "effective": effective(&api.disabler.limits(account)) }));
    Reply::document(data)
}

fn effective(limits: &FailureLimits) -> Value {
    let count = match limits.threshold {
        FailureThreshold::AtLeast(count) => count,
        FailureThreshold::MoreThan(count) => count.saturating_add(1),
    };
    json!({
        EXPIRY: limits.expiry_ms,
        COUNT: count,
        PAUSE_FIRST: limits.pause_first_ms,
        PAUSE_LONGEST: limits.pause_longest_ms,
        DISABLE_AFTER: limits.disable_after_ms,
    })
}

async fn change(api: &Api, account: &str, mut patch: Document) -> Answer<Config> {
    casts::cast(&mut patch, &KEYS.map(|key| (key, WantedType::Integer)));
    let errors = wrong(&patch);
    if !errors.is_empty() {
        return Err(Failure::validation(Value::Object(errors)));
    }
    let whole = |(key, value): (String, Value)| {
        let number = fields::whole(&value).map(Value::from);
        (key, number.unwrap_or(value))
    };
    let patch = patch.into_iter().map(whole).collect();
    let set = fields::patched(&api.disabler.config(account), patch);
    api.disabler.set_config(&*api.documents, account, set).await?;
    Ok(shown(api, account))
}

async fn forget(api: &Api, account: &str) -> Answer<Config> {
    api.disabler.set_config(&*api.documents, account, Document::new()).await?;
    Ok(shown(api, account))
}

/// What is wrong with a change, as a validation error's data. `null` takes a value away.
fn wrong(patch: &Document) -> Document {
    let mut errors = Document::new();
    for (key, value) in fields::client_fields(patch.clone()) {
        let allowed = if key == COUNT { COUNTS } else { TIMES };
        let error = match fields::whole(&value) {
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
