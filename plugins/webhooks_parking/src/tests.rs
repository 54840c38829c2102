//! The module against the recorded cases, and what profile standard does otherwise.

use plugin_api::serde_json::Value;
use plugin_api::testing::{Fired, TestHost};

use super::*;
use crate::vectors;

const FILE: &str = "c_parking.jsonl";

/// Parts of the module, chosen by the setting `test.part`.
struct Part(Parking);

impl Module for Part {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        let (module, metadata) = Parking::init(host)?;
        Ok((Part(module), metadata))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        self.0.bindings_and_responders()
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        match host.setting("test.part").unwrap_or_default().trim_matches('"') {
            "check" => RULES.check(event),
            "format" => {
                host.fire(&Firing::new("", ""), &self.0.fields(event)?.payload());
                Ok(())
            }
            _ => self.0.handle_event(event, host),
        }
    }
}

fn handle(event: &Value, part: &str) -> Result<Vec<Fired>, String> {
    let host = TestHost::new().profile(Profile::Kazoo).setting("test.part", part.into());
    host.load::<Part>().unwrap().handle(event).map_err(|error| error.to_string())
}

#[test]
fn payloads_of_profile_kazoo_are_those_of_the_original() {
    let otherwise =
        [("ccvs string crashes", "the original crashes"), ("ccvs null crashes", "the original crashes")];
    vectors::check(
        FILE,
        "parking_format",
        &otherwise,
        |case| Ok(handle(&case.input["event"], "format")?.remove(0).payload),
        |case, answer| {
            let error = answer.unwrap_err();
            assert!(error.starts_with("Custom-Channel-Vars should be an object"), "{}: {error}", case.name);
        },
    );
}

#[test]
fn what_the_original_refuses_is_refused() {
    vectors::check(
        FILE,
        "kapi_definition_v",
        &[],
        |case| Ok(handle(&case.input["payload"], "check").is_ok().into()),
        |_, _| {},
    );
}

#[test]
fn the_handler_fires_what_the_original_posted() {
    let otherwise = [
        ("handle: missing Msg-ID is not valid", "the event has no Msg-ID"),
        ("handle: missing Call-ID", "the event has no Call-ID"),
        ("handle: wrong category", "Event-Category should be call_event and is \"other\""),
    ];
    vectors::check_handler(FILE, "parking_handle", &otherwise, |case| {
        Ok(handle(&case.input["event"], "")?.into_iter().map(|fired| fired.payload).collect())
    });
}

fn parked() -> Value {
    json!({
        "App-Name": "callflow", "App-Version": "1", "Event-Category": "call_event", "Event-Name": "PARK_PARKED",
        "Msg-ID": "m1", "Call-ID": "call-1", "Parking-Slot": 101, "Caller-ID-Name": null,
        "Custom-Channel-Vars": {"Account-ID": "acct1"},
    })
}

#[test]
fn profile_standard_names_the_hook_event_and_the_slot_as_text() {
    let fired = TestHost::new().load::<Parking>().unwrap().handle(&parked()).unwrap().remove(0);
    assert_eq!(fired.hook_event, "parking");
    assert_eq!(fired.account, "acct1");
    assert_eq!(
        fired.payload.to_string(),
        json!({
            "event_name": "PARK_PARKED", "call_id": "call-1", "parking_slot": "101", "account_id": "acct1",
            "hook_event": "parking",
        })
        .to_string()
    );
}

#[test]
fn an_event_without_an_account_fires_nothing_and_says_so() {
    let mut event = parked();
    event["Custom-Channel-Vars"] = json!({});
    event["Account-ID"] = json!("acct1");
    let module = TestHost::new().load::<Parking>().unwrap();
    assert_eq!(module.handle(&event), Ok(Vec::new()));
    assert_eq!(module.log().len(), 1);
}

#[test]
fn it_answers_the_events_that_it_binds() {
    let bound = TestHost::new().load::<Parking>().unwrap().bindings_and_responders();
    let keys: Vec<String> = bound.bindings.iter().map(|binding| binding.routing_key.clone()).collect();
    assert_eq!(keys, ["call.PARK_PARKED.*", "call.PARK_RETRIEVED.*", "call.PARK_ABANDONED.*"]);
    assert_eq!(bound.responders.len(), 3);
}
