//! The module against the recorded cases, and what profile standard does otherwise.

use channel_event::inbound_message::RULES;
use plugin_api::serde_json::Value;
use plugin_api::testing::{Fired, TestHost};
use plugin_api::{Firing, Profile};

use super::*;
use crate::vectors;

const FILE: &str = "c_sms_mms.jsonl";

/// Parts of the module, chosen by the setting `test.part`.
struct Part(Sms);

impl Module for Part {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        let (module, metadata) = Sms::init(host)?;
        Ok((Part(module), metadata))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        self.0.bindings_and_responders()
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        match host.setting("test.part").unwrap_or_default().trim_matches('"') {
            "check" => RULES.check(event),
            "format" => {
                let account = host.setting("test.account").unwrap_or_default();
                let account: Option<String> = plugin_api::serde_json::from_str(account)?;
                host.fire(&Firing::new("", ""), &self.0.0.payload(event, account.as_deref()));
                Ok(())
            }
            _ => self.0.handle_event(event, host),
        }
    }
}

fn handle(event: &Value, part: &str) -> Result<Vec<Fired>, String> {
    let host = TestHost::new().profile(Profile::Kazoo).setting("test.part", part.into());
    run(host, event)
}

fn run(host: TestHost, event: &Value) -> Result<Vec<Fired>, String> {
    host.load::<Part>().unwrap().handle(event).map_err(|error| error.to_string())
}

#[test]
fn payloads_of_profile_kazoo_are_those_of_the_original() {
    let format = |case: &vectors::Case| {
        let host = TestHost::new().profile(Profile::Kazoo).setting("test.part", "format".into());
        let host = host.setting("test.account", case.input["account_id"].clone());
        Ok(run(host, &case.input["payload"])?.remove(0).payload)
    };
    vectors::check(FILE, "sms_format_event", &[], format, |_, _| {});
}

#[test]
fn what_the_original_refuses_is_refused() {
    vectors::check(
        FILE,
        "im_inbound_v",
        &[],
        |case| Ok(handle(&case.input["payload"], "check").is_ok().into()),
        |_, _| {},
    );
}

#[test]
fn the_handler_fires_what_the_original_posted() {
    let otherwise = [
        ("handle sms: invalid without Body", "the event has no Body"),
        ("handle sms: Body not a string", "Body should be a string and is 5"),
        ("handle sms: unknown route type", "Route-Type should be onnet or offnet and is \"other\""),
        ("handle sms: outbound is invalid", "Event-Name should be inbound and is \"outbound\""),
    ];
    vectors::check_handler(FILE, "sms_handle", &otherwise, |case| {
        Ok(handle(&case.input["payload"], "")?.into_iter().map(|fired| fired.payload).collect())
    });
}

fn message() -> Value {
    json!({
        "App-Name": "doodle", "App-Version": "1", "Event-Category": "sms", "Event-Name": "inbound", "Msg-ID": "m1",
        "Message-ID": "1", "From": "+1555", "To": "+1666", "Body": "Hello", "Account-ID": "acct1",
        "Route-Type": "offnet", "Charges": "0.5",
    })
}

#[test]
fn profile_standard_names_the_hook_event() {
    let fired = run(TestHost::new(), &message()).unwrap().remove(0);
    assert_eq!(fired.hook_event, "sms");
    assert_eq!(fired.account, "acct1");
    assert_eq!(
        fired.payload.to_string(),
        json!({
            "id": "1", "account_id": "acct1", "type": "sms", "from": "+1555", "to": "+1666", "body": "Hello",
            "origin": "offnet", "charges": 0.5, "hook_event": "sms",
        })
        .to_string()
    );
}

#[test]
fn a_message_without_an_account_fires_nothing_and_says_so() {
    let mut event = message();
    event["Account-ID"] = "".into();
    let module = TestHost::new().load::<Sms>().unwrap();
    assert_eq!(module.handle(&event), Ok(Vec::new()));
    assert_eq!(module.log(), ["Debug the message names no account in Account-ID, so nothing fires"]);
}

#[test]
fn it_answers_the_events_that_it_binds() {
    let bound = TestHost::new().load::<Sms>().unwrap().bindings_and_responders();
    assert_eq!(bound.bindings, [Binding::new("im", "sms.inbound.offnet.*")]);
    assert_eq!(bound.responders[0].category, "sms");
    assert_eq!(bound.responders[0].name, "inbound");
}
