//! The four channel modules against the recorded cases, and what profile standard does otherwise.

use plugin_api::serde_json::{Value as Json, json};
use plugin_api::testing::{Fired, TestHost};
use plugin_api::{BindingsAndResponders, Metadata, Module};

use super::*;
use crate::vectors::{self, Case};

/// A channel module; with the settings `test.stage` and `test.account` only its payload.
struct Subject(Channel);

impl Module for Subject {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((Subject(Channel::new(host)?), Metadata::new("Subject", "")))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new()
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let Some(stage) = host.setting("test.stage") else {
            return self.0.handle_event(event, host);
        };
        let unknown = || Error::msg("Event-Name is not known");
        let stage = Stage::of(serde_json::from_str(stage)?).ok_or_else(unknown)?;
        let vars = Vars::of(event, self.0.profile)?;
        let asked: Option<String> = serde_json::from_str(host.setting("test.account").unwrap_or("null"))?;
        // The original's tests hand over an account that is not the event's: the reseller is that one's.
        let reseller = asked.as_deref().and_then(|account| host.reseller_of(account));
        let account = vars.account().or(asked.as_deref().map(Cow::Borrowed));
        host.fire(&Firing::new("", ""), &self.0.payload(stage, event, &vars, account.as_deref(), reseller));
        Ok(())
    }
}

fn host(case: &Case) -> TestHost {
    let mut host = TestHost::new().profile(Profile::Kazoo);
    if let Some(resellers) = case.context["resellers"].as_object() {
        for (account, reseller) in resellers {
            host = host.reseller(account, reseller.as_str().unwrap());
        }
    }
    match case.context["config"]["call_command"]["default"].get("reserved_ccv_keys") {
        Some(names) => host.setting("kazoo.reserved_ccv_keys", names.clone()),
        None => host,
    }
}

fn format(case: &Case) -> Result<Json, String> {
    let host = host(case)
        .setting("test.stage", case.input["hook_event"].clone())
        .setting("test.account", case.input["account_id"].clone());
    let module = host.load::<Subject>().map_err(|error| error.text().to_owned())?;
    let mut fired = module.handle(&case.input["event"]).map_err(|error| error.to_string())?;
    Ok(fired.remove(0).payload)
}

const OTHERWISE: &[(&str, &str)] = &[
    ("format_event does not know 'CHANNEL_DISCONNECTED'", "the original renames it before; here it is known"),
    ("format_event does not know 'CHANNEL_HOLD'", "the original crashes"),
    ("format_event does not know 'channel_create'", "the original crashes"),
    ("format_event does not know ''", "the original crashes"),
    ("ccvs a string", "the original crashes"),
    ("ccvs null", "the original crashes"),
    ("ccvs a number", "the original crashes"),
    ("reserved keys a string", "the original crashes"),
    ("reserved keys a number", "the original crashes"),
    ("latin1 bytes in name", "the event is not JSON"),
    ("broken utf8 in name", "the event is not JSON"),
    ("Caller-ID-Name is bigint", "the test host cannot hand it over; a test of the coercion has it"),
    ("reserved keys node specific", "settings are the same for all nodes here"),
    ("reserved keys zone specific", "settings are the same for all nodes here"),
];

#[test]
fn payloads_of_profile_kazoo_are_those_of_the_original() {
    vectors::check("a_channel_events.jsonl", "format_event", OTHERWISE, format, |case, answer| {
        let error = |expected: &str| assert_eq!(answer.as_ref().unwrap_err(), expected, "{}", case.name);
        match case.name.as_str() {
            "format_event does not know 'CHANNEL_DISCONNECTED'" => {
                assert_eq!(answer.unwrap()["hook_event"], "channel_destroy");
            }
            name if name.starts_with("format_event does not know") => error("Event-Name is not known"),
            "ccvs a string" => error("Custom-Channel-Vars should be an object and is \"x\""),
            "ccvs null" => error("Custom-Channel-Vars should be an object and is null"),
            "ccvs a number" => error("Custom-Channel-Vars should be an object and is 5"),
            name if name.starts_with("reserved keys a") => {
                error("kazoo.reserved_ccv_keys should be a list of names");
            }
            _ => assert!(answer.is_ok()),
        }
    });
}

#[test]
fn event_names_mean_the_stages_of_the_original() {
    for case in vectors::cases("a_channel_events.jsonl", "hook_event_name") {
        let ours = Stage::of(case.input["name"].as_str().unwrap()).map(Stage::hook_event);
        let original = case.expected["value"].as_str().unwrap().to_lowercase();
        // The original hands names that it does not know through and crashes on them later.
        let known = ["CHANNEL_DISCONNECTED", "CHANNEL_CREATE", "CHANNEL_DESTROY", "CHANNEL_BRIDGE"];
        let expected = known.contains(&case.input["name"].as_str().unwrap()).then_some(original.as_str());
        assert_eq!(ours, expected, "{}", case.name);
    }
}

#[test]
fn the_handler_fires_what_the_original_posted() {
    let otherwise = [
        ("handle: unknown event with a matching all hook crashes", "Event-Name \"CHANNEL_HOLD\" is not that"),
        ("handle: unknown event without hooks", "Event-Name \"CHANNEL_HOLD\" is not that"),
        ("handle: no Event-Name", "Event-Name \"\" is not that"),
        ("handle: no Event-Name, all hook", "Event-Name \"\" is not that"),
        // Numbers are not looked up: nothing fires.
        ("handle: account from the number", "[]"),
        ("handle: account from the number, normalised", "[]"),
        ("handle: account from the number, e164 assumed", "[]"),
        ("handle: account from the number, To preferred", "[]"),
        ("handle: no number either", "[]"),
        // The null stays; what a form makes of it is for the host to say.
        ("handle: form-data with a null in the ccvs crashes", "\"X\":null"),
    ];
    vectors::check_handler("a_channel_events.jsonl", "channel_handle_event", &otherwise, |case| {
        let module = host(case).load::<Subject>().map_err(|error| error.text().to_owned())?;
        let fired = module.handle(&case.input["event"]).map_err(|error| error.to_string())?;
        Ok(fired.into_iter().map(|fired| fired.payload).collect())
    });
}

fn standard(event: Json) -> Fired {
    let host = TestHost::new()
        .setting("kazoo.reserved_ccv_keys", json!(["Account-ID", "Owner-ID", "Inception"]))
        .reseller("acct1", "reseller1");
    host.load::<Subject>().unwrap().handle(&event).unwrap().remove(0)
}

#[test]
fn profile_standard_sends_what_is_documented() {
    let fired = standard(json!({
        "Event-Name": "CHANNEL_BRIDGE", "Request": "1002@acme", "To": "1002@acme", "From": null,
        "Caller-ID-Name": null, "Caller-ID-Number": 1001, "Callee-ID-Name": {"a": 1}, "Timestamp": "63867219200",
        "Other-Leg-Destination-Number": "1002",
        "Custom-Channel-Vars": {
            "Account-ID": "acct1", "Owner-ID": "o1", "Inception": "+1555@acme", "Bridge-ID": "b1",
            "Resource-ID": "r1", "Original-Number": "+1666",
        },
    }));
    assert_eq!(fired.hook_event, "channel_bridge");
    assert_eq!(fired.account, "acct1");
    assert_eq!(
        fired.payload.to_string(),
        json!({
            "account_id": "acct1", "caller_id_number": "1001",
            "custom_channel_vars": {"Bridge-ID": "b1", "Resource-ID": "r1", "Original-Number": "+1666"},
            "emergency_resource_used": false, "inception": "+1555@acme", "local_resource_id": "r1",
            "local_resource_used": true, "is_internal_leg": false, "owner_id": "o1", "request": "1002@acme",
            "reseller_id": "reseller1", "timestamp": 63_867_219_200_u64, "to": "1002@acme",
            "hook_event": "channel_bridge", "original_number": "+1666", "other_leg_destination_number": "1002",
        })
        .to_string()
    );
}

#[test]
fn profile_standard_names_no_resource_that_was_not_used() {
    let used = |vars: Json| {
        let mut all = json!({"Account-ID": "acct1"});
        all.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
        standard(json!({"Event-Name": "CHANNEL_CREATE", "Custom-Channel-Vars": all})).payload["local_resource_used"]
            .clone()
    };
    assert_eq!(used(json!({})), false);
    assert_eq!(used(json!({"Resource-ID": "r1"})), true);
    assert_eq!(used(json!({"Resource-ID": "r1", "Global-Resource": "true"})), false);
}

#[test]
fn profile_standard_leaves_out_channel_variables_when_all_are_reserved() {
    let event = json!({"Event-Name": "CHANNEL_CREATE", "Custom-Channel-Vars": {"Account-ID": "acct1"}});
    assert_eq!(standard(event).payload.get("custom_channel_vars"), None);
}

#[test]
fn loopback_channels_are_internal_legs() {
    let internal = |name: Json, loopback: Json| {
        standard(json!({
            "Event-Name": "CHANNEL_CREATE", "Channel-Name": name, "Channel-Is-Loopback": loopback,
            "Custom-Channel-Vars": {"Account-ID": "acct1"},
        }))
        .internal_leg
    };
    assert!(!internal(json!("sofia/internal/1001@acme"), json!(false)));
    assert!(internal(json!("loopback/1001/acme-a"), json!(false)));
    assert!(internal(json!("sofia/internal/1001@acme"), json!(true)));
    assert!(internal(json!(null), json!("true")));
    assert!(!internal(json!("x/loopback/"), json!("yes")));
}

#[test]
fn an_event_without_an_account_fires_nothing_and_says_so() {
    let module = TestHost::new().load::<Subject>().unwrap();
    for vars in [json!({}), json!({"Account-ID": ""}), json!({"Account-ID": null}), json!([])] {
        let event = json!({"Event-Name": "CHANNEL_CREATE", "Custom-Channel-Vars": vars});
        assert_eq!(module.handle(&event), Ok(Vec::new()));
    }
    assert!(module.log()[0].starts_with("Debug the event names no account"), "{:?}", module.log());
}
