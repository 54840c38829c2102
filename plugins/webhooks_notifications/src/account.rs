//! Which account a notification concerns.

use plugin_api::{Event, Profile, Value};

/// Where `kapi_notifications:account_id/1` looks, in its order.
const PLACES: &[&[&str]] = &[
    &["account_id"],
    &["account", "_id"],
    &["pvt_account_id"],
    &["_id"],
    &["id"],
    &["Account-ID"],
    &["details", "account_id"],
    &["Details", "Account-ID"],
    &["details", "custom_channel_vars", "account_id"],
    &["Details", "Custom-Channel-Vars", "Account-ID"],
];

/// The account's id, which may be empty in profile kazoo.
///
/// `kapi_notifications:account_id/1` takes the first place that is present, so that a number or null there hides
/// the rest. Standard takes the first that holds an id.
pub(crate) fn account<'a>(event: &Event<'a>, profile: Profile) -> Option<&'a str> {
    let mut places = PLACES.iter().filter_map(|place| event.at(place));
    match profile {
        Profile::Kazoo => places.next().as_ref().and_then(Value::str),
        Profile::Standard => places.filter_map(|value| value.str()).find(|id| !id.is_empty()),
    }
}
