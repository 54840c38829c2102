//! What the bundled modules share. Not a module itself: each of them links its own copy.
//!
//! * [`channel`]: what a call event says to a hook
//! * [`channel_module`]: a whole channel module but its name
//! * [`inbound_message`]: the whole of `webhooks_sms` and `webhooks_mms`
//! * [`validation`]: which events KAZOO's API definitions refuse
//! * [`normalise`]: a message as the customer's side names its fields
//! * [`coerce`]: values as Erlang reads them
//!
//! # Profiles
//!
//! Profile `kazoo` sends what the original's code sends, to the letter of its recorded outputs. Profile `standard`
//! sends what its documentation promises. They differ in this and in nothing else:
//!
//! | where | `standard` | `kazoo` | comes from |
//! |---|---|---|---|
//! | channel: `request` | the text of `Request` | only when `Request` is an object, so never | `webhooks_channel_util:base_hook_event/3` |
//! | channel: `inception` | CCV `Inception`, else top-level; text | top-level only, as it came | `webhooks_channel_util:base_hook_event/3` |
//! | channel: `custom_channel_vars` | all that is not reserved; left out when nothing remains | left out when no reserved names are configured; else present, even empty | `webhooks_channel_util:non_reserved_ccvs/1` |
//! | channel: `local_resource_used` | true when a `Resource-ID` is there that is not global | true whenever the resource is not global, also without any | `webhooks_channel_util:base_hook_event/3` |
//! | channel: `from`, `to` | text | as they came | `webhooks_channel_util:base_hook_event/3` |
//! | text fields of channel, sms, mms | strings, numbers and booleans as text; all else left out | coerced: null → `"null"`, object → its JSON, list → joined | `kz_json:get_ne_binary_value/3`, `kz_term:to_binary/1` |
//! | whole numbers of channel (`timestamp`, `…_seconds`), `charges` of sms, mms | the same | the same | `kz_term:to_integer/1`, `kz_term:to_number/1` |
//! | parking: `parking_slot` | a string | as it came (a string in practice) | `cf_park:publish_event/3` |
//! | parking, object, notifications, sms, mms: `hook_event` | last field | not sent | `webhooks_parking`, `webhooks_object`, `webhooks_notifications`, `webhooks_sms`, `webhooks_mms` |
//! | object: `type` that is null | left out | null | `webhooks_object:format_event/2` |
//! | object: account of a database name written with `%2f` | found | the name itself, which is nobody's account | `kzs_util:format_account_id/1` |
//! | notifications: account | first of the places that holds a non-empty string | first of the places that is present; no string there means no account | `kapi_notifications:account_id/1` |
//!
//! Where the original crashes both profiles answer an error that names the field: a `Custom-Channel-Vars` that is
//! a string, number, boolean or null; an event name that the module does not know; an event that its API
//! definition refuses; a carried hook without account or address. An event without an account fires nothing and
//! says so at level debug: the account is not looked up by the called number.

pub mod channel;
pub mod channel_module;
pub mod inbound_message;
pub mod validation;
pub mod normalise;
pub mod coerce;

#[cfg(test)]
mod vectors;
