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
pub(super) struct Filters {
    fields: FieldFilters,
    times: TimeFilters,
}

/// What its fields must be like. Each key may stand in a query more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FieldFilters {
    /// Only what has this field. Beside it, `filter_KEY=VALUE` and `filter_not_KEY=VALUE` compare the field KEY.
    #[param(value_type = Option<String>)]
    has_key: Vec<String>,
    /// Only what has it not.
    #[param(value_type = Option<String>)]
    key_missing: Vec<String>,
    /// Only where the field is there and not empty.
    #[param(value_type = Option<String>)]
    has_value: Vec<String>,
    /// `filter_KEY` and `filter_not_KEY`, whose names no description can list.
    #[param(ignore)]
    compared: Vec<FieldComparison>,
}

/// What one field, by its dotted path, must be or must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldComparison {
    path: String,
    wanted: String,
    is_equal: bool,
}

/// When it must have been made and changed. Of a key that stands in a query more than once the narrowest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TimeFilters {
    /// Made then or later, in Gregorian seconds.
    created_from: Option<i64>,
    /// Made then or earlier.
    created_to: Option<i64>,
    /// Changed then or later.
    modified_from: Option<i64>,
    /// Changed then or earlier.
    modified_to: Option<i64>,
}

impl Filters {
    /// Reads the filters of a query; what is none is left to others.
    ///
    /// # Errors
    /// A time that is no number, or too many filters.
    pub(super) fn of(query: &[(String, String)]) -> Result<Self, Failure> {
        let (mut filters, mut count) = (Self::default(), 0);
        for (key, value) in query {
            if filters.fields.add(key, value) || filters.times.add(key, value)? {
                count += 1;
            }
        }
        if count > MOST {
            let message = format!("a query may have {MOST} filters, not {count}");
            return Err(Failure::validation(fields::invalid("filter", "maxItems", &message)));
        }
        Ok(filters)
    }

    /// Whether every document is wanted.
    pub(super) fn want_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this document is wanted. Its id is looked up as `id`.
    pub(super) fn want(&self, doc: &Document) -> bool {
        self.fields.hold(doc) && self.times.hold(doc)
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

impl IntoParams for Filters {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        [FieldFilters::into_params(&place), TimeFilters::into_params(&place)].concat()
    }
}

impl FieldFilters {
    /// Whether this key is one of these filters.
    fn add(&mut self, key: &str, value: &str) -> bool {
        let owned = || value.to_owned();
        match key {
            "has_key" => self.has_key.push(owned()),
            "key_missing" => self.key_missing.push(owned()),
            "has_value" => self.has_value.push(owned()),
            _ => {
                let (path, is_equal) = match (key.strip_prefix("filter_not_"), key.strip_prefix("filter_")) {
                    (Some(path), _) => (path, false),
                    (None, Some(path)) => (path, true),
                    (None, None) => return false,
                };
                self.compared.push(FieldComparison { path: path.to_owned(), wanted: owned(), is_equal });
            }
        }
        true
    }

    fn hold(&self, doc: &Document) -> bool {
        self.has_key.iter().all(|key| public(doc, key).is_some())
            && self.key_missing.iter().all(|key| public(doc, key).is_none())
            && self.has_value.iter().all(|key| public(doc, key).is_some_and(|found| !is_nothing(found)))
            && self.compared.iter().all(|compared| {
                let found = public(doc, &compared.path);
                found.is_some_and(|found| equals(found, &compared.wanted)) == compared.is_equal
            })
    }
}

impl TimeFilters {
    /// Whether this key is one of these filters.
    fn add(&mut self, key: &str, value: &str) -> Result<bool, Failure> {
        let (bound, narrower): (_, fn(i64, i64) -> i64) = match key {
            "created_from" => (&mut self.created_from, i64::max),
            "created_to" => (&mut self.created_to, i64::min),
            "modified_from" => (&mut self.modified_from, i64::max),
            "modified_to" => (&mut self.modified_to, i64::min),
            _ => return Ok(false),
        };
        let seconds = value.parse::<i64>().map_err(|_| {
            let message = format!("{key} must be Gregorian seconds, not {value:?}");
            Failure::validation(fields::invalid(key, "invalid", &message))
        })?;
        *bound = Some(bound.map_or(seconds, |before| narrower(before, seconds)));
        Ok(true)
    }

    fn hold(&self, doc: &Document) -> bool {
        let within = |field: &str, from: Option<i64>, to: Option<i64>| {
            if from.is_none() && to.is_none() {
                return true;
            }
            at(doc, field)
                .is_some_and(|at| from.is_none_or(|from| at >= from) && to.is_none_or(|to| at <= to))
        };
        within("pvt_created", self.created_from, self.created_to)
            && within("pvt_modified", self.modified_from, self.modified_to)
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
    fn each_key_that_the_description_names_is_a_filter() {
        for parameter in Filters::into_params(|| None) {
            let query = [(parameter.name.clone(), "1".to_owned())];
            assert!(!Filters::of(&query).unwrap().want_all(), "{}", parameter.name);
        }
    }

    #[test]
    fn a_key_that_stands_there_twice_holds_twice() {
        check(&[("has_key", "name"), ("has_key", "retries")], true);
        check(&[("has_key", "name"), ("has_key", "missing")], false);
        check(&[("created_from", "101"), ("created_from", "99")], false);
        check(&[("created_to", "101"), ("created_to", "99")], false);
    }

    #[test]
    fn what_is_private_cannot_be_found_out() {
        for key in ["pvt_account_id", "_rev", "secret"] {
            check(&[("has_key", key)], false);
            check(&[(&format!("filter_{key}"), "hidden")], false);
        }
    }
}
