//! Works on inputs of a given size, a row of the table after the other, for whoever counts the instructions
//! (`tests/it/linear.rs`). To add a row: a function that prepares an input of `n` and answers the work on it.

// A program for a test, which fails by panicking.
#![allow(clippy::print_stdout, clippy::panic)]

use std::hint::black_box;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hookline::attempts::mask::{self, SecretMask};
use hookline::bus::content::{DEFAULT_LIMIT, decode};
use hookline::bus::routing_key;
use hookline::config::Config;
use hookline::delivery::request::{WebhookHeaders, build};
use hookline::event::Event;
use hookline::event::identity::{IdentityClaim, identity};
use hookline::hooks::accounts::{AccountRecord, Accounts};
use hookline::hooks::document::{Events, UriRules, validate};
use hookline::hooks::editor::fields;
use hookline::hooks::limits::document_bytes;
use hookline::hooks::matching::modifiers_match;
use hookline::model::Profile;
use hookline::model::payload::Payload;
use hookline::model::{AccountId, CompactFields, Document, Hook};
use serde_json::{Map, Value, json};

/// Prepares an input of `n` parts; what it answers is counted.
type Row = fn(usize) -> Box<dyn FnOnce()>;

/// Every parser, merger, matcher and formatter that meets what clients and strangers size.
const ROWS: &[(&str, Row)] = &[
    ("event parsed", |n| {
        let body = Bytes::from(text(&object(n, "v")));
        Box::new(move || drop(black_box(Event::parse(body))))
    }),
    ("an event's identity", |n| {
        let body = text(&object(n, "v"));
        Box::new(move || {
            let claim = IdentityClaim::Message { msg_id: Some("1"), body: body.as_bytes() };
            assert!(black_box(identity(claim)).is_some());
        })
    }),
    ("a packed message", |n| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(text(&object(16 * n, "v")).as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let packed = Bytes::from(packed.finish().unwrap_or_else(|error| panic!("{error}")));
        Box::new(move || drop(black_box(decode(None, Some("gzip"), packed, DEFAULT_LIMIT))))
    }),
    ("a message in Erlang's format", |n| {
        let body = Bytes::from(erlang_map(n));
        Box::new(move || {
            let read = decode(Some("application/erlang"), None, body, DEFAULT_LIMIT);
            assert!(black_box(read).is_ok_and(|json| json.starts_with(b"{\"x-0\":\"v\"")));
        })
    }),
    ("payload parsed", |n| {
        let body = Bytes::from(text(&object(n, "v")));
        Box::new(move || drop(black_box(Payload::parse(body))))
    }),
    ("payload nested", |n| {
        let body = Bytes::from(text(&json!({"k": vec![json!({"a": [1, {}]}); n]})));
        Box::new(move || drop(black_box(Payload::parse(body))))
    }),
    ("custom_data merged into json", |n| merged(n, json!({"format": "json"}), Profile::Standard)),
    ("custom_data merged into kazoo's json", |n| merged(n, json!({"format": "json"}), Profile::Kazoo)),
    ("custom_data merged into a form", |n| merged(n, json!({}), Profile::Standard)),
    ("custom_data merged into kazoo's form", |n| merged(n, json!({}), Profile::Kazoo)),
    ("custom_data merged into a query", |n| merged(n, json!({"http_verb": "get"}), Profile::Standard)),
    ("form of long names around many values", |n| {
        let nested = json!({"k".repeat(8 * n): vec![json!("v"); 8 * n]});
        sent(nested, json!({}), Profile::Standard)
    }),
    ("form of nested objects", |n| {
        sent(json!({"o": vec![json!({"a": {"b": "ü"}}); n]}), json!({}), Profile::Kazoo)
    }),
    ("form of repeated names", |n| {
        let members: Vec<String> = (0..n).map(|at| format!("\"k{}\":{at}", at % 64)).collect();
        sent_text(format!("{{{}}}", members.join(",")), json!({}), Profile::Kazoo)
    }),
    ("escapes in texts", |n| {
        sent_text(
            format!("{{\"k\":\"{}\"}}", "\\u00e9\\n\\\"".repeat(n)),
            json!({"format": "json"}),
            Profile::Kazoo,
        )
    }),
    ("modifiers against a payload", |n| {
        let modifiers = CompactFields::from(&document(object(n, "v")));
        let payload = payload(&text(&object(n, "v")));
        Box::new(move || assert!(black_box(modifiers_match(Some(&modifiers), &payload))))
    }),
    ("a list of values in a modifier", |n| {
        let list: Vec<Value> = (0..n).map(|at| format!("v{at}").into()).collect();
        let modifiers = CompactFields::from(&document(json!({"k": list})));
        let payload = payload("{\"k\":\"none\"}");
        Box::new(move || assert!(!black_box(modifiers_match(Some(&modifiers), &payload))))
    }),
    ("custom_data validated", |n| validated(json!({"custom_data": object(n, "v")}))),
    ("wrong custom_data validated", |n| validated(json!({"custom_data": vec_object(n)}))),
    ("headers validated", |n| validated(json!({"headers": object(n, "v")}))),
    ("a long header validated", |n| validated(json!({"headers": {"x-a": "v".repeat(n)}}))),
    ("a rate limit validated", |n| validated(json!({"rate_limit": object(n, "v")}))),
    ("a schedule validated", |n| validated(json!({"retry_schedule_ms": vec![5_000; n]}))),
    ("a document patched", |n| {
        let stored = document(object(n, "v"));
        let patch: Document = (0..n).map(|at| (format!("x-{at}"), Value::Null)).collect();
        Box::new(move || assert!(black_box(fields::patched(&stored, patch)).is_empty()))
    }),
    ("a document replaced", |n| {
        let (stored, public) = (document(object(n, "v")), document(object(n, "w")));
        Box::new(move || drop(black_box(fields::replaced(&stored, public))))
    }),
    ("a document measured", |n| {
        let doc = document(object(n, "v"));
        Box::new(move || assert!(black_box(document_bytes(&doc)) > 0))
    }),
    ("a hook read", |n| {
        let doc = hook_document(json!({"custom_data": object(n, "v"), "modifiers": object(n, "v")}));
        Box::new(move || drop(black_box(Hook::from_document(&doc))))
    }),
    ("accounts side by side", |n| {
        let accounts = Accounts::new();
        let read = move |at: usize| account(format!("{at:06}"), &["top".to_owned()]);
        Box::new(move || {
            (0..n).for_each(|at| accounts.put(read(at)));
            assert_eq!(accounts.descendants(&AccountId::from("top")).len(), n);
        })
    }),
    ("accounts one below the other", |n| {
        // To build it takes the square of this.
        let n = n / 2;
        let (accounts, mut tree) = (Accounts::new(), Vec::new());
        for at in 0..n {
            let id = format!("{at:06}");
            accounts.put(account(id.clone(), &tree));
            tree.push(id);
        }
        Box::new(move || {
            assert_eq!(accounts.descendants(&AccountId::from("000000")).len(), n - 1);
            assert_eq!(accounts.children(&AccountId::from("000000")).len(), 1);
        })
    }),
    ("secrets of an address masked", |n| {
        let query: Vec<String> = (0..n).map(|at| format!("k{at}_key=secret{at:08}")).collect();
        let hook = hook(json!({"uri": format!("http://x/?{}", query.join("&"))}));
        let said = "secret00000001 and other words ".repeat(n);
        Box::new(move || {
            assert!(!black_box(SecretMask::of(&hook).text(&said)).contains("secret00000001"));
            black_box(mask::address(&hook.uri));
        })
    }),
    ("a routing key matched", |n| {
        let key = vec!["word"; n].join(".");
        Box::new(move || assert!(!black_box(routing_key::matches("#.a.*.#.b", &key))))
    }),
    ("settings read", |n| {
        let networks: Vec<String> =
            (0..n).map(|at| format!("\"10.{}.{}.0/24\"", at / 256 % 256, at % 256)).collect();
        let settings = format!("[delivery]\nallow_targets = [{}]\n", networks.join(","));
        Box::new(move || drop(black_box(Config::from_toml(&settings, "settings"))))
    }),
];

/// Where the work of a row begins, and where it ends: whoever counts looks for this name.
#[inline(never)]
fn counted_from_here() {
    black_box(());
}

fn main() {
    let n = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let Some(n) = n else {
        for (name, _) in ROWS {
            println!("{name}");
        }
        return;
    };
    for (_, row) in ROWS {
        let work = row(n);
        counted_from_here();
        work();
        counted_from_here();
    }
}

fn object(count: usize, value: &str) -> Value {
    Value::Object((0..count).map(|at| (format!("x-{at}"), json!(value))).collect::<Map<_, _>>())
}

/// An object whose values are no texts.
fn vec_object(count: usize) -> Value {
    Value::Object((0..count).map(|at| (format!("x-{at}"), json!([at]))).collect::<Map<_, _>>())
}

/// What [`object`] makes, as Erlang's external format has it: a tuple of one list of pairs of binaries.
fn erlang_map(count: usize) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).unwrap_or_default().to_be_bytes();
    let mut term = [&[131, 104, 1, 108][..], &length(count)].concat();
    for at in 0..count {
        term.extend([104, 2]);
        for part in [format!("x-{at}").as_str(), "v"] {
            term.push(109);
            term.extend(length(part.len()));
            term.extend(part.as_bytes());
        }
    }
    term.push(106);
    term
}

fn text(value: &Value) -> String {
    value.to_string()
}

fn document(value: Value) -> Document {
    match value {
        Value::Object(fields) => fields,
        _ => Document::new(),
    }
}

fn hook_document(more: Value) -> Document {
    let mut hook =
        document(json!({"_id": "h", "pvt_account_id": "a", "name": "n", "hook": "all", "uri": "http://x/"}));
    hook.extend(document(more));
    hook
}

fn hook(more: Value) -> Hook {
    Hook::from_document(&hook_document(more)).unwrap_or_else(|error| panic!("{error}"))
}

fn payload(json: &str) -> Payload {
    Payload::parse(Bytes::copy_from_slice(json.as_bytes())).unwrap_or_else(|error| panic!("{error}"))
}

fn account(id: String, tree: &[String]) -> AccountRecord {
    AccountRecord::from_document(&document(json!({"_id": id, "pvt_tree": tree})))
        .unwrap_or_else(|| panic!("no account"))
}

fn merged(n: usize, mut more: Value, profile: Profile) -> Box<dyn FnOnce()> {
    // Half of the names are the payload's, half are new.
    let added = (n / 2..n + n / 2).map(|at| (format!("x-{at}"), json!("w")));
    more["custom_data"] = Value::Object(added.collect());
    sent(object(n, "v"), more, profile)
}

fn sent(value: Value, more: Value, profile: Profile) -> Box<dyn FnOnce()> {
    sent_text(text(&value), more, profile)
}

fn sent_text(json: String, more: Value, profile: Profile) -> Box<dyn FnOnce()> {
    let (hook, payload) = (hook(more), payload(&json));
    let stamp = WebhookHeaders { webhook_id: "msg_1", timestamp: 1 };
    Box::new(move || drop(black_box(build(profile, "cluster", &hook, &payload, Some(stamp)))))
}

fn validated(more: Value) -> Box<dyn FnOnce()> {
    let mut doc = hook_document(more);
    Box::new(move || drop(black_box(validate(&mut doc, &Events::default(), &UriRules::default()))))
}
