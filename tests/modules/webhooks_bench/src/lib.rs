//! The work of a channel module and nothing else: 25 fields of a call event read, 25 written, one firing.
//!
//! The benchmarks measure it in place of a bundled module, so that their figures only move when the host or
//! the boundary does.

use plugin_api::{
    Binding, BindingsAndResponders, Error, Event, Firing, Host, JsonWriter, Metadata, Module, Value,
};

/// Copied from the top of the event: key of the payload, field of the event.
const FIELDS: [(&str, &str); 13] = [
    ("call_direction", "Call-Direction"),
    ("call_id", "Call-ID"),
    ("callee_id_name", "Callee-ID-Name"),
    ("callee_id_number", "Callee-ID-Number"),
    ("caller_id_name", "Caller-ID-Name"),
    ("caller_id_number", "Caller-ID-Number"),
    ("from", "From"),
    ("is_internal_leg", "Channel-Is-Loopback"),
    ("other_leg_call_id", "Other-Leg-Call-ID"),
    ("presence_id", "Presence-ID"),
    ("request", "Request"),
    ("timestamp", "Timestamp"),
    ("to", "To"),
];

/// Copied from the channel variables, likewise.
const VARS: [(&str, &str); 10] = [
    ("authorizing_id", "Authorizing-ID"),
    ("authorizing_type", "Authorizing-Type"),
    ("bridge_id", "Bridge-ID"),
    ("fetch_id", "Fetch-ID"),
    ("global_resource", "Global-Resource"),
    ("inception", "Inception"),
    ("owner_id", "Owner-ID"),
    ("realm", "Realm"),
    ("resource_id", "Resource-ID"),
    ("username", "Username"),
];

struct Bench;

impl Module for Bench {
    fn init(_host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((Bench, Metadata::new("Bench", "The work of a channel module, to be measured")))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new()
            .binding(Binding::call("CHANNEL_CREATE"))
            .responder("call_event", "CHANNEL_CREATE")
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let vars = event.get("Custom-Channel-Vars");
        let var = |name: &str| vars.and_then(|vars| vars.get(name));
        let account = var("Account-ID").and_then(|account| account.str());
        let account = account.ok_or_else(|| Error::msg("the event names no account"))?;
        let mut json = JsonWriter::object().str("account_id", account);
        for (key, field) in FIELDS {
            json = scalar(json, key, event.get(field));
        }
        for (key, name) in VARS {
            json = scalar(json, key, var(name));
        }
        host.fire(&Firing::new("bench", account), &json.str("hook_event", "bench").finish());
        Ok(())
    }
}

/// Text is written anew, as a module that looks at it has to; all else is copied.
fn scalar(json: JsonWriter, key: &str, value: Option<Value<'_>>) -> JsonWriter {
    match value.and_then(|value| value.str()) {
        Some(text) => json.str(key, text),
        None => json.copy(key, value),
    }
}

plugin_api::export_module!(Bench);
