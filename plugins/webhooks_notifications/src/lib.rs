//! The module for hooks that want what KAZOO notifies people of: new voicemail, faxes, ports, bills and more.
//!
//! The payload is the whole message under normalised names. Some carry secrets: a new user's password, a new
//! account's API key, a link that resets a password.

mod account;
pub mod definitions;
mod samples;

use channel_event::normalise::{self, Fields};
use channel_event::validation::should_be;
use plugin_api::serde_json::{Map, Value as Json, json};
use plugin_api::{
    Binding, BindingsAndResponders, Error, Event, Firing, Host, Kind, Level, Metadata, Module, Profile, Value,
};

use definitions::{definition, definitions};

/// Hook event `notifications`.
#[derive(Debug)]
pub struct Notifications {
    profile: Profile,
}

impl Module for Notifications {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((Notifications { profile: host.profile() }, metadata()))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        let all = BindingsAndResponders::new().responder("notification", "*");
        let keys = definitions().filter_map(|definition| definition.key);
        keys.fold(all, |all, key| all.binding(Binding::notification(key)))
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let name = event.name();
        let unknown = || Error::msg(format!("Event-Name {name:?} is not that of a notification"));
        definition(name).ok_or_else(unknown)?.check(event)?;
        if name == "webhook" { self.fire_carried(event, host) } else { self.fire(event, host) }
    }
}

impl Notifications {
    fn fire(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let account = account::account(event, self.profile).filter(|account| !account.is_empty());
        let Some(account) = account else {
            host.log(Level::Debug, "the notification names no account, so nothing fires");
            return Ok(());
        };
        let mut fields = Fields::normalised(event.entries())?;
        self.name_hook_event(&mut fields);
        let firing = Firing::new("notifications", account).filter("type", Some(event.name()));
        host.fire(&firing, &fields.payload());
        Ok(())
    }

    /// The callflow action `webhook` sends its hook along; `webhooks_notifications:handle_event/2` looks up none.
    fn fire_carried(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let required =
            |field| event.get(field).ok_or_else(|| Error::msg(format!("the event has no {field}")));
        let hook = required("Hook")?;
        check_hook(hook)?;
        let mut fields = normalise::object("Data", required("Data")?)?;
        self.name_hook_event(&mut fields);
        if host.fire_at(hook.raw().as_bytes(), &fields.payload()) {
            Ok(())
        } else {
            Err(Error::msg(
                "this host cannot fire at a hook that the event carries: it speaks plugin-api 1.0",
            ))
        }
    }

    /// `webhooks_notifications` sends the message and nothing else; the documentation shows the hook event.
    fn name_hook_event(&self, fields: &mut Fields) {
        if self.profile == Profile::Standard {
            fields.set_str("hook_event", "notifications");
        }
    }
}

/// `webhooks_util:hook_id/1` and `fire_hook/2` crash without these.
fn check_hook(hook: Value<'_>) -> Result<(), Error> {
    if hook.kind() != Kind::Object {
        return Err(should_be("Hook", "an object", hook));
    }
    let says = |name| hook.get(name).and_then(|value| value.str()).is_some_and(|text| !text.is_empty());
    if !says("pvt_account_id") && !says("Account-ID") {
        return Err(Error::msg("Hook has no pvt_account_id"));
    }
    if !says("uri") {
        return Err(Error::msg("Hook has no uri"));
    }
    Ok(())
}

fn metadata() -> Metadata {
    let all = json!({"friendly_name": "All", "description": "Every notification of the account"});
    let mut items = Map::new();
    items.insert("all".to_owned(), all);
    for definition in definitions().filter(|definition| definition.key.is_some()) {
        let item = json!({"friendly_name": definition.title, "description": definition.about});
        items.insert(definition.name.to_owned(), item);
    }
    let metadata = Metadata::new(
        "Notifications Webhook",
        "Something happened that people of the account are notified of",
    )
    .modifier("type", json!({"type": "object", "items": Json::Object(items)}));
    samples::samples().into_iter().fold(metadata, Metadata::sample)
}

plugin_api::export_module!(Notifications);

#[cfg(test)]
#[path = "../../channel_event/src/vectors.rs"]
mod vectors;

#[cfg(test)]
mod tests;
