//! The module for hooks that want to know when a call is parked, retrieved or abandoned.

use channel_event::coerce;
use channel_event::normalise::Fields;
use channel_event::validation::{Rules, Type, should_be};
use plugin_api::serde_json::json;
use plugin_api::{
    Binding, BindingsAndResponders, Error, Event, Firing, Host, Kind, Level, Metadata, Module, Profile,
};

/// `kapi_call:event_v/1`.
const RULES: Rules = Rules {
    required: &["Call-ID"],
    values: &[("Event-Category", &["call_event"])],
    types: &[
        ("Custom-Application-Vars", Type::Object),
        ("Custom-Channel-Vars", Type::Object),
        ("Custom-SIP-Headers", Type::Object),
        ("Fax-Info", Type::Object),
    ],
    ..Rules::NONE
};

/// What `webhooks_parking:format/1` takes away before it normalises the rest.
const NOT_SENT: &[&str] =
    &["Node", "Msg-ID", "App-Version", "App-Name", "Event-Category", "Custom-Channel-Vars"];

const EVENTS: [&str; 3] = ["PARK_PARKED", "PARK_RETRIEVED", "PARK_ABANDONED"];

/// Hook event `parking`.
#[derive(Debug)]
pub struct Parking {
    profile: Profile,
}

impl Module for Parking {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((Parking { profile: host.profile() }, metadata()))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        EVENTS.into_iter().fold(BindingsAndResponders::new(), |all, event| {
            all.binding(Binding::call(event)).responder("call_event", event)
        })
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        RULES.check(event)?;
        let Some(account) = self.account(event)? else {
            host.log(Level::Debug, "the event names no account in Custom-Channel-Vars, so nothing fires");
            return Ok(());
        };
        host.fire(&Firing::new("parking", &account), &self.fields(event)?.payload());
        Ok(())
    }
}

impl Parking {
    /// Only the channel variables count; a list instead of an object has none.
    fn account(&self, event: &Event<'_>) -> Result<Option<String>, Error> {
        let Some(vars) = event.get("Custom-Channel-Vars") else {
            return Ok(None);
        };
        if !matches!(vars.kind(), Kind::Object | Kind::Array) {
            return Err(should_be("Custom-Channel-Vars", "an object", vars));
        }
        let account = vars.get("Account-ID").and_then(|account| coerce::text(account, self.profile));
        Ok(account.filter(|account| !account.is_empty()).map(|account| account.into_owned()))
    }

    fn fields(&self, event: &Event<'_>) -> Result<Fields, Error> {
        let sent = event.entries().filter(|(name, _)| !NOT_SENT.contains(name));
        let mut fields = Fields::normalised(sent)?;
        if let Some(account) = self.account(event)? {
            fields.set_str("account_id", &account);
        }
        if self.profile == Profile::Standard {
            // A slot that came as a number would go out as one from `webhooks_parking:format/1`.
            let slot = event.get("Parking-Slot").and_then(|slot| coerce::text(slot, self.profile));
            if let Some(slot) = slot {
                fields.set_str("parking_slot", &slot);
            }
            // `webhooks_parking:format/1` does not say which hook event it is.
            fields.set_str("hook_event", "parking");
        }
        Ok(fields)
    }
}

fn metadata() -> Metadata {
    let sample = |event: &str| {
        json!({
            "event_name": event, "call_id": "3c1f-77a0@10.8.0.4", "parking_slot": "101",
            "caller_id_name": "Ada Park", "caller_id_number": "+15550001111",
            "callee_id_name": "Front Desk", "callee_id_number": "1002",
            "account_id": "91eb05e5c68d7ca05e7618b6821d2d16", "hook_event": "parking",
        })
    };
    let metadata = Metadata::new(
        "Call Parking",
        "A call was parked in a slot, taken out of it, or hung up while it waited",
    );
    EVENTS.into_iter().map(sample).fold(metadata, Metadata::sample)
}

plugin_api::export_module!(Parking);

#[cfg(test)]
#[path = "../../channel_event/src/vectors.rs"]
mod vectors;

#[cfg(test)]
mod tests;
