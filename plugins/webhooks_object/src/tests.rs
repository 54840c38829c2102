//! The module against the recorded cases, and what profile standard does otherwise.

use plugin_api::serde_json::Value;
use plugin_api::testing::{Fired, TestHost};

use super::*;
use crate::database::Class;
use crate::vectors::{self, Case};

const FILE: &str = "c_object.jsonl";
const ACCOUNT: &str = "4f5a0c1d2e3b4a596877861524334251";

/// Parts of the module, chosen by the setting `test.part`.
struct Part(Object);

impl Module for Part {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        let (module, metadata) = Object::init(host)?;
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
                host.fire(&Firing::new("", ""), &self.0.payload(event, account.as_deref()));
                Ok(())
            }
            _ => self.0.handle_event(event, host),
        }
    }
}

fn host(part: &str) -> TestHost {
    TestHost::new().profile(Profile::Kazoo).setting("test.part", part.into())
}

fn run(host: TestHost, event: &Value) -> Result<Vec<Fired>, String> {
    host.load::<Part>().unwrap().handle(event).map_err(|error| error.to_string())
}

#[test]
fn payloads_of_profile_kazoo_are_those_of_the_original() {
    let format = |case: &Case| {
        let host = host("format").setting("test.account", case.input["account_id"].clone());
        Ok(run(host, &case.input["doc_change"])?.remove(0).payload)
    };
    vectors::check(FILE, "object_format_event", &[], format, |_, _| {});
}

#[test]
fn what_the_original_refuses_is_refused() {
    vectors::check(
        FILE,
        "kapi_definition_v",
        &[],
        |case| Ok(run(host("check"), &case.input["payload"]).is_ok().into()),
        |_, _| {},
    );
}

#[test]
fn databases_are_classified_and_accounts_found_as_by_the_original() {
    for case in vectors::cases(FILE, "object_find_account_id") {
        let change = &case.input["doc_change"];
        let database = change["Database"].as_str().unwrap_or_default();
        let class = match database::class(database) {
            Class::Account => "account",
            Class::Month => "modb",
            Class::Year => "yodb",
            Class::Aggregate => "aggregate",
            Class::Numbers => "numbers",
            Class::System => "system",
            Class::RateDeck => "ratedeck",
            Class::ResourceSelectors => "resource_selectors",
            Class::External => "external",
            Class::Unknown => "undefined",
        };
        assert_eq!(case.expected["db_classification"], class, "{}", case.name);
        let account = database::account(database, change["ID"].as_str(), Profile::Kazoo);
        assert_eq!(case.expected["value"].as_str(), account.as_deref(), "{}", case.name);
    }
}

/// The filters that the module hands over, applied as the host applies them.
fn wants(hook: &Value, filters: &[(String, Option<String>)]) -> bool {
    let custom = &hook["custom_data"];
    if hook["hook_event"] != "object" || !custom.is_object() {
        return true;
    }
    filters.iter().all(|(key, value)| match &custom[key] {
        Value::String(wanted) => wanted == "all" || value.as_ref() == Some(wanted),
        Value::Null => value.is_none(),
        // Only the host knows how a number or a list compares.
        _ => true,
    })
}

#[test]
fn the_filters_select_the_hooks_that_the_original_selects() {
    for case in vectors::cases(FILE, "object_match_action_type") {
        let mut change = json!({
            "App-Name": "a", "App-Version": "1", "Event-Category": "configuration", "Msg-ID": "m", "ID": "doc1",
            "Database": ACCOUNT, "Event-Name": case.input["action"],
        });
        if case.input["action"].is_null() {
            continue; // an event without a name reaches no module
        }
        if !case.input["type"].is_null() {
            change["Type"] = case.input["type"].clone();
        }
        let fired = run(host(""), &change).unwrap().remove(0);
        assert_eq!(
            Value::from(wants(&case.input["hook"], &fired.filters)),
            case.expected["value"],
            "{}",
            case.name
        );
    }
}

#[test]
fn the_handler_fires_what_the_original_posted() {
    let otherwise = [
        ("handle: invalid without Database", "the event has no Database"),
        ("handle: ID not a string is invalid", "ID should be a string and is 5"),
    ];
    vectors::check_handler(FILE, "object_handle_event", &otherwise, |case| {
        Ok(run(host(""), &case.input["doc_change"])?.into_iter().map(|fired| fired.payload).collect())
    });
}

fn change() -> Value {
    json!({
        "App-Name": "crossbar", "App-Version": "1", "Event-Category": "configuration", "Event-Name": "doc_edited",
        "Msg-ID": "m1", "ID": "doc1", "Type": "user", "Database": ACCOUNT,
    })
}

#[test]
fn profile_standard_names_the_hook_event() {
    let fired = run(TestHost::new(), &change()).unwrap().remove(0);
    assert_eq!((fired.hook_event.as_str(), fired.account.as_str()), ("object", ACCOUNT));
    let filters = [("action", "doc_edited"), ("type", "user")];
    assert_eq!(fired.filters, filters.map(|(key, value)| (key.to_owned(), Some(value.to_owned()))));
    assert_eq!(
        fired.payload.to_string(),
        json!({
            "id": "doc1", "account_id": ACCOUNT, "action": "doc_edited", "type": "user", "hook_event": "object",
        })
        .to_string()
    );
}

#[test]
fn a_change_in_no_accounts_database_fires_nothing_and_says_so() {
    let mut event = change();
    event["Database"] = "system_config".into();
    let module = TestHost::new().load::<Object>().unwrap();
    assert_eq!(module.handle(&event), Ok(Vec::new()));
    assert_eq!(module.log().len(), 1);
}

#[test]
fn a_request_to_enable_hooks_again_is_no_change() {
    let event =
        json!({"Event-Category": "configuration", "Event-Name": "doc_type_update", "Type": "webhook"});
    assert_eq!(run(TestHost::new(), &event), Ok(Vec::new()));
}

#[test]
fn hooks_may_choose_the_types_of_the_setting() {
    let types = |host: TestHost| host.load::<Object>().unwrap().metadata().modifiers["type"]["items"].clone();
    assert_eq!(types(TestHost::new())[1], "account");
    assert_eq!(types(TestHost::new()).as_array().unwrap().len(), 11);
    let host = TestHost::new().setting("kazoo.object_types", json!(["user"]));
    assert_eq!(types(host), json!(["all", "user"]));
}
