//! What an inbound message says to a hook: everything of `webhooks_sms` and `webhooks_mms` but their names.

use plugin_api::{Error, Event, Firing, Host, JsonWriter, Level, Payload, Profile, Value};

use crate::coerce;
use crate::validation::{Rules, Type};

/// `kapi_im:inbound_v/1`.
pub const RULES: Rules = Rules {
    required: &["Message-ID", "Body", "From", "To"],
    values: &[
        ("Event-Category", &["sms", "mms"]),
        ("Event-Name", &["inbound"]),
        ("Route-Type", &["onnet", "offnet"]),
    ],
    types: &[
        ("To", Type::Text),
        ("From", Type::Text),
        ("Request", Type::Text),
        ("Message-ID", Type::Text),
        ("System-ID", Type::Text),
        ("Body", Type::Text),
        ("Custom-Vars", Type::Object),
    ],
    ..Rules::NONE
};

/// The state of a module for inbound messages.
#[derive(Debug)]
pub struct InboundMessage {
    hook_event: &'static str,
    profile: Profile,
}

impl InboundMessage {
    /// Reads the settings; `hook_event` is `sms` or `mms`.
    #[must_use]
    pub fn new(hook_event: &'static str, host: &Host<'_>) -> Self {
        InboundMessage { hook_event, profile: host.profile() }
    }

    /// Fires at the hooks of the event's account.
    ///
    /// # Errors
    /// The event is not a valid inbound message.
    pub fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        RULES.check(event)?;
        let account = event.get("Account-ID").and_then(|account| coerce::text(account, self.profile));
        let Some(account) = account.filter(|account| !account.is_empty()) else {
            host.log(Level::Debug, "the message names no account in Account-ID, so nothing fires");
            return Ok(());
        };
        host.fire(&Firing::new(self.hook_event, &account), &self.payload(event, Some(&account)));
        Ok(())
    }

    /// The field order is that of the original's `format_event/2`.
    #[must_use]
    pub fn payload(&self, event: &Event<'_>, account: Option<&str>) -> Payload {
        let json = JsonWriter::object().copy("id", event.get("Message-ID")).opt_str("account_id", account);
        let json = json.copy("type", event.get("Event-Category"));
        let json = self.address(json, "from", event.get("From"));
        let json = self.address(json, "to", event.get("To"));
        let json = coerce::text_field(json, "body", event.get("Body"), self.profile);
        let json = json.copy("origin", event.get("Route-Type"));
        let json = match event.get("Charges").and_then(coerce::number) {
            Some(charges) => json.raw("charges", &charges),
            None => json,
        };
        match self.profile {
            // The documentation of `webhooks_sms` and `webhooks_mms` shows it; their `format_event/2` omit it.
            Profile::Standard => json.str("hook_event", self.hook_event),
            Profile::Kazoo => json,
        }
        .finish()
    }

    /// Unlike the body an address stays when it is empty.
    fn address(&self, json: JsonWriter, key: &str, value: Option<Value<'_>>) -> JsonWriter {
        json.opt_str(key, value.and_then(|value| coerce::text(value, self.profile)).as_deref())
    }
}
