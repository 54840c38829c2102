//! Recorded outputs of the original's own code, against ours (`tests/fixtures/vectors/SOURCE.md`).

use bytes::Bytes;
use serde_json::{Value, json};

use super::accounts::{AccountRecord, Accounts};
use super::document::{BadHook, Events, migrate};
use super::matching::{HookCandidate, matching, wants};
use super::table::HookTable;
use crate::delivery::vector_tests::{Case, each, hook};
use crate::model::Profile;
use crate::model::payload::Payload;
use crate::model::{AccountId, CompactFields, Document, Hook};

fn object(value: &Value) -> Document {
    value.as_object().cloned().unwrap()
}

fn empty() -> Payload {
    Payload::parse(Bytes::from_static(b"{}")).unwrap()
}

#[test]
fn internal_legs_fire_only_hooks_that_include_them() {
    let skipped = [("name list spelling loopback/", "joining the event's list is the module's work")];
    each(include_str!("../../../tests/fixtures/vectors/b_is_fireable_hook.jsonl"), &skipped, |case| {
        let event = case.input("event");
        let named = event["Channel-Name"].as_str().is_some_and(|name| name.starts_with("loopback/"));
        let flagged =
            matches!(&event["Channel-Is-Loopback"], flag if *flag == json!(true) || *flag == json!("true"));
        let candidate = HookCandidate {
            hook_event: "channel_create",
            account: &AccountId::from("a"),
            internal_leg: named || flagged,
            filters: &[],
        };
        let fires = wants(&hook(&case.input("hook")).unwrap(), &candidate, &empty());
        assert_eq!(Value::Bool(fires), case.expected["value"], "{}", case.case);
    });
}

/// What `webhooks_init` would have registered while recording.
fn events(context: &Value) -> Events {
    let usual = json!([
        "channel_answer",
        "channel_bridge",
        "channel_create",
        "channel_destroy",
        "mms",
        "notifications",
        "object",
        "parking",
        "sms"
    ]);
    let mut events = Events::default();
    for name in context.get("available_events").unwrap_or(&usual).as_array().unwrap() {
        events.insert(name.as_str().unwrap(), None);
    }
    events
}

fn values(fields: &CompactFields) -> Document {
    fields.iter().map(|(name, value)| (name.to_owned(), serde_json::from_str(value).unwrap())).collect()
}

fn record(hook: &Hook) -> Value {
    json!({
        "uri": &*hook.uri,
        "http_verb": hook.verb.as_str(),
        "hook_event": hook.event.internal_name(),
        "hook_id": hook.id.as_str(),
        "retries": hook.total_tries(Profile::Kazoo),
        "account_id": hook.account.as_str(),
        "include_subaccounts": hook.include_subaccounts,
        "include_loopback": hook.include_internal_legs,
        "custom_data": hook.options.custom_data.as_deref().map(values),
        "modifiers": hook.options.modifiers.as_deref().map(values),
        "format": hook.format.as_str(),
    })
}

fn check_record(case: &Case<'_>) {
    let read = Hook::from_document(&object(&case.input("doc")));
    let refused = |field: &str| match &read {
        Err(BadHook::Missing { field: said, .. } | BadHook::Invalid { field: said, .. }) => *said == field,
        Ok(_) | Err(BadHook::Broken { .. }) => false,
    };
    match case.case.as_str() {
        // Loaded by the original, and crashing when they fire.
        "http_verb delete" | "http_verb empty" | "http_verb null" | "http_verb bool" => {
            assert!(refused("http_verb"), "{}", case.case);
        }
        "uri empty" | "uri missing" => assert!(refused("uri"), "{}", case.case),
        // Loaded by the original under half an id.
        "_id empty" => assert!(refused("_id")),
        "pvt_account_id empty" => assert!(refused("pvt_account_id")),
        // The original knows the id here and forgets the account.
        "Account-ID and ID fallbacks only feed the key" => {
            let hook = read.unwrap();
            assert_eq!((hook.id.as_str(), hook.account.as_str()), ("i1", "4f5a0c1d2e3b4a596877861524334251"));
        }
        // Crashes: an unknown event, or an id that is none.
        _ if case.expected.get("error").is_some() => {
            let known = read.is_ok_and(|hook| events(&case.context).knows(&hook.event));
            assert!(!known, "{}", case.case);
        }
        _ => {
            let hook = read.unwrap_or_else(|error| panic!("{}: {error}", case.case));
            assert!(events(&case.context).knows(&hook.event), "{}", case.case);
            let mut expected = case.expected["record"].clone();
            let fields = expected.as_object_mut().unwrap();
            fields.remove("format_is_atom");
            fields.remove("id");
            for (field, ours) in [("include_subaccounts", json!(false)), ("http_verb", json!("get"))] {
                // Missing is not true; and `Get` is a get here.
                if fields[field].is_null() || case.case == "http_verb mixed" && field == "http_verb" {
                    fields[field] = ours;
                }
            }
            assert_eq!(record(&hook), expected, "{}", case.case);
        }
    }
}

fn check_migration(case: &Case<'_>) {
    let rows = &case.context["views"]["webhooks"]["webhooks/webhooks_listing"];
    let rows = rows.as_array().into_iter().flatten();
    let ours: Vec<Value> = rows
        .flat_map(|row| migrate(&object(&row["doc"]), || "<random_hex_32>".to_owned()))
        .map(Value::Object)
        .collect();
    let saved = case.expected["saved"].as_array().unwrap().iter();
    let mut theirs: Vec<Value> = saved.flat_map(|call| call["docs"].as_array().unwrap().clone()).collect();
    for document in &mut theirs {
        // The departures: the type where matching looks, and no revision for a document that is new.
        document["custom_data"]["type"] = document["type"].clone();
        if document["_id"] == "<random_hex_32>" {
            document.as_object_mut().unwrap().remove("_rev");
        }
    }
    assert_eq!(ours, theirs, "{}", case.case);
}

#[test]
fn documents_are_read_and_migrated_as_in_the_original() {
    each(include_str!("../../../tests/fixtures/vectors/j_hook_docs.jsonl"), &[], |case| {
        match case.function.as_str() {
            "jobj_to_rec" => check_record(case),
            "load_hooks" => check_migration(case),
            "load_hook" => {
                let loaded = Hook::from_document(&object(&case.input("doc")))
                    .is_ok_and(|hook| events(&case.context).knows(&hook.event));
                assert_eq!(loaded, !case.expected["casts"].as_array().unwrap().is_empty(), "{}", case.case);
            }
            // Debugging output, getters of single fields and a view: other rooms, or none.
            "to_json" | "kzd_webhooks accessors" | "available_events" | "hook_event" | "hook_id" => {}
            other => assert!(other.starts_with("kzd_webhooks"), "nobody runs {other}"),
        }
    });
}

fn world(case: &Case<'_>) -> (HookTable, Accounts, Vec<Hook>) {
    let (table, accounts) = (HookTable::new(), Accounts::new());
    for (id, document) in case.context["accounts"].as_object().unwrap() {
        let mut document = object(document);
        document.insert("_id".into(), json!(id));
        accounts.put(AccountRecord::from_document(&document).unwrap());
    }
    let records = case.context.get("hooks").and_then(Value::as_array).into_iter().flatten();
    // A hook without an account is refused when its document is read.
    let owned = records.filter(|record| !record["account_id"].is_null());
    let hooks: Vec<_> = owned.map(|record| hook(record).unwrap()).collect();
    hooks.iter().for_each(|hook| _ = table.put(hook.clone()));
    (table, accounts, hooks)
}

#[test]
fn an_event_finds_the_hooks_that_it_finds_in_the_original() {
    each(include_str!("../../../tests/fixtures/vectors/k_find_webhooks.jsonl"), &[], |case| {
        let (table, accounts, hooks) = world(case);
        let account = case.input("account_id");
        if case.function == "delete_account_webhooks" {
            let deleted = table.remove_account(&AccountId::from(account.as_str().unwrap()));
            let mut left: Vec<_> = table.all().iter().map(|hook| hook.id.to_string()).collect();
            left.sort();
            assert_eq!(json!({"deleted": deleted, "left": left}), case.expected, "{}", case.case);
            return;
        }
        // No account: the module answers no firing, so nobody asks.
        let Some(account) = account.as_str().map(AccountId::from) else {
            return;
        };
        let event = case.input("event");
        let candidate = HookCandidate {
            hook_event: event.as_str().unwrap(),
            account: &account,
            internal_leg: false,
            filters: &[],
        };
        let found = matching(&table, &accounts, &candidate, &empty());
        let mut ids: Vec<_> = found.iter().map(|hook| hook.id.to_string()).collect();
        // Accounts come in the order of the tree; within one the original's order is that of a hash table.
        let owners: Vec<_> = found.iter().map(|hook| hook.account.clone()).collect();
        let recorded = case.expected["ids"].as_array().unwrap().iter();
        let their_owners: Vec<_> = recorded
            .map(|id| hooks.iter().find(|hook| hook.id.as_str() == id).unwrap().account.clone())
            .collect();
        assert_eq!(owners, their_owners, "{}", case.case);
        ids.sort();
        assert_eq!(json!(ids), case.expected["ids_sorted"], "{}", case.case);
    });
}
