//! What keys look like: tables of our own, and what the original's code answered.

use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

#[track_caller]
fn check_encoding(segment: &str, expected: &str) {
    assert_eq!(encode(segment), expected);
}

#[test]
fn a_segment_is_encoded_as_the_original_does() {
    check_encoding("NDlk@10.0.0.1", "NDlk%4010%2E0%2E0%2E1");
    check_encoding("a b/c:d", "a+b%2Fc%3Ad");
    check_encoding("+15551234567", "%2B15551234567");
    check_encoding("_design/x", "_design%2Fx");
    check_encoding("account%2Fab", "account%252Fab");
    check_encoding("é", "%C3%A9");
    check_encoding("", "");
    check_encoding("*", "*");
    check_encoding("#", "#");
    check_encoding("##", "%23%23");
}

#[track_caller]
fn check_match(pattern: &str, key: &str, expected: bool) {
    assert_eq!(matches(pattern, key), expected, "{pattern} against {key}");
}

#[test]
fn a_star_takes_exactly_one_word() {
    check_match("call.CHANNEL_CREATE.*", "call.CHANNEL_CREATE.c1", true);
    check_match("call.CHANNEL_CREATE.*", "call.CHANNEL_CREATE.", true);
    check_match("call.CHANNEL_CREATE.*", "call.CHANNEL_CREATE", false);
    check_match("call.CHANNEL_CREATE.*", "call.CHANNEL_CREATE.c1.x", false);
    check_match("call.CHANNEL_CREATE.*", "call.CHANNEL_ANSWER.c1", false);
    check_match("*", "", false);
    check_match("*.*", ".", true);
}

#[test]
fn a_hash_takes_any_number_of_words() {
    check_match("#", "", true);
    check_match("#", "a.b.c", true);
    check_match("a.#", "a", true);
    check_match("a.#", "a.b.c", true);
    check_match("#.c", "c", true);
    check_match("#.c", "a.b.c", true);
    check_match("#.c", "a.c.b", false);
    check_match("a.#.b.#.c", "a.x.b.b.y.c", true);
    check_match("a.#.b.#.c", "a.x.y.c", false);
    check_match("#.#", "", true);
    check_match("#.*", "", false);
    check_match("*.#.*", "a.b", true);
    check_match("*.#.*", "a", false);
}

#[test]
fn a_literal_key_takes_itself_only() {
    check_match("a.b", "a.b", true);
    check_match("a.b", "a.b.", false);
    check_match("a.b", "A.b", false);
    check_match("", "", true);
    check_match("", "a", false);
    check_match("a*", "ab", false);
}

proptest! {
    #[test]
    fn matching_agrees_with_the_plain_recursive_rule(
        pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "#", ""]), 0..7),
        key in prop::collection::vec(prop::sample::select(vec!["a", "b", ""]), 0..7),
    ) {
        let (pattern, key) = (pattern.join("."), key.join("."));
        prop_assert_eq!(matches(&pattern, &key), naive(&words(&pattern), &words(&key)), "{} {}", pattern, key);
    }
}

fn naive(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((&"#", rest)), _) => naive(rest, key) || (!key.is_empty() && naive(pattern, &key[1..])),
        (Some((&word, rest)), Some((&first, left))) => (word == "*" || word == first) && naive(rest, left),
        _ => false,
    }
}

#[track_caller]
fn check_event(event: Value, expected: Option<(&str, &str)>) {
    let binding = routing_key_of_value(&event);
    let found = binding.as_ref().map(|b| (b.exchange.as_str(), b.routing_key.as_str()));
    assert_eq!(found, expected, "{event}");
}

#[test]
fn a_call_event_goes_by_its_call() {
    let event = |extra: Value| {
        let mut event = json!({"Event-Category": "call_event", "Event-Name": "CHANNEL_CREATE"});
        event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        event
    };
    check_event(
        event(json!({"Call-ID": "NDlk@10.0.0.1"})),
        Some(("callevt", "call.CHANNEL_CREATE.NDlk%4010%2E0%2E0%2E1")),
    );
    check_event(
        event(json!({"Call-ID": "a", "Origination-Call-ID": "o"})),
        Some(("callevt", "call.CHANNEL_CREATE.o")),
    );
    check_event(
        event(json!({"Call-ID": "a", "Origination-Call-ID": "o", "Channel-Is-Loopback": true})),
        Some(("callevt", "call.CHANNEL_CREATE.a")),
    );
    check_event(event(json!({"Unique-ID": "u"})), Some(("callevt", "call.CHANNEL_CREATE.u")));
    check_event(event(json!({})), None);
}

#[test]
fn a_change_of_configuration_goes_by_its_document() {
    let notice = |name: &str, doc_type: Option<&str>| {
        json!({"Event-Category": "configuration", "Event-Name": name, "Type": doc_type,
               "Database": "account%2Fab", "ID": "d.1"})
    };
    check_event(
        notice("doc_edited", Some("user")),
        Some(("configuration", "doc_edited.account%2Fab.user.d%2E1")),
    );
    check_event(
        notice("doc_deleted", None),
        Some(("configuration", "doc_deleted.account%2Fab.undefined.d%2E1")),
    );
    check_event(
        notice("db_created", Some("database")),
        Some(("configuration", "db_created.account%2Fab.database.d%2E1")),
    );
    check_event(
        notice("doc_type_update", Some("webhook")),
        Some(("configuration", "configuration.doc_type_update.webhook")),
    );
    check_event(notice("something", Some("user")), None);
}

#[test]
fn notifications_and_messages_go_by_their_kind() {
    check_event(
        json!({"Event-Category": "notification", "Event-Name": "voicemail_new"}),
        Some(("notifications", "notifications.voicemail.new")),
    );
    check_event(json!({"Event-Category": "notification", "Event-Name": "nope"}), None);
    check_event(
        json!({"Event-Category": "sms", "Event-Name": "inbound", "Route-Type": "OffNet", "Message-ID": "3f9a.12"}),
        Some(("im", "sms.inbound.offnet.3f9a%2E12")),
    );
    check_event(json!({"Event-Category": "sms", "Event-Name": "inbound"}), None);
    check_event(json!({"Event-Category": "directory", "Event-Name": "authn_req"}), None);
    check_event(json!([1, 2]), None);
}

// From here on: what the original's code answered, recorded.

fn vectors(function: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/vectors/i_routing_keys.jsonl");
    let lines = std::fs::read_to_string(path).unwrap();
    let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found: Vec<Value> = all.filter(|vector| vector["fn"] == function).collect();
    assert!(!found.is_empty(), "no vectors of {function}");
    found
}

/// A string, an atom by its name, or raw bytes.
fn bytes(value: &Value) -> Vec<u8> {
    if let Some(hex) = value.get("$hex").and_then(Value::as_str) {
        let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16).unwrap()).collect();
        return digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect();
    }
    value.get("$atom").unwrap_or(value).as_str().unwrap().as_bytes().to_vec()
}

fn text(value: &Value) -> String {
    String::from_utf8(bytes(value)).unwrap()
}

#[track_caller]
fn check_vector(vector: &Value, found: &str) {
    assert_eq!(Some(found), vector["expected"]["value"].as_str(), "{}", vector["case"]);
}

#[test]
fn recorded_encodings() {
    for vector in vectors("amqp_encode") {
        check_vector(&vector, &encode(bytes(&vector["input"]["key"])));
    }
}

#[test]
fn recorded_call_event_keys() {
    for vector in vectors("event_routing_key") {
        let input = &vector["input"];
        check_vector(&vector, &call(&text(&input["event_name"]), &text(&input["call_id"])).routing_key);
    }
}

fn documents(given: &BTreeMap<&str, String>) -> (String, Binding) {
    let get = |key: &str| given.get(key).map_or("*", String::as_str);
    let (id, doc_type) = (
        given.get("doc_id").map_or(get("id"), String::as_str),
        given.get("doc_type").map_or(get("type"), String::as_str),
    );
    let documents = Documents { action: get("action"), db: get("db"), doc_type, id };
    (documents.key(), documents.binding())
}

#[test]
fn recorded_document_keys() {
    for vector in vectors("document_routing_key") {
        let args = vector["input"]["args"].as_array().unwrap();
        let given = ["action", "db", "type", "id"].into_iter().zip(args.iter().map(text)).collect();
        check_vector(&vector, &documents(&given).0);
    }
    for vector in vectors("conf_get_routing_key") {
        let props = vector["input"]["props"].as_object().unwrap();
        let given = props.iter().map(|(key, value)| (key.as_str(), text(value))).collect();
        let (key, binding) = documents(&given);
        let publishing = vector["input"]["is_amqp_binding"] == false;
        check_vector(&vector, if publishing { &key } else { &binding.routing_key });
    }
    for vector in vectors("doc_type_update_routing_key") {
        check_vector(&vector, &document_type_update(&text(&vector["input"]["type"])).routing_key);
    }
}

fn expected_binds(vector: &Value) -> Vec<Binding> {
    let binds = vector["expected"]["binds"].as_array().unwrap().iter();
    binds.map(|bind| Binding::new(text(&bind["exchange"]), text(&bind["routing_key"]))).collect()
}

/// The original's bindings of one API, for the options that our builders have a word for.
fn binds_of(kapi: &str, props: &Value) -> Option<Vec<Binding>> {
    let list = |key: &str| props[key].as_array().map(|all| all.iter().map(text).collect::<Vec<_>>());
    let get = |key: &str| props.get(key).map(text);
    match kapi {
        "kapi_call" => {
            let events = list("restrict_to").unwrap_or_else(|| vec!["*".into()]);
            let id = get("callid").unwrap_or_else(|| "*".into());
            Some(events.iter().map(|event| call(event, &id)).collect())
        }
        "kapi_notifications" => match list("restrict_to") {
            None => Some(vec![all_notifications()]),
            // Tags that stand for several notifications are no concern of a binding here.
            Some(tags) if tags.iter().any(|tag| tag.ends_with("fax") || tag == "fax_error") => None,
            Some(tags) => Some(tags.iter().filter_map(|tag| notification(tag)).collect()),
        },
        "kapi_im" if props.get("exchange").is_none() => {
            let ways = list("restrict_to").unwrap_or_else(|| vec!["inbound".into(), "outbound".into()]);
            let id = get("message_id").unwrap_or_else(|| "*".into());
            let mut all = Vec::new();
            for way in ways {
                for kind in ["sms", "mms"] {
                    all.push(match way.as_str() {
                        "inbound" => {
                            inbound_message(kind, &get("route_type").unwrap_or_else(|| "*".into()), &id)
                        }
                        _ => outbound_message(kind, get("route_id").as_deref(), &id),
                    });
                }
            }
            Some(all)
        }
        _ => None,
    }
}

#[test]
fn recorded_bindings() {
    let mut seen = 0;
    for vector in vectors("bind_q") {
        let input = &vector["input"];
        let Some(found) = binds_of(input["kapi"].as_str().unwrap(), &input["props"]) else {
            continue;
        };
        assert_eq!(found, expected_binds(&vector), "{}", vector["case"]);
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} recorded bindings were compared");
}

#[test]
fn recorded_publishing() {
    for vector in vectors("publish") {
        let args = vector["input"]["args"].as_array().unwrap();
        let found = match vector["input"]["function"].as_str().unwrap() {
            "publish_doc_update" => {
                let [action, db, doc_type, id] = [0, 1, 2, 3].map(|i| text(&args[i]));
                let documents = Documents { action: &action, db: &db, doc_type: &doc_type, id: &id };
                Binding::new(CONFIGURATION, documents.key())
            }
            function => {
                let mut event = args.last().unwrap().clone();
                if function == "publish_webhook_disabled" {
                    // The original fills in the two fixed headers while it publishes.
                    event["Event-Category"] = "notification".into();
                    event["Event-Name"] = "webhook_disabled".into();
                }
                routing_key_of_value(&event).unwrap()
            }
        };
        let expected = &vector["expected"]["publishes"][0];
        assert_eq!(found.exchange, text(&expected["exchange"]), "{}", vector["case"]);
        assert_eq!(found.routing_key, text(&expected["routing_key"]), "{}", vector["case"]);
    }
}
