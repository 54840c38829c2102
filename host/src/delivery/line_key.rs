//! In whose order a payload goes to a hook that wants its events in order. Pure.

use crate::model::payload::Payload;
use crate::model::{Hook, Ordering};

/// The fields of a payload that say which call it is about, the first one that is there.
const CALL_IDS: [&str; 2] = ["call_id", "Call-ID"];

/// The key in whose order a payload goes to a hook; `None` where no order was asked for, or the payload has no key.
#[must_use]
pub fn key(hook: &Hook, payload: &Payload) -> Option<String> {
    match hook.ordering? {
        Ordering::Call => {
            let raw = CALL_IDS.iter().find_map(|field| payload.get(field))?;
            serde_json::from_str::<String>(raw).ok().filter(|call_id| !call_id.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(ordering: Option<&str>, payload: &'static str, expected: Option<&str>) {
        let mut document = json!({"_id": "h", "pvt_account_id": "a", "uri": "http://x/", "hook": "all"});
        if let Some(ordering) = ordering {
            document["ordering"] = json!(ordering);
        }
        let hook = Hook::from_document(document.as_object().unwrap()).unwrap();
        let payload = Payload::parse(Bytes::from_static(payload.as_bytes())).unwrap();
        assert_eq!(key(&hook, &payload).as_deref(), expected);
    }

    #[test]
    fn the_key_is_the_call_id_where_the_hook_asks_for_order() {
        check(Some("call"), r#"{"a":1,"call_id":"c\u0031"}"#, Some("c1"));
        check(Some("call"), r#"{"Call-ID":"c2"}"#, Some("c2"));
        check(Some("call"), r#"{"other":"c2"}"#, None);
        check(Some("call"), r#"{"call_id":""}"#, None);
        check(Some("call"), r#"{"call_id":7}"#, None);
        check(None, r#"{"call_id":"c1"}"#, None);
    }
}
