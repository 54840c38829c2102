//! `POST …/webhooks/{hook}/test`: which sample a hook is sent when somebody wants to see a request of it arrive.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};

use super::Api;
use super::body::DataIfAny;
use super::envelope::{Answer, Reply};
use super::error::Failure;
use super::known::field_names;
use super::offload::off_thread;
use super::shapes::TestedAttempt;
use super::typed::TypedDocument;
use crate::delivery::test_send::NotTested;
use crate::hooks::editor::fields;
use crate::model::payload::Payload;
use crate::model::{Document, HookEvent, HookId};

/// What is sent as a test. Without anything it is a sample of the hook's module.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"sample": 0}))]
pub(super) struct NewTest {
    /// Of a hook of `all`: the event whose samples count.
    hook: Option<String>,
    /// The place of a sample, from 0, or an object of fields that it must have.
    #[schema(required = false, schema_with = place_or_fields)]
    sample: Option<WantedSample>,
    /// An object in place of a sample.
    payload: Option<Map<String, Value>>,
}

/// How a sample is named.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum WantedSample {
    Nth(u64),
    With(Document),
}

fn place_or_fields() -> Schema {
    let of = |kind| ObjectBuilder::new().schema_type(kind);
    let one_of = OneOfBuilder::new()
        .item(of(Type::Integer).minimum(Some(0)))
        .item(of(Type::Object))
        .item(of(Type::Null));
    Schema::OneOf(one_of.build())
}

/// Sends a sample to a hook
///
/// Once and at once, as its events are sent, and marked by the header `webhook-test`. It counts neither for nor against
/// the hook; one that is disabled is sent to as well. The answer is the attempt, whatever became of it.
// Whoever presses a button wants to see that, and one try takes no longer than `delivery.request_timeout_ms`.
#[utoipa::path(post, path = "/v2/accounts/{account}/webhooks/{hook}/test", tag = "Webhooks",
    operation_id = "webhooks_test", request_body = Option<NewTest>, responses(
    (status = 409, description = "A test of the hook is under way, or the host cannot work with it")
))]
pub(super) async fn send(
    State(api): State<Arc<Api>>,
    Path((account, hook)): Path<(String, String)>,
    DataIfAny(data, _): DataIfAny<NewTest>,
) -> Answer<TestedAttempt> {
    let wish = TestQuery::read(data)?;
    let document = api.editor.hook(&account, &hook).await?;
    let is_loaded = |module: &str| api.modules.show(module).is_some();
    let is_own = matches!(wish.which, TestSample::Own(_));
    let payload = wish.payload(&document, &api.modules.samples(), is_loaded)?;
    let written = move || Payload::parse(Bytes::from(Value::Object(payload).to_string()));
    // As long as its sender made it, where it is no sample.
    let payload = if is_own { off_thread(written).await? } else { written() };
    let payload = payload.map_err(|error| invalid("payload", "invalid", &error.to_string()))?;
    let attempt = api.tests.send(&HookId::from(hook), payload).await?;
    // It was sent, whatever fields it is kept with.
    Ok(TestedAttempt::of(&attempt).map_or_else(|| Reply::raw(attempt), |tested| Reply::of(&tested)))
}

/// What a body asks for.
#[derive(Debug, Default, PartialEq)]
struct TestQuery {
    /// Of a hook for all events: whose samples.
    event: Option<HookEvent>,
    which: TestSample,
}

#[derive(Debug, Default, PartialEq)]
enum TestSample {
    /// The first that the hook's own `type` and `action` would let through; without any, the first.
    #[default]
    Fitting,
    /// The one at this place, from 0.
    Nth(usize),
    /// The first with these fields.
    With(Document),
    /// None of the module's.
    Own(Document),
}

impl TestQuery {
    fn read(data: TypedDocument<NewTest>) -> Result<Self, Failure> {
        let TypedDocument { known: NewTest { hook, sample, payload }, rest, .. } = data;
        let known = field_names::<NewTest>();
        if let Some(unknown) = rest.keys().find(|key| !known.contains(&key.as_str())) {
            let message = format!("there is no such field: {} are", known.join(", "));
            return Err(invalid(unknown, "unknown", &message));
        }
        let is_wrong = |field: &str| rest.get(field).is_some_and(|value| !value.is_null());
        if is_wrong("hook") {
            return Err(invalid("hook", "type", "hook must be the name of an event"));
        }
        if (sample.is_some() || is_wrong("sample")) && (payload.is_some() || is_wrong("payload")) {
            return Err(invalid("payload", "excluded", "give a sample or a payload, not both"));
        }
        if is_wrong("payload") {
            return Err(invalid("payload", "type", "the payload must be an object"));
        }
        let no_place = || {
            let message = "sample must be its place, from 0, or an object of fields that it has";
            invalid("sample", "type", message)
        };
        if is_wrong("sample") {
            return Err(no_place());
        }
        let which = match (sample, payload) {
            (Some(WantedSample::Nth(nth)), _) => {
                TestSample::Nth(usize::try_from(nth).map_err(|_| no_place())?)
            }
            (Some(WantedSample::With(like)), _) => TestSample::With(like),
            (None, Some(own)) => TestSample::Own(own),
            (None, None) => TestSample::Fitting,
        };
        Ok(TestQuery { event: hook.as_deref().map(HookEvent::parse), which })
    }

    /// What is sent to this hook. `samples` are those of each loaded module that has any.
    fn payload(
        self,
        hook: &Document,
        samples: &BTreeMap<String, Vec<Value>>,
        is_loaded: impl Fn(&str) -> bool,
    ) -> Result<Document, Failure> {
        let own = hook.get("hook").and_then(Value::as_str).map(HookEvent::parse).unwrap_or(HookEvent::All);
        let event = match self.event {
            Some(asked) if own != HookEvent::All && asked != own => {
                let message = format!("the hook is for {own} and is sent nothing of {asked}");
                return Err(invalid("hook", "enum", &message));
            }
            Some(asked) => asked,
            None => own,
        };
        let payload = match self.which {
            TestSample::Own(payload) => return Ok(payload),
            which => which.of(&available(&event, samples, is_loaded)?, hook)?,
        };
        let mut payload = payload.as_object().cloned().unwrap_or_default();
        // Receivers of several accounts look there for whose it is.
        if let Some(account) = payload.get_mut("account_id") {
            *account = fields::owner(hook).into();
        }
        Ok(payload)
    }
}

/// The samples of an event's module; of all events, those of all modules, by the modules' ids.
fn available<'s>(
    event: &HookEvent,
    samples: &'s BTreeMap<String, Vec<Value>>,
    is_loaded: impl Fn(&str) -> bool,
) -> Result<Vec<&'s Value>, Failure> {
    let missing = |message: &str| {
        Err(invalid("hook", "sample", &format!("{message}; give one of your own as payload, an object")))
    };
    match event {
        HookEvent::All => match samples.values().flatten().collect::<Vec<_>>() {
            none if none.is_empty() => missing("no module with samples is loaded"),
            all => Ok(all),
        },
        HookEvent::Named(name) => {
            let module = format!("webhooks_{name}");
            match samples.get(&module) {
                Some(of_module) => Ok(of_module.iter().collect()),
                None if is_loaded(&module) => missing(&format!("the module {module} has no samples")),
                None => missing(&format!("the module {module} is not loaded, and with it its samples")),
            }
        }
    }
}

impl TestSample {
    fn of<'s>(&self, samples: &[&'s Value], hook: &Document) -> Result<&'s Value, Failure> {
        let count = samples.len();
        let none = |message: &str| invalid("sample", "enum", message);
        match self {
            TestSample::Nth(nth) => samples
                .get(*nth)
                .copied()
                .ok_or_else(|| none(&format!("there is no sample {nth}: there are {count}, counted from 0"))),
            TestSample::With(fields) => {
                let has_all = |sample: &&&Value| fields.iter().all(|(key, is)| sample.get(key) == Some(is));
                let found = samples.iter().find(has_all).copied();
                found.ok_or_else(|| none(&format!("none of the {count} samples has these fields")))
            }
            TestSample::Fitting | TestSample::Own(_) => {
                let fitting = samples.iter().find(|sample| fits(sample, hook));
                fitting.or(samples.first()).copied().ok_or_else(|| none("there are no samples"))
            }
        }
    }
}

/// Whether a sample is what the `custom_data` of a hook asks for. A notification's type is its event's name.
fn fits(sample: &Value, hook: &Document) -> bool {
    [("type", "event_name"), ("action", "action")].iter().all(|(filter, field)| {
        let asked = hook.get("custom_data").and_then(|data| data.get(filter)).and_then(Value::as_str);
        let said = sample.get(filter).or_else(|| sample.get(field)).and_then(Value::as_str);
        match (asked, said) {
            (Some(asked), Some(said)) => asked == "all" || asked == said,
            _ => true,
        }
    })
}

fn invalid(field: &str, code: &str, message: &str) -> Failure {
    Failure::validation(fields::invalid(field, code, message))
}

impl From<NotTested> for Failure {
    fn from(error: NotTested) -> Self {
        let new = |status, code| Failure::new(status, code, error.to_string());
        match error {
            NotTested::NotServed(_) => new(StatusCode::CONFLICT, "hook_not_served"),
            NotTested::UnderWay(_) => new(StatusCode::CONFLICT, "test_under_way"),
            NotTested::TooMany => new(StatusCode::SERVICE_UNAVAILABLE, "too_many_tests").retry_soon(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Document {
        value.as_object().unwrap().clone()
    }

    fn chosen(hook: Value, data: Value) -> Result<Value, Value> {
        let samples = BTreeMap::from([
            ("webhooks_door".to_owned(), vec![json!({"n": 0, "account_id": "example"})]),
            (
                "webhooks_object".to_owned(),
                vec![
                    json!({"n": 1, "type": "user", "action": "doc_created"}),
                    json!({"n": 2, "type": "device", "action": "doc_deleted"}),
                ],
            ),
            ("webhooks_notifications".to_owned(), vec![json!({"n": 3, "event_name": "register"})]),
        ]);
        let mut document = object(json!({"_id": "h", "pvt_account_id": "a"}));
        document.extend(object(hook));
        let wish = TestQuery::read(TypedDocument::read(object(data))).map_err(|failure| failure.data)?;
        let payload = wish.payload(&document, &samples, |module| module == "webhooks_sms");
        payload.map(Value::Object).map_err(|failure| failure.data)
    }

    #[test]
    fn a_sample_is_the_one_asked_for_or_one_that_the_hook_would_be_sent() {
        let of_type = |kind: &str| json!({"hook": "object", "custom_data": {"type": kind, "action": "all"}});
        for (hook, data, expected) in [
            (json!({"hook": "object"}), json!({}), 1),
            (json!({"hook": "OBJECT"}), json!({"hook": "object"}), 1),
            (of_type("device"), json!({}), 2),
            (of_type("all"), json!({}), 1),
            (of_type("fax"), json!({}), 1),
            (of_type("device"), json!({"sample": 0}), 1),
            (json!({"hook": "object"}), json!({"sample": 1}), 2),
            (json!({"hook": "object"}), json!({"sample": {"type": "device"}}), 2),
            (json!({"hook": "object"}), json!({"sample": null, "payload": {"n": 9}}), 9),
            (json!({"hook": "notifications", "custom_data": {"type": "register"}}), json!({}), 3),
            (json!({"hook": "all"}), json!({}), 0),
            (json!({"hook": "all"}), json!({"sample": 3}), 2),
            (json!({"hook": "all"}), json!({"hook": "object"}), 1),
            (json!({"hook": "sms"}), json!({"payload": {"n": 7}}), 7),
        ] {
            assert_eq!(chosen(hook.clone(), data.clone()).unwrap()["n"], expected, "{hook} {data}");
        }
    }

    #[test]
    fn a_sample_speaks_of_the_hooks_account_and_a_payload_of_ones_own_is_left_alone() {
        assert_eq!(chosen(json!({"hook": "door"}), json!({})), Ok(json!({"n": 0, "account_id": "a"})));
        let own = json!({"account_id": "b"});
        assert_eq!(chosen(json!({"hook": "door"}), json!({"payload": own})), Ok(own));
    }

    #[test]
    fn what_cannot_be_sent_is_named_with_what_can() {
        for (event, data, field, words) in [
            ("sms", json!({}), "hook", "webhooks_sms has no samples"),
            ("fax", json!({}), "hook", "webhooks_fax is not loaded"),
            ("all", json!({"hook": "fax"}), "hook", "webhooks_fax is not loaded"),
            ("object", json!({"hook": "door"}), "hook", "is for object"),
            ("object", json!({"hook": 1}), "hook", "name of an event"),
            ("object", json!({"sample": 2}), "sample", "there are 2"),
            ("object", json!({"sample": -1}), "sample", "from 0"),
            ("object", json!({"sample": {"type": "fax"}}), "sample", "none of the 2"),
            ("object", json!({"payload": []}), "payload", "an object"),
            ("object", json!({"sample": 0, "payload": {}}), "payload", "not both"),
            ("object", json!({"event": "x"}), "event", "hook, sample, payload"),
        ] {
            let wrong = chosen(json!({"hook": event}), data.clone()).unwrap_err();
            assert!(wrong[field].to_string().contains(words), "{event} {data}: {wrong}");
        }
        let nobody =
            TestQuery::default().payload(&object(json!({"hook": "all"})), &BTreeMap::new(), |_| false);
        assert!(nobody.unwrap_err().data["hook"].to_string().contains("no module with samples"));
    }
}
