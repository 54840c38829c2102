//! What this module answers: the event `greeted` of the category `skel`, with one firing of the hook event `skel`.
//!
//! The crate's name is the module's id: `webhooks_<hook event>`, unique among the modules of a host.

use plugin_api::serde_json::json;
use plugin_api::{
    Binding, BindingsAndResponders, Error, Event, Firing, Host, JsonWriter, Level, Metadata, Module,
};

/// The module's state, made by `init` and kept until the module is replaced. It has none; what yours has goes here,
/// and nothing into a `static`: a reload makes a new value and forgets this one.
#[derive(Debug)]
pub struct Skel;

impl Module for Skel {
    /// Describes the module to people: a name, a sentence, and payloads as it sends them. It also runs in a process
    /// of its own that only looks whether the file is any good, so it must change nothing outside the value.
    fn init(_host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        let metadata = Metadata::new("Skel", "Tells every greeting of the account")
            .sample(json!({"account_id": "acct1", "greeting": "hello", "hook_event": "skel"}));
        Ok((Skel, metadata))
    }

    /// Which messages the host must fetch from the bus, and which (category, name) pairs come to `handle_event`.
    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new()
            .binding(Binding::new("skel", "skel.greeted.*"))
            .responder("skel", "greeted")
    }

    /// Turns an event into firings. The host finds the hooks, delivers, retries and keeps count.
    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        // An error says what is wrong to the operator; the event then counts as failed for this module.
        let greeting = event.required_str("Greeting")?;

        // An event that concerns no account is no error: there is nobody to tell.
        let Some(account) = event.str("Account-ID") else {
            host.log(Level::Debug, "the greeting names no account, so nothing fires");
            return Ok(());
        };

        // Fields go out in the order in which they are written; `copy` takes a value over as it came.
        let payload = JsonWriter::object()
            .str("account_id", account)
            .str("greeting", greeting)
            .copy("details", event.get("Details"))
            .str("hook_event", "skel")
            .finish();

        // A hook with custom_data is told only if its `mood` is "all" or this one.
        let firing = Firing::new("skel", account).filter("mood", event.str("Mood"));
        host.fire(&firing, &payload);
        Ok(())
    }
}

// Exports the module from the library: once per crate.
plugin_api::export_module!(Skel);

#[cfg(test)]
mod tests {
    use plugin_api::testing::TestHost;

    use super::*;

    #[test]
    fn a_greeting_is_told_to_its_account() {
        let module = TestHost::new().load::<Skel>().unwrap();
        let event = json!({
            "Event-Category": "skel", "Event-Name": "greeted", "Account-ID": "acct1", "Greeting": "hello",
            "Mood": "sunny", "Details": {"times": 2},
        });

        let fired = module.handle(&event).unwrap();

        assert_eq!(fired.len(), 1);
        assert_eq!(fired[0].hook_event, "skel");
        assert_eq!(fired[0].account, "acct1");
        assert_eq!(fired[0].filters, [("mood".to_owned(), Some("sunny".to_owned()))]);
        assert_eq!(
            fired[0].payload,
            json!({
                "account_id": "acct1", "greeting": "hello", "details": {"times": 2}, "hook_event": "skel",
            })
        );
    }

    #[test]
    fn a_greeting_without_words_is_an_error_that_names_the_field() {
        let module = TestHost::new().load::<Skel>().unwrap();
        let event = json!({"Event-Category": "skel", "Event-Name": "greeted", "Account-ID": "acct1"});
        assert_eq!(module.handle(&event).unwrap_err().to_string(), "the event has no Greeting");
    }

    #[test]
    fn a_greeting_to_nobody_fires_nothing_and_says_so() {
        let module = TestHost::new().load::<Skel>().unwrap();
        let event = json!({"Event-Category": "skel", "Event-Name": "greeted", "Greeting": "hello"});
        assert_eq!(module.handle(&event), Ok(Vec::new()));
        assert_eq!(module.log(), ["Debug the greeting names no account, so nothing fires"]);
    }

    #[test]
    fn it_answers_what_it_binds() {
        let bound = TestHost::new().load::<Skel>().unwrap().bindings_and_responders();
        assert_eq!(bound.bindings, [Binding::new("skel", "skel.greeted.*")]);
        assert_eq!(bound.responders.len(), 1);
    }
}
