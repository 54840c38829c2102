//! Which documents of a listing a query wants, in Crossbar's words: `filter_KEY`, `filter_not_KEY`, `has_key`,
//! `key_missing`, `has_value`, and times from and to. Pure.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::Api;
use super::error::Failure;
use crate::hooks::editor::fields;
use crate::model::Document;

/// How many filters a query may have: each is looked at for each document.
const MOST: usize = 32;

/// What a document must be like. All of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filters(Vec<FieldFilter>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum FieldFilter {
    Is(String, String),
    IsNot(String, String),
    HasKey(String),
    HasNoKey(String),
    HasValue(String),
    /// A private time, in Gregorian seconds, from this one on.
    From(&'static str, i64),
    To(&'static str, i64),
}

/// The times that a document keeps, by the word before `_from` and `_to`.
const TIMES: [(&str, &str); 2] = [("created", "pvt_created"), ("modified", "pvt_modified")];

impl Filters {
    /// Reads the filters of a query; what is none is left to others.
    ///
    /// # Errors
    /// A time that is no number, or too many filters.
    pub(super) fn of(query: &[(String, String)]) -> Result<Self, Failure> {
        let filters = query.iter().map(|(key, value)| one(key, value));
        let filters: Vec<FieldFilter> = filters.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        if filters.len() > MOST {
            let message = format!("a query may have {MOST} filters, not {}", filters.len());
            return Err(Failure::validation(fields::invalid("filter", "maxItems", &message)));
        }
        Ok(Filters(filters))
    }

    /// Whether every document is wanted.
    pub(super) fn want_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this document is wanted. Its id is looked up as `id`.
    pub(super) fn want(&self, doc: &Document) -> bool {
        self.0.iter().all(|filter| filter.holds(doc))
    }
}

impl FromRequestParts<Arc<Api>> for Filters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Failure> {
        Self::of(&pairs(parts)?)
    }
}

/// Keys and values of a query, as they stand in it.
pub(super) fn pairs(parts: &Parts) -> Result<Vec<(String, String)>, Failure> {
    let read = Query::try_from_uri(&parts.uri).map(|Query(pairs)| pairs);
    read.map_err(|_| Failure::of_framework(StatusCode::BAD_REQUEST))
}

/// The filters as a query has them. Beside these, `filter_KEY` and `filter_not_KEY` compare the field KEY, a dotted
/// path.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "keys can be of many names; these are the fixed ones")]
struct FixedFilter {
    /// Only what has this field. Beside it, `filter_KEY=VALUE` and `filter_not_KEY=VALUE` compare the field KEY.
    has_key: Option<String>,
    /// Only what has it not.
    key_missing: Option<String>,
    /// Only where the field is there and not empty.
    has_value: Option<String>,
    /// Made then or later, in Gregorian seconds.
    created_from: Option<i64>,
    /// Made then or earlier.
    created_to: Option<i64>,
    /// Changed then or later.
    modified_from: Option<i64>,
    /// Changed then or earlier.
    modified_to: Option<i64>,
}

impl IntoParams for Filters {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        FixedFilter::into_params(place)
    }
}

fn one(key: &str, value: &str) -> Result<Option<FieldFilter>, Failure> {
    let owned = (key.to_owned(), value.to_owned());
    let time = || {
        value.parse::<i64>().map_err(|_| {
            let message = format!("{key} must be Gregorian seconds, not {value:?}");
            Failure::validation(fields::invalid(&owned.0, "invalid", &message))
        })
    };
    Ok(Some(match key {
        "has_key" => FieldFilter::HasKey(owned.1),
        "key_missing" => FieldFilter::HasNoKey(owned.1),
        "has_value" => FieldFilter::HasValue(owned.1),
        _ => {
            if let Some(name) = key.strip_prefix("filter_not_") {
                FieldFilter::IsNot(name.to_owned(), owned.1)
            } else if let Some(name) = key.strip_prefix("filter_") {
                FieldFilter::Is(name.to_owned(), owned.1)
            } else if let Some((_, field)) =
                TIMES.iter().find(|(word, _)| key.strip_prefix(word) == Some("_from"))
            {
                FieldFilter::From(field, time()?)
            } else if let Some((_, field)) =
                TIMES.iter().find(|(word, _)| key.strip_prefix(word) == Some("_to"))
            {
                FieldFilter::To(field, time()?)
            } else {
                return Ok(None);
            }
        }
    }))
}

impl FieldFilter {
    fn holds(&self, doc: &Document) -> bool {
        match self {
            FieldFilter::Is(key, wanted) => public(doc, key).is_some_and(|found| equals(found, wanted)),
            FieldFilter::IsNot(key, wanted) => !public(doc, key).is_some_and(|found| equals(found, wanted)),
            FieldFilter::HasKey(key) => public(doc, key).is_some(),
            FieldFilter::HasNoKey(key) => public(doc, key).is_none(),
            FieldFilter::HasValue(key) => public(doc, key).is_some_and(|found| !is_nothing(found)),
            FieldFilter::From(field, seconds) => at(doc, field).is_some_and(|at| at >= *seconds),
            FieldFilter::To(field, seconds) => at(doc, field).is_some_and(|at| at <= *seconds),
        }
    }
}

/// A public value by its dotted path. What is private, or a secret, cannot be asked for.
fn public<'d>(doc: &'d Document, path: &str) -> Option<&'d Value> {
    let mut keys = path.split('.');
    let first = keys.next().map(|first| if first == "id" { "_id" } else { first })?;
    // An older host may have kept a key in KAZOO's settings for signatures.
    let hidden = ["secret", "security_settings"].contains(&first);
    if first.starts_with("pvt_") || (first.starts_with('_') && first != "_id") || hidden {
        return None;
    }
    // Another name of the same.
    let first = if first == "custom_request_headers" && !doc.contains_key(first) { "headers" } else { first };
    keys.try_fold(doc.get(first)?, |value, key| value.get(key))
}

/// A query is text, and so is compared as text: `true` and `"true"` are the same, as in Crossbar.
fn equals(found: &Value, wanted: &str) -> bool {
    match found {
        Value::String(text) => text == wanted,
        Value::Bool(found) => wanted == if *found { "true" } else { "false" },
        Value::Number(found) => found.to_string() == wanted,
        Value::Null => wanted == "null",
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn is_nothing(found: &Value) -> bool {
    match found {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn at(doc: &Document, field: &str) -> Option<i64> {
    doc.get(field)?.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(query: &[(&str, &str)], expected: bool) {
        let doc = json!({
            "_id": "abc", "_rev": "1-a", "pvt_created": 100, "pvt_account_id": "acct", "name": "calls", "enabled": true,
            "retries": 2, "group": "", "custom_data": {"type": "user"}, "secret": "hidden",
        });
        let Value::Object(doc) = doc else { unreachable!() };
        let query: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(Filters::of(&query).unwrap().want(&doc), expected, "{query:?}");
    }

    #[test]
    fn a_value_is_compared_as_text_by_its_path() {
        check(&[("filter_name", "calls")], true);
        check(&[("filter_name", "Calls")], false);
        check(&[("filter_enabled", "true")], true);
        check(&[("filter_retries", "2")], true);
        check(&[("filter_custom_data.type", "user")], true);
        check(&[("filter_custom_data", "user")], false);
        check(&[("filter_id", "abc")], true);
        check(&[("filter_missing", "")], false);
        check(&[("filter_not_name", "calls")], false);
        check(&[("filter_not_missing", "x")], true);
    }

    #[test]
    fn keys_and_values_can_be_asked_for() {
        check(&[("has_key", "group")], true);
        check(&[("has_key", "missing")], false);
        check(&[("key_missing", "missing")], true);
        check(&[("has_value", "group")], false);
        check(&[("has_value", "custom_data")], true);
    }

    #[test]
    fn all_filters_hold_together_and_what_is_none_is_passed_over() {
        check(&[("filter_name", "calls"), ("filter_retries", "3")], false);
        check(&[("filter_name", "calls"), ("page_size", "3"), ("created", "7")], true);
    }

    #[test]
    fn times_are_bounds_that_belong_to_the_range() {
        check(&[("created_from", "100"), ("created_to", "100")], true);
        check(&[("created_from", "101")], false);
        check(&[("created_to", "99")], false);
        check(&[("modified_from", "1")], false);
        let failure = Filters::of(&[("created_from".to_owned(), "noon".to_owned())]).unwrap_err();
        assert!(failure.data["created_from"]["invalid"]["message"].as_str().unwrap().contains("noon"));
    }

    #[test]
    fn what_is_private_cannot_be_found_out() {
        for key in ["pvt_account_id", "_rev", "secret"] {
            check(&[("has_key", key)], false);
            check(&[(&format!("filter_{key}"), "hidden")], false);
        }
    }
}
