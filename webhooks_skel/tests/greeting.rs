//! The module from outside, through its library: an event from a file goes in, firings come out.

// A test fails by panicking, and so do the functions that it calls.
#![allow(clippy::unwrap_used)]

use plugin_api::serde_json::{self, Value, json};
use plugin_api::testing::{Loaded, TestHost};
use webhooks_skel::Skel;

/// The event that the README posts, too.
fn greeted() -> Value {
    serde_json::from_str(include_str!("events/greeted.json")).unwrap()
}

fn loaded() -> Loaded<Skel> {
    TestHost::new().load().unwrap()
}

#[test]
fn the_event_in_the_file_comes_to_the_module_and_fires_once() {
    let module = loaded();
    let event = greeted();

    let fired = module.handle(&event).unwrap();

    let answers = module.bindings_and_responders().responders;
    assert!(
        answers.iter().any(|it| event["Event-Category"] == it.category && event["Event-Name"] == it.name)
    );
    assert_eq!(fired.len(), 1);
    assert_eq!(event["Account-ID"], fired[0].account);
    assert_eq!(fired[0].payload["details"], event["Details"]);
}

#[test]
fn the_samples_show_fields_that_are_really_sent() {
    let module = loaded();
    let sent = module.handle(&greeted()).unwrap().remove(0).payload;

    for sample in &module.metadata().samples {
        for field in sample.as_object().unwrap().keys() {
            assert!(sent.get(field).is_some(), "{field} is in a sample and was not sent: {sent}");
        }
    }
}

#[test]
fn no_value_of_a_field_makes_it_panic() {
    let module = loaded();
    for field in ["Account-ID", "Greeting", "Mood", "Details"] {
        for value in [Value::Null, json!(7), json!(""), json!({}), json!(["x"])] {
            let mut event = greeted();
            event[field] = value;
            // An answer or an error that says what is wrong: both are fine.
            module.handle(&event).ok();
        }
    }
}
