//! What is looked at of an event when it is posted.

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An event: these fields, and whatever else its sender says.
// No more of it is looked at here, and no value is copied: it goes on as it came.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "Event-Category": "call_event", "Event-Name": "CHANNEL_CREATE", "Msg-ID": "4b1c",
    "Custom-Channel-Vars": {"Account-ID": "4f3a1c0b9d8e7f6a5b4c3d2e1f0a9b8c"}
}), as = Event)]
pub(super) struct PostedEvent<'e> {
    #[serde(rename = "Event-Category", borrow)]
    #[schema(value_type = String, min_length = 1)]
    pub(super) category: Option<&'e RawValue>,
    #[serde(rename = "Event-Name", borrow)]
    #[schema(value_type = String, min_length = 1)]
    pub(super) name: Option<&'e RawValue>,
    /// A text of at most 1024 bytes. An event that is sent again with the same one and not a byte changed is the same
    /// event: nothing is delivered twice then.
    #[serde(rename = "Msg-ID", borrow)]
    #[schema(value_type = Value, required = false)]
    pub(super) id: Option<&'e RawValue>,
}
