//! The module against the recorded cases, and what profile standard does otherwise.

use std::collections::BTreeSet;

use channel_event::validation::Type;
use plugin_api::testing::{Fired, TestHost};

use super::*;
use crate::vectors::{self, Case};

const FILE: &str = "c_notifications.jsonl";

/// Parts of the module, chosen by the setting `test.part`.
struct Part(Notifications);

impl Module for Part {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        let (module, metadata) = Notifications::init(host)?;
        Ok((Part(module), metadata))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        self.0.bindings_and_responders()
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        match host.setting("test.part").unwrap_or_default().trim_matches('"') {
            "check" => {
                let name = event.str("Event-Name").unwrap_or_default();
                definition(name).ok_or_else(|| Error::msg("no such notification"))?.check(event)
            }
            "normalise" => {
                host.fire(&Firing::new("", ""), &Fields::normalised(event.entries())?.payload());
                Ok(())
            }
            "account" => {
                let account = account::account(event, self.0.profile);
                let answer = plugin_api::JsonWriter::object().opt_str("account", account);
                host.fire(&Firing::new("", ""), &answer.finish());
                Ok(())
            }
            _ => self.0.handle_event(event, host),
        }
    }
}

fn host(part: &str) -> TestHost {
    TestHost::new().profile(Profile::Kazoo).setting("test.part", part.into())
}

fn run(host: TestHost, event: &Json) -> Result<Vec<Fired>, String> {
    host.load::<Part>().unwrap().handle(event).map_err(|error| error.to_string())
}

#[test]
fn the_table_is_that_of_the_original() {
    let recorded = vectors::cases(FILE, "notification_names").remove(0).expected;
    let names: Vec<&str> = definitions().map(|definition| definition.name).collect();
    assert_eq!(recorded["value"], json!(names));
    let told = definitions().filter(|definition| definition.key.is_some()).map(|definition| definition.name);
    let told: Vec<&str> = told.collect();
    assert_eq!(told.len(), 38);
    assert_eq!(recorded["webhooks"], json!(told));
}

#[test]
fn the_definitions_are_those_of_the_original() {
    for case in vectors::cases(FILE, "notification_definition") {
        let name = case.input["name"].as_str().unwrap();
        let Some(ours) = definition(name) else {
            assert!(vectors::crashed(&case), "{name} is missing");
            continue;
        };
        let expected = &case.expected;
        assert_eq!(expected["in_webhooks_list"], ours.key.is_some(), "{name}");
        if let Some(key) = ours.key {
            assert_eq!(expected["binding"], format!("notifications.{key}"), "{name}");
        }
        assert_eq!(expected["friendly_name"], ours.title);
        assert_eq!(expected["required_headers"], json!(ours.required), "{name}");
        let set = |value: &Json| -> BTreeSet<String> {
            value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let optional: Vec<&str> = ours.optional.iter().chain(definitions::OPTIONAL).copied().collect();
        assert_eq!(set(&expected["optional_headers"]), set(&json!(optional)), "{name}");
        let mut values = json!({"Event-Category": "notification", "Event-Name": name});
        for (field, allowed) in ours.values {
            values[*field] = json!(allowed);
        }
        assert_eq!(expected["values"], values, "{name}");
        let types: Map<String, Json> =
            ours.types.iter().map(|(field, of)| ((*field).to_owned(), check_of(*of))).collect();
        assert_eq!(expected["types"], Json::Object(types), "{name}");
    }
}

fn check_of(of: Type) -> Json {
    let check = match of {
        Type::NonEmptyText => "kz_term:is_ne_binary/1",
        Type::PositiveInteger => "kz_term:is_pos_integer/1",
        Type::Object => "kz_json:is_json_object/1",
        Type::Objects => "kz_json:are_json_objects/1",
        Type::NonEmptyList => "local fun",
        Type::Text | Type::Boolean => "",
    };
    check.into()
}

/// What the original makes of these names is not text; letters beyond ASCII stay.
const BROKEN_NAMES: &[(&str, &str)] = &[("normalize fax_inbound_error unicode", "a name that is not UTF-8")];

#[test]
fn payloads_of_profile_kazoo_are_those_of_the_original() {
    vectors::check(
        FILE,
        "notification_normalize",
        BROKEN_NAMES,
        |case| Ok(run(host("normalise"), &case.input["payload"])?.remove(0).payload),
        |_, answer| {
            let info = answer.unwrap()["fax_info"].clone();
            assert_eq!(info.to_string(), json!({"fax_result_text": "échec", "Ünïcode_key": "v"}).to_string());
        },
    );
}

#[test]
fn accounts_are_found_where_the_original_finds_them() {
    let find = |case: &Case| {
        let mut fired = run(host("account"), &case.input["payload"])?;
        Ok(fired.remove(0).payload["account"].clone())
    };
    vectors::check(FILE, "notification_account_id", &[], find, |_, _| {});
}

#[test]
fn what_the_original_refuses_is_refused() {
    for case in vectors::cases(FILE, "notification_validate") {
        let answer = run(host("check"), &case.input["payload"]);
        assert_eq!(answer.is_err(), vectors::crashed(&case), "{}: {answer:?}", case.name);
        if let (Err(error), Some((_, field))) = (answer, case.name.split_once(": without ")) {
            assert_eq!(error, format!("the event has no {field}"), "{}", case.name);
        }
    }
}

#[test]
fn the_filter_selects_the_hooks_that_the_original_selects() {
    for case in vectors::cases(FILE, "notification_match_action_type") {
        let custom = &case.input["hook"]["custom_data"];
        let ours = case.input["hook"]["hook_event"] == "notifications" && custom.is_object();
        // An event without a name reaches no module; how a list or a number compares is for the host to say.
        let Some(name) = case.input["event_name"].as_str() else {
            continue;
        };
        if ours && !custom["type"].is_string() && !custom["type"].is_null() {
            continue;
        }
        let filter = ("type", Some(name));
        let wants = !ours
            || custom["type"].as_str().is_some_and(|wanted| wanted == "all" || Some(wanted) == filter.1);
        assert_eq!(case.expected["value"], wants, "{}", case.name);
    }
}

#[test]
fn the_handler_fires_what_the_original_posted() {
    let otherwise = [
        ("handle: invalid payload crashes", "the event has no Voicemail-ID"),
        ("handle: unknown notification crashes", "Event-Name \"nope\" is not that of a notification"),
        ("handle: no account", "the event has no Account-ID"),
        // The original's request also has the hook's custom data, which the host adds.
        (
            "handle: type matches, stripped",
            r#","account_db":"account%2F4f%2F5a%2F0c1d2e3b4a596877861524334251"}]"#,
        ),
        // These fire at the hook that came along; what is wrong with it or added by it is for the host to say.
        ("handle webhook: fires the carried hook", r#"[{"call_id":"c1","custom_data":{"a_b":1}}]"#),
        (
            "handle webhook: hook without format crashes on post",
            r#"[{"call_id":"c1","custom_data":{"a_b":1}}]"#,
        ),
        ("handle webhook: unknown hook event crashes", r#"[{"call_id":"c1","custom_data":{"a_b":1}}]"#),
        ("handle webhook: hook without account crashes", "Hook has no pvt_account_id"),
    ];
    vectors::check_handler(FILE, "notification_handle_event", &otherwise, |case| {
        Ok(run(host(""), &case.input["payload"])?.into_iter().map(|fired| fired.payload).collect())
    });
}

fn voicemail() -> Json {
    json!({
        "App-Name": "callflow", "App-Version": "1", "Event-Category": "notification",
        "Event-Name": "voicemail_full", "Msg-ID": "m1", "Account-ID": "acct1", "Max-Message-Count": 10,
        "Message-Count": 10, "Voicemail-Box": "box1", "Cc": null,
    })
}

#[test]
fn profile_standard_names_the_hook_event() {
    let fired = run(TestHost::new(), &voicemail()).unwrap().remove(0);
    assert_eq!((fired.hook_event.as_str(), fired.account.as_str()), ("notifications", "acct1"));
    assert_eq!(fired.filters, [("type".to_owned(), Some("voicemail_full".to_owned()))]);
    assert_eq!(
        fired.payload.to_string(),
        json!({
            "app_name": "callflow", "app_version": "1", "event_category": "notification",
            "event_name": "voicemail_full", "msg_id": "m1", "account_id": "acct1", "max_message_count": 10,
            "message_count": 10, "voicemail_box": "box1", "hook_event": "notifications",
        })
        .to_string()
    );
}

#[test]
fn profile_standard_looks_on_for_an_account_until_it_has_an_id() {
    let mut event = voicemail();
    event["account_id"] = json!(null);
    event["id"] = json!(5);
    assert_eq!(run(TestHost::new(), &event).unwrap()[0].account, "acct1");
    assert_eq!(run(host(""), &event), Ok(Vec::new()));
}

#[test]
fn a_callflows_own_hook_is_fired_at_as_it_came() {
    let hook =
        json!({"_id": "1", "pvt_account_id": "acct1", "uri": "http://a.example/", "hook": "notifications"});
    let mut event = json!({
        "App-Name": "callflow", "App-Version": "1", "Event-Category": "notification", "Event-Name": "webhook",
        "Msg-ID": "m1", "Hook": hook, "Data": {"Call-ID": "c1", "None": null},
    });
    let fired = run(TestHost::new(), &event).unwrap().remove(0);
    assert_eq!(fired.hook, Some(hook));
    assert_eq!(fired.payload, json!({"call_id": "c1", "hook_event": "notifications"}));

    event["Hook"]["uri"] = json!("");
    assert_eq!(run(TestHost::new(), &event).unwrap_err(), "Hook has no uri");
    event["Hook"] = json!("x");
    assert_eq!(run(TestHost::new(), &event).unwrap_err(), "Hook should be an object and is \"x\"");
    event["Hook"] = json!({"pvt_account_id": "a", "uri": "u"});
    event["Data"] = json!([]);
    assert_eq!(run(TestHost::new(), &event).unwrap_err(), "Data should be an object and is []");
}

#[test]
fn a_system_alert_for_no_account_fires_nothing_and_says_so() {
    let module = TestHost::new().load::<Notifications>().unwrap();
    let event = json!({
        "App-Name": "sysconf", "App-Version": "1", "Event-Category": "notification", "Event-Name": "system_alert",
        "Msg-ID": "m1", "Message": "full disk", "Subject": "alert",
    });
    assert_eq!(module.handle(&event), Ok(Vec::new()));
    assert_eq!(module.log(), ["Debug the notification names no account, so nothing fires"]);
}

#[test]
fn it_binds_every_notification_and_describes_it() {
    let module = TestHost::new().load::<Notifications>().unwrap();
    let bound = module.bindings_and_responders();
    assert_eq!(bound.bindings.len(), 38);
    assert!(bound.bindings.contains(&Binding::new("notifications", "notifications.voicemail.new")));
    let items = &module.metadata().modifiers["type"]["items"];
    assert_eq!(items.as_object().unwrap().len(), 39);
    assert_eq!(items["ported"]["friendly_name"], "Ported");
    assert!(items.get("skel").is_none());
}
