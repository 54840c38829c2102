//! The module for hooks that want to know when documents of an account change.

mod database;

use channel_event::coerce;
use channel_event::validation::{Rules, Type};
use plugin_api::serde_json::{Value as Json, json};
use plugin_api::{
    Binding, BindingsAndResponders, Error, Event, Firing, Host, JsonWriter, Level, Metadata, Module, Payload,
    Profile, Value,
};

/// `kapi_conf:doc_update_v/1`.
const RULES: Rules = Rules {
    required: &["ID", "Database"],
    values: &[
        ("Event-Category", &["configuration"]),
        (
            "Event-Name",
            &[
                "doc_created",
                "doc_edited",
                "doc_deleted",
                "db_created",
                "db_edited",
                "db_deleted",
                "db_views_updated",
            ],
        ),
    ],
    types: &[("ID", Type::Text), ("Rev", Type::Text), ("Is-Soft-Deleted", Type::Boolean)],
    ..Rules::NONE
};

/// What hooks may choose unless `kazoo.object_types` says otherwise.
const TYPES: [&str; 10] = [
    "account",
    "callflow",
    "device",
    "faxbox",
    "media",
    "user",
    "vmbox",
    "fax",
    "mailbox_message",
    "call_recording",
];

/// Hook event `object`.
#[derive(Debug)]
pub struct Object {
    profile: Profile,
}

impl Module for Object {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        let types = host.list_setting("kazoo.object_types");
        let types = types.unwrap_or_else(|| TYPES.map(str::to_owned).to_vec());
        Ok((Object { profile: host.profile() }, metadata(types)))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new().binding(Binding::configuration()).responder("configuration", "*")
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        // The binding takes in this request to the host itself; it is none of the changes, and no fault either.
        if event.name() == "doc_type_update" {
            return Ok(());
        }
        RULES.check(event)?;
        let database = event.get("Database").and_then(|name| coerce::text(name, self.profile));
        let account = database::account(&database.unwrap_or_default(), event.str("ID"), self.profile);
        let Some(account) = account.filter(|account| !account.is_empty()) else {
            host.log(Level::Debug, "the change is in no account's database, so nothing fires");
            return Ok(());
        };
        let firing = Firing::new("object", &account)
            .filter("action", Some(event.name()))
            .filter("type", event.get("Type").map(|kind| kind.str().unwrap_or(kind.raw())));
        host.fire(&firing, &self.payload(event, Some(&account)));
        Ok(())
    }
}

impl Object {
    /// Copies what `webhooks_object:format_event/2` copies, in its order.
    fn payload(&self, event: &Event<'_>, account: Option<&str>) -> Payload {
        let json = JsonWriter::object()
            .copy("id", event.get("ID"))
            .opt_str("account_id", account)
            .copy("action", event.get("Event-Name"));
        match self.profile {
            Profile::Kazoo => json.copy("type", event.get("Type")),
            // The documentation shows a `hook_event`, and every type as text.
            Profile::Standard => {
                let said = |kind: &Value<'_>| !kind.is_null();
                json.copy("type", event.get("Type").filter(said)).str("hook_event", "object")
            }
        }
        .finish()
    }
}

fn metadata(types: Vec<String>) -> Metadata {
    let sample = |action: &str, kind: &str| {
        json!({
            "id": "5f3c2b9e7a104d6c8e1f0a2b3c4d5e6f", "account_id": "91eb05e5c68d7ca05e7618b6821d2d16",
            "action": action, "type": kind, "hook_event": "object",
        })
    };
    let types: Vec<Json> = std::iter::once("all".to_owned()).chain(types).map(Json::from).collect();
    Metadata::new(
        "Object",
        "A document of the account, such as a user or a device, was made, changed or deleted",
    )
    .modifier(
        "type",
        json!({"type": "array", "description": "Kind of document to be told about", "items": types}),
    )
    .modifier(
        "action",
        json!({
            "type": "array", "description": "What must have happened to the document",
            "items": ["all", "doc_created", "doc_edited", "doc_deleted"],
        }),
    )
    .sample(sample("doc_created", "user"))
    .sample(sample("doc_edited", "callflow"))
    .sample(sample("doc_deleted", "device"))
}

plugin_api::export_module!(Object);

#[cfg(test)]
#[path = "../../channel_event/src/vectors.rs"]
mod vectors;

#[cfg(test)]
mod tests;
