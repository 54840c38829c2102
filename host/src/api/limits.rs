//! `/v2/accounts/{id}/configs/limits`: what one account may have, what of it was set for it, and what it has.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use utoipa::ToSchema;

use super::Api;
use super::body::Data;
use super::envelope::{Answer, Reply};
use super::error::Failure;
use crate::hooks::editor::fields;
use crate::hooks::limits::{LimitName, OWN_LIMITS};
use crate::model::{AccountId, Document};

/// Shows what an account may have
#[utoipa::path(
    get,
    path = "/v2/accounts/{account}/configs/limits",
    tag = "Settings",
    operation_id = "limits_show"
)]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(account): Path<String>) -> Answer<LimitsConfig> {
    let doc = api.editor.account(&account).await?;
    Ok(shown(&api, &doc))
}

/// Sets limits of an account
///
/// They go over those of the settings. What the account has already stays.
#[utoipa::path(patch, path = "/v2/accounts/{account}/configs/limits", tag = "Settings", operation_id = "limits_patch", request_body = LimitsPatch,
    responses((status = 409, description = "Somebody else changed the account meanwhile")))]
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Data(patch, _): Data<LimitsPatch>,
) -> Answer<LimitsConfig> {
    let limits =
        wanted(&patch.into_document()).map_err(|errors| Failure::validation(Value::Object(errors)))?;
    let doc = api.editor.set_limits(&account, limits).await?;
    Ok(shown(&api, &doc))
}

/// Forgets the limits that were set for an account
#[utoipa::path(delete, path = "/v2/accounts/{account}/configs/limits", tag = "Settings", operation_id = "limits_delete", responses(
    (status = 409, description = "Somebody else changed the account meanwhile")
))]
pub(super) async fn delete(State(api): State<Arc<Api>>, Path(account): Path<String>) -> Answer<LimitsConfig> {
    let limits = LimitName::ALL.map(|name| (name, None)).to_vec();
    let doc = api.editor.set_limits(&account, limits).await?;
    Ok(shown(&api, &doc))
}

/// The limits that were set for an account, and under `_read_only` what applies and what it has.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct LimitsConfig {
    #[schema(value_type = String)]
    id: Option<String>,
    #[schema(value_type = u64, required = false)]
    hooks: Option<Number>,
    #[schema(value_type = u64, required = false)]
    hook_bytes: Option<Number>,
    #[schema(value_type = u64, required = false)]
    documents_bytes: Option<Number>,
    #[schema(value_type = u64, required = false)]
    accounts_below: Option<Number>,
    #[schema(value_type = u64, required = false)]
    depth: Option<Number>,
    #[schema(value_type = u64, required = false)]
    tokens: Option<Number>,
    #[serde(rename = "_read_only")]
    #[schema(value_type = LimitsInForce)]
    read_only: Option<LimitsInForce>,
}

/// What applies, and how much of it there is.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
struct LimitsInForce {
    effective: Map<String, Value>,
    used: Map<String, Value>,
}

/// Limits to be set; `null` takes one away.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"hooks": 5000}))]
pub(super) struct LimitsPatch {
    /// Passed over, as what is shown says it.
    #[schema(required = false, value_type = Value)]
    id: Option<Value>,
    /// Likewise.
    #[serde(rename = "_read_only")]
    #[schema(required = false, value_type = Value)]
    read_only: Option<Value>,
    /// Hooks.
    #[schema(value_type = Option<u64>, maximum = 1_000_000)]
    hooks: Option<Number>,
    /// Bytes of one hook's fields as compact JSON; of the account's own likewise.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 16_777_216)]
    hook_bytes: Option<Number>,
    /// Bytes of the fields of all its hooks and of its own together.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 1_099_511_627_776_i64)]
    documents_bytes: Option<Number>,
    /// Accounts below it.
    #[schema(value_type = Option<u64>, maximum = 10_000_000)]
    accounts_below: Option<Number>,
    /// Levels of the account tree, for accounts that are made below it.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 10_000)]
    depth: Option<Number>,
    /// Access tokens.
    #[schema(value_type = Option<u64>, maximum = 100_000)]
    tokens: Option<Number>,
}

fn shown(api: &Api, account: &Document) -> Reply<LimitsConfig> {
    let id = fields::id(account);
    let mut data = Document::new();
    fields::set(&mut data, "id", "limits");
    data.extend(account.get(OWN_LIMITS).and_then(Value::as_object).cloned().unwrap_or_default());
    let effective: Document = LimitName::ALL
        .map(|name| (name.to_string(), api.editor.limit(id, name).into()))
        .into_iter()
        .collect();
    let usage = api.editor.usage(id);
    let used = json!({
        "hooks": usage.hooks,
        "documents_bytes": usage.documents_bytes,
        "accounts_below": usage.accounts_below,
        "tokens": api.access.tokens.count(&AccountId::from(id)),
    });
    fields::set(&mut data, "_read_only", json!({"effective": effective, "used": used}));
    Reply::document(data)
}

/// The limits of a change.
///
/// # Errors
/// What is wrong, as a validation error's data.
fn wanted(patch: &Document) -> Result<Vec<(LimitName, Option<u64>)>, Document> {
    let (mut limits, mut errors) = (Vec::new(), Document::new());
    // There are not more of them, whatever else is said.
    for (key, value) in patch.iter().filter(|(key, _)| !fields::is_private(key) && *key != "id").take(100) {
        let Some(name) = LimitName::parse(key) else {
            let known = LimitName::ALL.map(LimitName::as_str);
            let error = json!({"enum": {"message": "there is no such limit", "cause": key, "target": known}});
            errors.insert(key.clone(), error);
            continue;
        };
        if value.is_null() {
            limits.push((name, None));
            continue;
        }
        let (range, number) = (name.range(), fields::whole(value));
        match number.map(u64::try_from) {
            Some(Ok(number)) if range.contains(&number) => limits.push((name, Some(number))),
            Some(Ok(number)) if number > *range.end() => {
                let most = range.end();
                let message = format!("value must be at most {most}");
                errors.insert(
                    key.clone(),
                    json!({"maximum": {"message": message, "target": most, "cause": value}}),
                );
            }
            Some(_) => {
                let least = range.start();
                let message = format!("value must be at least {least}");
                errors.insert(
                    key.clone(),
                    json!({"minimum": {"message": message, "target": least, "cause": value}}),
                );
            }
            None => {
                let message = "value did not match type(s): integer";
                errors.insert(
                    key.clone(),
                    json!({"type": {"message": message, "target": "integer", "cause": value}}),
                );
            }
        }
    }
    if errors.is_empty() { Ok(limits) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_known_name_with_a_whole_number_in_its_range() {
        let read = |patch: Value| wanted(patch.as_object().unwrap());
        assert_eq!(
            read(json!({"hooks": 5, "depth": null, "id": "limits", "_read_only": {}})),
            Ok(vec![(LimitName::Hooks, Some(5)), (LimitName::Depth, None)])
        );
        for (patch, code) in [
            (json!({"hook": 5}), "enum"),
            (json!({"hooks": "5"}), "type"),
            (json!({"hooks": -1}), "minimum"),
            (json!({"depth": 0}), "minimum"),
            (json!({"hook_bytes": 1 << 30}), "maximum"),
        ] {
            let errors = read(patch.clone()).unwrap_err();
            let (_, error) = errors.iter().next().unwrap();
            assert!(error.get(code).is_some(), "{patch}: {error}");
        }
    }
}
