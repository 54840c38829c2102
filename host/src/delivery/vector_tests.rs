//! Recorded outputs of the original's own code, against ours (`tests/fixtures/vectors/SOURCE.md`).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::form::write_form;
use super::request::{SharedBodies, build};
use super::schedule;
use super::verdict::{Verdict, classify};
use crate::hooks::document::BadHook;
use crate::hooks::matching::modifiers_match;
use crate::model::EndpointAnswer;
use crate::model::Hook;
use crate::model::OutgoingRequest;
use crate::model::Profile;
use crate::model::payload::Payload;

const CLUSTER: &str = "clusterid0000000000000000000001a";

const NOT_UTF8: &str = "bytes that are not UTF-8 cannot be in a payload";
const UNDEFINED: &str = "an Erlang undefined cannot be in a payload";

/// One recorded case. Inputs stay text where a tree of values would change them.
#[derive(Deserialize)]
pub(crate) struct Case<'a> {
    pub(crate) case: String,
    #[serde(rename = "fn")]
    pub(crate) function: String,
    #[serde(borrow)]
    pub(crate) input: BTreeMap<String, &'a RawValue>,
    pub(crate) context: Value,
    pub(crate) expected: Value,
}

impl Case<'_> {
    pub(crate) fn input(&self, name: &str) -> Value {
        self.input.get(name).map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap())
    }

    fn crashed(&self) -> bool {
        self.expected.get("crashed").or(self.expected.get("error")).is_some()
    }

    /// The payload, also where the recording spells it as pairs.
    fn payload(&self, name: &str) -> Payload {
        let json = match self.input(name).get("$pairs") {
            Some(Value::Array(pairs)) => {
                let members: Vec<_> = pairs.iter().map(|pair| format!("{}:{}", pair[0], pair[1])).collect();
                format!("{{{}}}", members.join(","))
            }
            _ => self.input[name].get().to_owned(),
        };
        Payload::parse(Bytes::from(json)).unwrap_or_else(|error| panic!("{}: {error}", self.case))
    }
}

/// Runs `check` on every case that is not on the list of skipped ones; the list may not be out of date.
pub(crate) fn each(file: &str, skipped: &[(&str, &str)], mut check: impl FnMut(&Case<'_>)) {
    let mut left: Vec<_> = skipped.iter().map(|(case, _reason)| *case).collect();
    let mut checked = 0;
    for line in file.lines().filter(|line| !line.is_empty()) {
        let case: Case<'_> = serde_json::from_str(line).unwrap();
        if let Some(place) = left.iter().position(|name| *name == case.case) {
            left.remove(place);
        } else {
            check(&case);
            checked += 1;
        }
    }
    assert!(left.is_empty(), "no such cases: {left:?}");
    assert!(checked > 0);
}

/// A hook record of the original, through a document.
pub(crate) fn hook(record: &Value) -> Result<Hook, BadHook> {
    let mut document = json!({"hook": "all", "http_verb": "get", "retries": 3, "uri": "http://x/",
                              "_id": "h", "pvt_account_id": "a"});
    for (field, ours) in [
        ("hook_id", "_id"),
        ("account_id", "pvt_account_id"),
        ("hook_event", "hook"),
        ("uri", "uri"),
        ("http_verb", "http_verb"),
        ("format", "format"),
        ("retries", "retries"),
        ("include_loopback", "include_internal_legs"),
        ("custom_data", "custom_data"),
        ("modifiers", "modifiers"),
    ] {
        match record.get(field) {
            None => {}
            Some(Value::Null) => _ = document.as_object_mut().unwrap().remove(ours),
            Some(value) => document[ours] = value.clone(),
        }
    }
    // In a record only the atom counts; a document's getter takes the word for it.
    document["include_subaccounts"] = (record.get("include_subaccounts") == Some(&Value::Bool(true))).into();
    Hook::from_document(document.as_object().unwrap())
}

#[test]
fn forms_are_the_originals_to_the_byte() {
    let skipped = [
        ("value latin1 byte", NOT_UTF8),
        ("value broken utf8", NOT_UTF8),
        ("undefined value", UNDEFINED),
        ("not an object: list", "a payload is an object"),
        ("not an object: string", "a payload is an object; crashes"),
    ];
    let instead_of_a_crash =
        [("value null", ""), ("object of null", ""), ("array of arrays of big ints", "a[]=1000")];
    each(include_str!("../../../tests/fixtures/vectors/d_json_to_querystring.jsonl"), &skipped, |case| {
        let mut form = Vec::new();
        write_form(case.payload("jobj").fields(), Profile::Kazoo, usize::MAX, &mut form).unwrap();
        let ours = instead_of_a_crash.iter().find(|(name, _)| *name == case.case);
        let expected = ours.map(|(_, form)| *form).or(case.expected["raw"].as_str());
        assert_eq!(std::str::from_utf8(&form).ok(), expected, "{}", case.case);
    });
}

/// What the original hands to its client, as we would.
fn recorded(request: &Value) -> Value {
    let headers = request["headers"].as_array().unwrap().iter();
    let headers: Vec<_> =
        headers.map(|pair| json!([pair[0].as_str().unwrap().to_lowercase(), pair[1]])).collect();
    json!({"verb": request["verb"], "url": request["url"], "headers": headers, "body": request["body"]})
}

fn ours(request: &OutgoingRequest) -> Value {
    json!({"verb": request.method.as_str(), "url": request.url, "headers": request.headers,
           "body": std::str::from_utf8(&request.body).unwrap()})
}

#[track_caller]
fn check_requests(case: &Case<'_>, expected: &[Value]) {
    let cluster = match case.context.get("cluster_id") {
        Some(Value::String(id)) => id.clone(),
        Some(other) => other.to_string(),
        None => CLUSTER.to_owned(),
    };
    let payload = case.payload("payload");
    let records = match case.input("hooks") {
        Value::Array(hooks) => hooks,
        _ => vec![case.input("hook")],
    };
    let hooks = records.iter().map(|record| hook(record).unwrap_or_else(|error| panic!("{error}")));
    let hooks: Vec<_> =
        hooks.filter(|hook| modifiers_match(hook.options.modifiers.as_deref(), &payload)).collect();
    let bodies = SharedBodies::new(Profile::Kazoo, cluster.clone(), payload.clone());
    let mut sent = Vec::new();
    for hook in &hooks {
        let request = build(Profile::Kazoo, &cluster, hook, &payload, None).unwrap();
        assert_eq!(bodies.request(hook, None).as_ref(), Ok(&request), "{}", case.case);
        sent.push(ours(&request));
    }
    assert_eq!(sent, expected, "{}", case.case);
}

fn expected_requests(case: &Case<'_>) -> Vec<Value> {
    case.expected["http"].as_array().unwrap().iter().map(recorded).collect()
}

#[test]
fn requests_are_the_originals() {
    let skipped = [
        ("latin1 bytes in a json payload crash the encoder", NOT_UTF8),
        ("latin1 bytes in a form payload", NOT_UTF8),
        ("broken key in a json payload crashes", NOT_UTF8),
        ("broken key in a form payload", NOT_UTF8),
        ("undefined value in a json payload crashes", UNDEFINED),
    ];
    each(include_str!("../../../tests/fixtures/vectors/f_requests.jsonl"), &skipped, |case| {
        let headers = |id: &str, content_type: Option<&str>| {
            let account = "4f5a0c1d2e3b4a596877861524334251";
            let content_type = content_type.map(|value| json!(["content-type", value]));
            let ids = [json!(["x-hook-id", id]), json!(["x-account-id", account])];
            content_type.into_iter().chain(ids).collect::<Vec<_>>()
        };
        let id = "9f8e7d6c5b4a39281706f5e4d3c2b1a0";
        let (address, query) = ("http://hooks.example.com/e", format!("a=b&cluster_id={CLUSTER}"));
        let body = format!("{{\n  \"a\" : \"b\",\n  \"cluster_id\" : \"{CLUSTER}\"\n}}");
        let form = |id, verb| {
            json!({"verb": verb, "url": address, "body": query,
                   "headers": headers(id, Some("application/x-www-form-urlencoded"))})
        };
        let post_json = |id| json!({"verb": "post", "url": address, "body": body, "headers": headers(id, Some("application/json"))});
        match case.case.as_str() {
            // The original crashes here; these are what its user meant.
            "post with binary format crashes" => check_requests(case, &[form(id, "post")]),
            "put with binary format crashes" => check_requests(case, &[form(id, "put")]),
            "verb POST upper crashes" => check_requests(case, &[post_json(id)]),
            "verb GET upper crashes" => {
                let get = json!({"verb": "get", "url": format!("{address}?{query}"), "body": "",
                                 "headers": headers(id, None)});
                check_requests(case, &[get]);
            }
            "crash in the first hook stops the rest" => {
                check_requests(case, &[form("1", "post"), post_json("2")]);
            }
            // And these can mean nothing. (Without an id the original says `undefined` in the headers.)
            "uri undefined crashes" | "uri empty crashes" => {
                let refused = hook(&case.input("hook"));
                assert!(matches!(refused, Err(BadHook::Missing { field: "uri", .. })), "{}", case.case);
            }
            "hook id and account undefined" => assert!(hook(&case.input("hook")).is_err()),
            _ => {
                assert!(!case.crashed(), "nothing decided for {}", case.case);
                check_requests(case, &expected_requests(case));
            }
        }
    });
}

#[test]
fn custom_data_is_merged_as_in_the_original() {
    let skipped = [
        ("latin1 value becomes utf8", "a document is UTF-8"),
        ("undefined value is skipped", "a document has no Erlang undefined"),
        ("duplicate keys in custom data", "a document has each key once"),
    ];
    each(include_str!("../../../tests/fixtures/vectors/f_custom_data.jsonl"), &skipped, |case| {
        check_requests(case, &expected_requests(case));
    });
}

#[test]
fn modifiers_let_through_what_the_originals_do() {
    each(include_str!("../../../tests/fixtures/vectors/f_modifiers.jsonl"), &[], |case| {
        if case.function == "maybe_fire_hook" {
            return check_requests(case, &expected_requests(case));
        }
        let passes = modifiers_match(
            hook(&case.input("hook")).unwrap().options.modifiers.as_deref(),
            &case.payload("payload"),
        );
        // The original crashes of modifiers that are no object; its loader never makes such a hook.
        let expected =
            case.expected["value"].as_bool().or((case.case == "modifiers a string crashes").then_some(true));
        assert_eq!(Some(passes), expected, "{}", case.case);
    });
}

fn answer(script: &Value) -> EndpointAnswer {
    let term = script["$erl"].as_str().unwrap();
    let status = term
        .strip_prefix("{ok,")
        .and_then(|rest| rest.split_once(','))
        .and_then(|(code, _)| code.parse().ok());
    match status {
        Some(code) => EndpointAnswer::Status { code, retry_after: None },
        None if term.starts_with("{error,") => EndpointAnswer::ClientError,
        None => panic!("no answer: {term}"),
    }
}

#[test]
fn answers_end_and_repeat_deliveries_as_in_the_original() {
    const RECORD_ONLY: &str = "retries outside 1..=5 cannot come from a document";
    const NO_ANSWER: &str = "the client never answers that way; crashes";
    let skipped = [
        ("always timeout, retries 10", RECORD_ONLY),
        ("always timeout, retries 0 never ends", RECORD_ONLY),
        ("always timeout, retries -1 never ends", RECORD_ONLY),
        ("retries -1, error then 200", RECORD_ONLY),
        ("retries float 2.0, errors", RECORD_ONLY),
        ("retries undefined, error crashes", RECORD_ONLY),
        ("answer async reference crashes", NO_ANSWER),
        ("answer ok two-tuple crashes", NO_ANSWER),
        ("retries 3, error, crash answer", NO_ANSWER),
        ("account id of a wrong length crashes before the note", "crashes where it counts the failure"),
        ("account expiry negative crashes the note", "crashes where it counts the failure"),
    ];
    each(include_str!("../../../tests/fixtures/vectors/g_responses_retries.jsonl"), &skipped, |case| {
        assert!(!case.crashed(), "nothing decided for {}", case.case);
        let hook = hook(&case.input("hook")).unwrap();
        let script = case.context["http"].as_array().unwrap();
        let usual = case
            .context
            .get("http_default")
            .map_or(EndpointAnswer::Status { code: 200, retry_after: None }, answer);
        let (mut sleeps, mut failures, mut tries) = (Vec::new(), 0, 0u32);
        loop {
            let answer = script.get(tries as usize).map_or(usual, answer);
            tries += 1;
            let verdict = classify(Profile::Kazoo, hook.verb, &answer);
            failures += usize::from(verdict.succeeded() == Some(false));
            match verdict {
                Verdict::Retry { retry_after } if tries < hook.total_tries(Profile::Kazoo) => {
                    let delay = schedule::delay(Profile::Kazoo, &[], tries, retry_after, 0.5);
                    sleeps.push(delay.as_millis() as u64);
                }
                _ => break,
            }
        }
        let ours = json!({"tries": tries, "sleeps": sleeps, "failures": failures});
        let theirs = json!({
            "tries": case.expected["http"].as_array().unwrap().len(),
            "sleeps": case.expected["sleeps_ms"],
            "failures": case.expected["failure_notes"].as_array().unwrap().len(),
        });
        assert_eq!(ours, theirs, "{}", case.case);
        for request in expected_requests(case) {
            let sent = build(Profile::Kazoo, CLUSTER, &hook, &case.payload("payload"), None).unwrap();
            assert_eq!(self::ours(&sent), request, "{}", case.case);
        }
    });
}
