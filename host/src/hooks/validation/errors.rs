//! Everything that is wrong with a hook document, as Crossbar answers it.

use serde_json::{Map, Value, json};

use crate::model::Document;

/// How many errors are told at once. A document can be wrong in thousands of places, and the answer would be longer than
/// it.
const MOST_TOLD: usize = 100;

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationError {
    /// Where, with dots: `uri`, `custom_data.type`.
    pub path: String,
    /// Which rule: `required`, `type`, `enum`, `minimum`, `maximum`, `error`.
    pub code: &'static str,
    /// The rule in words.
    pub message: String,
    /// What else stands beside the message: `value`, `cause`, `target`.
    pub extras: Document,
}

/// Everything that is wrong with a document.
#[derive(Clone, Debug, Default, PartialEq, thiserror::Error)]
#[error("{} is wrong in the hook document", self.paths())]
pub struct ValidationErrors(pub Vec<ValidationError>);

impl ValidationErrors {
    /// As Crossbar answers them: `{"uri":{"error":{"message":"invalid client URL","value":…}}}`.
    pub fn to_json(&self) -> Document {
        let mut by_path = Map::new();
        for error in &self.0 {
            let codes = by_path.entry(error.path.clone()).or_insert_with(|| json!({}));
            let mut said = Map::from_iter([("message".to_owned(), json!(error.message))]);
            said.extend(error.extras.clone());
            if let Some(codes) = codes.as_object_mut() {
                codes.entry(error.code).or_insert(Value::Object(said));
            }
        }
        by_path
    }

    fn paths(&self) -> String {
        self.0.iter().map(|error| error.path.as_str()).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn say(&mut self, path: &str, code: &'static str, message: impl Into<String>, extras: Value) {
        if self.0.len() >= MOST_TOLD {
            return;
        }
        let extras = extras.as_object().cloned().unwrap_or_default();
        self.0.push(ValidationError { path: path.to_owned(), code, message: message.into(), extras });
    }
}

pub(super) fn wrong_type(path: &str, wanted: &str, value: &Value, errors: &mut ValidationErrors) {
    let message = format!("value did not match type(s): {wanted}");
    errors.say(path, "type", message, json!({ "target": wanted, "cause": value }));
}

pub(super) fn one_of(path: &str, value: &str, allowed: &[&str], errors: &mut ValidationErrors) {
    if !allowed.contains(&value) {
        let extras = json!({ "cause": value, "target": allowed });
        errors.say(path, "enum", "value not found in enumerated list of values", extras);
    }
}
