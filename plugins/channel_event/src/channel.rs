//! What a call event says to a hook: everything of the four channel modules but their names.
//!
//! The field order is the original's, as it decides the order of form fields.

use std::borrow::Cow;

use plugin_api::serde_json::{self, Value as Json};
use plugin_api::{Error, Event, Firing, Host, JsonWriter, Kind, Level, Payload, Profile, Value};
use rustc_hash::FxHashSet;

use crate::coerce;
use crate::validation::should_be;

/// A point in the life of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It began.
    Create,
    /// It was answered.
    Answer,
    /// It was connected to another leg.
    Bridge,
    /// It ended.
    Destroy,
}

impl Stage {
    /// The stage that an `Event-Name` tells of; the mapping is that of `webhooks_channel_util:hook_event_name/1`.
    #[must_use]
    pub fn of(event_name: &str) -> Option<Self> {
        match event_name {
            "CHANNEL_CREATE" => Some(Stage::Create),
            "CHANNEL_ANSWER" => Some(Stage::Answer),
            "CHANNEL_BRIDGE" => Some(Stage::Bridge),
            "CHANNEL_DESTROY" | "CHANNEL_DISCONNECTED" => Some(Stage::Destroy),
            _ => None,
        }
    }

    /// The name of the hook event.
    #[must_use]
    pub fn hook_event(self) -> &'static str {
        match self {
            Stage::Create => "channel_create",
            Stage::Answer => "channel_answer",
            Stage::Bridge => "channel_bridge",
            Stage::Destroy => "channel_destroy",
        }
    }
}

/// The state of a channel module.
#[derive(Debug)]
pub struct Channel {
    profile: Profile,
    /// Names of channel variables that customers do not see; none where none are configured.
    reserved: FxHashSet<Box<str>>,
    /// The original leaves the variables out altogether unless a list of names is configured.
    sends_vars: bool,
}

impl Channel {
    /// Reads the settings.
    ///
    /// # Errors
    /// `kazoo.reserved_ccv_keys` is not a list.
    pub fn new(host: &Host<'_>) -> Result<Self, Error> {
        let profile = host.profile();
        let names = match host.setting("kazoo.reserved_ccv_keys").map(serde_json::from_str) {
            None | Some(Ok(Json::Null)) => Vec::new(),
            Some(Ok(Json::Array(names))) => names,
            Some(_) => return Err(Error::msg("kazoo.reserved_ccv_keys should be a list of names")),
        };
        let sends_vars = profile == Profile::Standard || !names.is_empty();
        let reserved = names.iter().filter_map(Json::as_str).map(Box::from).collect();
        Ok(Channel { profile, reserved, sends_vars })
    }

    /// Fires at the hooks of the event's account.
    ///
    /// # Errors
    /// The event is of no known stage, or its channel variables are not an object.
    pub fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let unknown = || Error::msg(format!("Event-Name {:?} is not that of a channel event", event.name()));
        let stage = Stage::of(event.name()).ok_or_else(unknown)?;
        let vars = Vars::of(event, self.profile)?;
        let Some(account) = vars.account() else {
            host.log(Level::Debug, "the event names no account in Custom-Channel-Vars, so nothing fires");
            return Ok(());
        };
        let payload = self.payload(stage, event, &vars, Some(&account), host.reseller_of(&account));
        let firing = Firing::new(stage.hook_event(), &account).internal_leg(is_internal_leg(event));
        host.fire(&firing, &payload);
        Ok(())
    }

    /// All fields of the event, in the order of `webhooks_channel_util:base_hook_event/3`.
    fn payload(
        &self,
        stage: Stage,
        event: &Event<'_>,
        vars: &Vars<'_>,
        account: Option<&str>,
        reseller: Option<&str>,
    ) -> Payload {
        let text = |json, key, field| coerce::text_field(json, key, event.get(field), self.profile);
        let var = |json, key, name| coerce::text_field(json, key, vars.get(name), self.profile);
        let global = vars.is_true("Global-Resource");

        let json = JsonWriter::object().opt_str("account_id", account);
        let json = var(json, "authorizing_id", "Authorizing-ID");
        let json = var(json, "authorizing_type", "Authorizing-Type");
        let json = text(json, "call_direction", "Call-Direction");
        let json = match vars.text("Call-Forward") {
            Some(forward) => json.bool("call_forwarded", forward == "true"),
            None => json,
        };
        let json = text(json, "call_id", "Call-ID");
        let json = text(json, "callee_id_name", "Callee-ID-Name");
        let json = text(json, "callee_id_number", "Callee-ID-Number");
        let json = text(json, "caller_id_name", "Caller-ID-Name");
        let json = text(json, "caller_id_number", "Caller-ID-Number");
        let json = self.channel_vars(json, vars);
        let application_vars =
            event.get("Custom-Application-Vars").filter(|vars| vars.kind() == Kind::Object);
        let json = json.copy("custom_application_vars", application_vars);
        let json = json.bool("emergency_resource_used", vars.is_true("Emergency-Resource"));
        let json = self.address(json, "from", event.get("From"));
        let json = self.inception(json, event, vars);
        let json = if global { json } else { var(json, "local_resource_id", "Resource-ID") };
        let json = json.bool("local_resource_used", !global && self.counts_as_used(vars));
        let json = json.bool("is_internal_leg", coerce::is_true(event.get("Channel-Is-Loopback")));
        let json = text(json, "other_leg_call_id", "Other-Leg-Call-ID");
        let json = var(json, "owner_id", "Owner-ID");
        let json = self.request(json, event);
        let json = json.opt_str("reseller_id", reseller);
        let json = integer(json, "timestamp", event.get("Timestamp"));
        let json = self.address(json, "to", event.get("To"));
        let json = json.str("hook_event", stage.hook_event());
        self.of_stage(stage, json, event, vars).finish()
    }

    fn of_stage(&self, stage: Stage, json: JsonWriter, event: &Event<'_>, vars: &Vars<'_>) -> JsonWriter {
        let text = |json, key, field| coerce::text_field(json, key, event.get(field), self.profile);
        match stage {
            Stage::Create | Stage::Answer => json,
            Stage::Bridge => {
                let number = vars.get("Original-Number");
                let json = coerce::text_field(json, "original_number", number, self.profile);
                text(json, "other_leg_destination_number", "Other-Leg-Destination-Number")
            }
            Stage::Destroy => {
                let json = text(json, "hangup_cause", "Hangup-Cause");
                let json = text(json, "hangup_code", "Hangup-Code");
                let json = integer(json, "duration_seconds", event.get("Duration-Seconds"));
                let json = integer(json, "ringing_seconds", event.get("Ringing-Seconds"));
                integer(json, "billing_seconds", event.get("Billing-Seconds"))
            }
        }
    }

    /// `webhooks_channel_util:non_reserved_ccvs/1` sends nothing without configured names and an empty object when
    /// all are reserved; the documentation shows the field with what there is to show.
    fn channel_vars(&self, json: JsonWriter, vars: &Vars<'_>) -> JsonWriter {
        let mut shown = vars.entries().filter(|(name, _)| !self.reserved.contains(*name)).peekable();
        if !self.sends_vars || (self.profile == Profile::Standard && shown.peek().is_none()) {
            return json;
        }
        json.nested("custom_channel_vars", |json| {
            shown.fold(json, |json, (name, value)| json.raw(name, value.raw()))
        })
    }

    /// `webhooks_channel_util:base_hook_event/3` copies `From` and `To` whatever they are; documented are strings.
    fn address(&self, json: JsonWriter, key: &str, value: Option<Value<'_>>) -> JsonWriter {
        match self.profile {
            Profile::Kazoo => json.copy(key, value),
            Profile::Standard => coerce::text_field(json, key, value, self.profile),
        }
    }

    /// `webhooks_channel_util:base_hook_event/3` looks for `Inception` at the top, but the call-event API carries
    /// it among the channel variables.
    fn inception(&self, json: JsonWriter, event: &Event<'_>, vars: &Vars<'_>) -> JsonWriter {
        let at_top = event.get("Inception");
        match self.profile {
            Profile::Kazoo => json.copy("inception", at_top),
            Profile::Standard => {
                let said = |value: &Value<'_>| value.str().is_some_and(|text| !text.is_empty());
                let value = vars.get("Inception").filter(said).or(at_top);
                coerce::text_field(json, "inception", value, self.profile)
            }
        }
    }

    /// `webhooks_channel_util:base_hook_event/3` calls every resource that is not global a used local one, also
    /// where there is none.
    fn counts_as_used(&self, vars: &Vars<'_>) -> bool {
        self.profile == Profile::Kazoo || vars.text("Resource-ID").is_some()
    }

    /// `webhooks_channel_util:base_hook_event/3` reads `Request` as an object, though it is a string on the wire
    /// and in the documentation.
    fn request(&self, json: JsonWriter, event: &Event<'_>) -> JsonWriter {
        let request = event.get("Request");
        match self.profile {
            Profile::Kazoo => json.copy("request", request.filter(|request| request.kind() == Kind::Object)),
            Profile::Standard => coerce::text_field(json, "request", request, self.profile),
        }
    }
}

fn integer(json: JsonWriter, key: &str, value: Option<Value<'_>>) -> JsonWriter {
    match value.and_then(coerce::integer) {
        Some(integer) => json.raw(key, &integer),
        None => json,
    }
}

/// Whether hooks may ask not to be told: `webhooks_channel_util`'s loopback filter.
fn is_internal_leg(event: &Event<'_>) -> bool {
    event.str("Channel-Name").is_some_and(|name| name.starts_with("loopback/"))
        || coerce::is_true(event.get("Channel-Is-Loopback"))
}

/// `Custom-Channel-Vars`, whose values are read as text.
struct Vars<'a> {
    vars: Option<Value<'a>>,
    profile: Profile,
}

impl<'a> Vars<'a> {
    /// A list counts as none, like in the original; on a string, number, boolean or null that crashes in
    /// `kz_json:get_value1/3`.
    fn of(event: &Event<'a>, profile: Profile) -> Result<Self, Error> {
        let vars = event.get("Custom-Channel-Vars");
        match vars.map(|vars| (vars.kind(), vars)) {
            None | Some((Kind::Object, _)) => Ok(Vars { vars, profile }),
            Some((Kind::Array, _)) => Ok(Vars { vars: None, profile }),
            Some((_, vars)) => Err(should_be("Custom-Channel-Vars", "an object", vars)),
        }
    }

    fn get(&self, name: &str) -> Option<Value<'a>> {
        self.vars?.get(name)
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        coerce::text(self.get(name)?, self.profile).filter(|text| !text.is_empty())
    }

    fn is_true(&self, name: &str) -> bool {
        self.text(name).as_deref() == Some("true")
    }

    fn account(&self) -> Option<Cow<'a, str>> {
        self.text("Account-ID")
    }

    fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        self.vars.into_iter().flat_map(|vars| vars.entries())
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
