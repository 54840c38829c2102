//! Which hook documents the API takes, and what it says about the others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::editor::casts::{self, WantedType};
use crate::model::CHANNEL_EVENTS;
use crate::model::guard::Guard;
use crate::model::{Document, HookEvent};

mod sending;

/// Events that only old documents name; nobody can ask for them.
pub(crate) const RETIRED: [&str; 4] = ["callflow", "inbound_fax", "outbound_fax", "skel"];

/// The events that loaded modules announce, each with its `modifiers` from the module's metadata.
#[derive(Clone, Debug, Default)]
pub struct Events(BTreeMap<String, Option<Document>>);

impl Events {
    /// Adds an event (`channel_create`, `object`), or replaces its modifiers.
    pub fn insert(&mut self, name: impl Into<String>, modifiers: Option<Document>) {
        self.0.insert(name.into(), modifiers);
    }

    /// What a hook may name: `all` and every announced event, sorted, without the retired ones.
    pub fn names(&self) -> Vec<&str> {
        let announced = self.0.keys().map(String::as_str).filter(|name| !RETIRED.contains(name));
        let mut names: Vec<_> = announced.chain(["all"]).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the original would load a hook of this event: `all` and the channel events always, others
    /// when a module announces them.
    pub fn knows(&self, event: &HookEvent) -> bool {
        match event {
            HookEvent::All => true,
            HookEvent::Named(name) => CHANNEL_EVENTS.contains(&&**name) || self.0.contains_key(&**name),
        }
    }

    /// The conditions that hooks of this event must state in their custom_data.
    pub fn modifiers(&self, name: &str) -> Option<&Document> {
        self.0.get(name)?.as_ref()
    }
}

/// Which addresses the API refuses. The scheme must be http or https whatever stands here; names are
/// compared, not resolved. The original's defaults are `localhost`, `127.0.0.1/32` and `0.0.0.0/32`; ours
/// are the guard's, which decides again when a request is sent.
#[derive(Clone, Debug, Default)]
pub struct UriRules {
    /// Host names, in lower case.
    pub hosts: Vec<String>,
    /// Networks that a literal address must not be in.
    pub cidrs: Vec<IpNet>,
    /// Which addresses may be spoken to at all; `None`: any.
    pub guard: Option<Guard>,
}

impl UriRules {
    /// Whether a hook may be sent there. Unlike the original, which takes the user for the host in
    /// `http://user:password@localhost/`, this looks at the host that would be asked.
    pub fn allow(&self, uri: &str) -> bool {
        let Ok(url) = reqwest::Url::parse(uri) else {
            return false;
        };
        if !matches!(url.scheme(), "http" | "https") {
            return false;
        }
        let refused = |address: IpAddr| self.cidrs.iter().any(|net| net.contains(&address));
        match url.host() {
            None => false,
            Some(url::Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                !self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
            }
            Some(url::Host::Ipv4(address)) => !refused(address.into()),
            Some(url::Host::Ipv6(address)) => {
                !refused(address.into())
                    && !address.to_ipv4_mapped().is_some_and(|inner| refused(inner.into()))
            }
        }
    }

    /// Why the guard would never let a request go there.
    fn refusal(&self, uri: &str) -> Option<String> {
        let url = reqwest::Url::parse(uri).ok()?;
        self.guard.as_ref()?.check_saved(&url).err().map(|refusal| refusal.to_string())
    }
}

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

    fn say(&mut self, path: &str, code: &'static str, message: impl Into<String>, extras: Value) {
        if self.0.len() >= MOST_TOLD {
            return;
        }
        let extras = extras.as_object().cloned().unwrap_or_default();
        self.0.push(ValidationError { path: path.to_owned(), code, message: message.into(), extras });
    }
}

/// Fields of Crossbar's schema that are no texts; forms send them as such.
const NO_TEXTS: [(&str, WantedType); 4] = [
    ("retries", WantedType::Integer),
    ("enabled", WantedType::Boolean),
    ("include_internal_legs", WantedType::Boolean),
    ("include_subaccounts", WantedType::Boolean),
];

/// Checks the public fields of a document against Crossbar's `webhooks` schema, its URL check and the
/// modifiers of the event, fills in the schema's defaults and converts texts that say a number or a boolean where one
/// belongs. All errors are told at once.
pub fn validate(document: &mut Document, events: &Events, uris: &UriRules) -> Result<(), ValidationErrors> {
    let mut errors = ValidationErrors::default();
    for (field, default) in [
        ("http_verb", json!("post")),
        ("format", json!("form-data")),
        ("retries", json!(2)),
        ("enabled", json!(true)),
        ("include_internal_legs", json!(true)),
    ] {
        document.entry(field).or_insert(default);
    }

    casts::cast(document, &NO_TEXTS);
    sending::cast(document);
    string(document, "name", true, &mut errors);
    let event = string(document, "hook", true, &mut errors);
    if let Some(event) = event {
        one_of("hook", event, &events.names(), &mut errors);
    }
    if let Some(uri) = string(document, "uri", true, &mut errors) {
        if !uris.allow(uri) {
            errors.say("uri", "error", "invalid client URL", json!({ "value": uri }));
        } else if let Some(why) = uris.refusal(uri) {
            // Clients show the message and nothing else.
            let message = format!("invalid client URL: {why}");
            errors.say("uri", "error", message, json!({ "value": uri, "cause": why }));
        }
    }
    if let Some(verb) = string(document, "http_verb", false, &mut errors) {
        one_of("http_verb", verb, &["get", "post", "put"], &mut errors);
    }
    if let Some(format) = string(document, "format", false, &mut errors) {
        one_of("format", format, &["form-data", "json"], &mut errors);
    }
    retries(document.get("retries"), &mut errors);
    for field in ["enabled", "include_internal_legs", "include_subaccounts"] {
        if let Some(value) = document.get(field).filter(|value| !value.is_boolean()) {
            wrong_type(field, "boolean", value, &mut errors);
        }
    }
    custom_data(document.get("custom_data"), event.and_then(|event| events.modifiers(event)), &mut errors);
    sending::validate(document, &mut errors);
    if errors.0.is_empty() { Ok(()) } else { Err(errors) }
}

fn string<'a>(
    document: &'a Document,
    field: &str,
    required: bool,
    errors: &mut ValidationErrors,
) -> Option<&'a str> {
    match document.get(field) {
        Some(Value::String(text)) => return Some(text),
        Some(other) => wrong_type(field, "string", other, errors),
        None if required => {
            errors.say(field, "required", "field is required but missing", json!({}));
        }
        None => {}
    }
    None
}

fn wrong_type(path: &str, wanted: &str, value: &Value, errors: &mut ValidationErrors) {
    let message = format!("value did not match type(s): {wanted}");
    errors.say(path, "type", message, json!({ "target": wanted, "cause": value }));
}

fn one_of(path: &str, value: &str, allowed: &[&str], errors: &mut ValidationErrors) {
    if !allowed.contains(&value) {
        let extras = json!({ "cause": value, "target": allowed });
        errors.say(path, "enum", "value not found in enumerated list of values", extras);
    }
}

fn retries(value: Option<&Value>, errors: &mut ValidationErrors) {
    let Some(value) = value else { return };
    // A number without a fraction is an integer, however it is spelled.
    match value.as_f64().filter(|number| number.fract() == 0.0) {
        None => wrong_type("retries", "integer", value, errors),
        Some(number) if number < 0.0 => {
            errors.say(
                "retries",
                "minimum",
                "value must be at least 0",
                json!({"target": 0, "cause": value}),
            );
        }
        Some(number) if number > 4.0 => {
            errors.say("retries", "maximum", "value must be at most 4", json!({"target": 4, "cause": value}));
        }
        Some(_) => {}
    }
}

fn custom_data(value: Option<&Value>, modifiers: Option<&Document>, errors: &mut ValidationErrors) {
    let data = match value {
        None => None,
        Some(Value::Object(data)) => Some(data),
        Some(other) => return wrong_type("custom_data", "object", other, errors),
    };
    for (key, value) in data.into_iter().flatten().filter(|(_, value)| !value.is_string()) {
        wrong_type(&format!("custom_data.{key}"), "string", value, errors);
    }
    for (key, rule) in modifiers.into_iter().flatten() {
        let path = format!("custom_data.{key}");
        match data.and_then(|data| data.get(key)) {
            None => errors.say(&path, "required", "missing required modifier", json!({})),
            Some(Value::String(value)) => {
                if let Some(items) = allowed(rule)
                    && !items.contains(&value.as_str())
                {
                    one_of(&path, value, &items, errors);
                }
            }
            Some(_) => {} // said above
        }
    }
}

/// The values that a modifier of the metadata lets through; `None` when it does not say.
/// For a list `all` passes always, for an object its keys are the values (`cb_webhooks` does the same).
pub(crate) fn allowed(rule: &Value) -> Option<Vec<&str>> {
    let items = rule.get("items")?;
    match rule.get("type").and_then(Value::as_str)? {
        "array" => {
            let mut items: Vec<_> = items.as_array()?.iter().filter_map(Value::as_str).collect();
            if !items.contains(&"all") {
                items.push("all");
            }
            Some(items)
        }
        "object" => Some(items.as_object()?.keys().map(String::as_str).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::request::{SharedBodies, WebhookHeaders};
    use crate::fuzz;
    use crate::model::Hook;
    use crate::model::Profile;
    use crate::model::payload::Payload;

    fn events() -> Events {
        let mut events = Events::default();
        events.insert("channel_create", None);
        events.insert("callflow", None);
        let modifiers = json!({
            "type": {"type": "array", "items": ["user", "device"]},
            "action": {"type": "object", "items": {"all": {}, "doc_created": {}}},
        });
        events.insert("object", modifiers.as_object().cloned());
        events
    }

    /// What validation lets through is a hook, and a request can be made for it.
    #[test]
    fn fuzz_hook_document() {
        let payload = bytes::Bytes::from_static(br#"{"a":"b","c":[1,{"d":null}]}"#);
        fuzz::target("hook_document", |bytes| {
            let Ok(Value::Object(mut document)) = serde_json::from_slice(bytes) else { return Ok(()) };
            drop(Hook::from_document(&document));
            if validate(&mut document, &events(), &UriRules::default()).is_err() {
                return Ok(());
            }
            // The editor sets these, and keeps a secret elsewhere.
            document.insert("_id".to_owned(), "h1".into());
            document.insert("pvt_account_id".to_owned(), "a1".into());
            document.remove("secret");
            let hook = Hook::from_document(&document)
                .map_err(|error| format!("it is let in and no hook: {error}"))?;
            fuzz::ensure(hook.url.is_some(), || format!("it is let in and {:?} is no address", hook.uri))?;
            for profile in [Profile::Standard, Profile::Kazoo] {
                let payload = Payload::parse(payload.clone()).map_err(|error| error.to_string())?;
                let stamp = WebhookHeaders { webhook_id: "msg_1", timestamp: 1 };
                let made = SharedBodies::new(profile, "cluster", payload).request(&hook, Some(stamp));
                fuzz::ensure(made.is_ok(), || format!("it is let in and cannot be sent: {:?}", made.err()))?;
            }
            Ok(())
        });
    }

    #[track_caller]
    fn check(document: Value, uris: &UriRules, expected: Value) {
        let mut document = document.as_object().cloned().unwrap();
        let said = validate(&mut document, &events(), uris).map_err(|errors| Value::Object(errors.to_json()));
        match said {
            Ok(()) => assert_eq!(Value::Object(document), expected),
            Err(errors) => assert_eq!(errors, expected),
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        check(
            json!({"name": "n", "hook": "channel_create", "uri": "http://127.0.0.1:9/x", "group": "g"}),
            &UriRules::default(),
            json!({"name": "n", "hook": "channel_create", "uri": "http://127.0.0.1:9/x", "group": "g",
                   "http_verb": "post", "format": "form-data", "retries": 2, "enabled": true,
                   "include_internal_legs": true}),
        );
    }

    #[test]
    fn all_errors_are_told_at_once() {
        check(
            json!({"hook": "callflow", "uri": "ftp://x/", "http_verb": "POST", "retries": 5, "enabled": "yes",
                   "custom_data": {"n": 1}}),
            &UriRules::default(),
            json!({
                "name": {"required": {"message": "field is required but missing"}},
                "hook": {"enum": {"message": "value not found in enumerated list of values",
                    "cause": "callflow", "target": ["all", "channel_create", "object"]}},
                "uri": {"error": {"message": "invalid client URL", "value": "ftp://x/"}},
                "http_verb": {"enum": {"message": "value not found in enumerated list of values",
                    "cause": "POST", "target": ["get", "post", "put"]}},
                "retries": {"maximum": {"message": "value must be at most 4", "target": 4, "cause": 5}},
                "enabled": {"type": {"message": "value did not match type(s): boolean",
                    "target": "boolean", "cause": "yes"}},
                "custom_data.n": {"type": {"message": "value did not match type(s): string",
                    "target": "string", "cause": 1}},
            }),
        );
    }

    #[test]
    fn an_object_hook_must_say_which_type_and_action() {
        let hook = |custom_data: Value| json!({"name": "n", "hook": "object", "uri": "http://x/", "custom_data": custom_data});
        let uris = UriRules::default();
        check(
            hook(json!({"type": "vmbox"})),
            &uris,
            json!({
                "custom_data.type": {"enum": {"message": "value not found in enumerated list of values",
                    "cause": "vmbox", "target": ["user", "device", "all"]}},
                "custom_data.action": {"required": {"message": "missing required modifier"}},
            }),
        );
        let mut fine = hook(json!({"type": "all", "action": "doc_created"})).as_object().cloned().unwrap();
        assert_eq!(validate(&mut fine, &events(), &uris), Ok(()));
    }

    #[test]
    fn an_address_that_the_guard_refuses_is_told_with_its_cause() {
        let uris = UriRules { guard: Some(Guard::default()), ..UriRules::default() };
        for (uri, cause) in [
            (
                "http://10.0.0.8/x",
                "10.0.0.8 is a private address; delivery.allow_targets would have to list it, such as \"10.0.0.8/32\"",
            ),
            (
                "http://localhost:9/",
                "localhost leads to 127.0.0.1, which is a loopback address; \
              delivery.allow_targets would have to list it, such as \"127.0.0.1/32\"",
            ),
        ] {
            let message = format!("invalid client URL: {cause}");
            let said = json!({"message": message, "value": uri, "cause": cause});
            check(json!({"name": "n", "hook": "all", "uri": uri}), &uris, json!({"uri": {"error": said}}));
        }
    }

    #[test]
    fn refused_hosts_are_found_behind_credentials_and_in_mapped_addresses() {
        let rules = UriRules {
            hosts: vec!["localhost".into()],
            cidrs: vec!["127.0.0.1/32".parse().unwrap()],
            guard: None,
        };
        for (uri, allowed) in [
            ("https://localhost:345/", false),
            ("http://LocalHost./", false),
            ("http://x:y@localhost/", false),
            ("http://127.0.0.1/", false),
            ("http://[::ffff:127.0.0.1]/", false),
            ("http://127.0.0.2/", true),
            ("http://localhost.example.com/", true),
            ("mailto:x@example.com", false),
            ("/relative", false),
        ] {
            assert_eq!(rules.allow(uri), allowed, "{uri}");
        }
    }
}
