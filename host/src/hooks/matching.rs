//! Which hooks want a firing.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::accounts::Accounts;
use super::document::text;
use super::table::HookTable;
use crate::model::payload::Payload;
use crate::model::{AccountId, CompactFields, Hook, HookEvent};

/// A hook whose event is not `all` and that has custom_data wants a firing only if `custom_data[key]`
/// is `all` or equals `value` (`None` only equals an absent or empty key). Numbers and lists in
/// custom_data are compared as the text that they make, as in the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadFilter {
    /// Key of custom_data: `type`, `action`.
    pub key: String,
    /// What the event says.
    pub value: Option<String>,
}

/// What matching must know of a firing.
#[derive(Clone, Copy, Debug)]
pub struct HookCandidate<'a> {
    /// The event's name as in hook documents, in lower case.
    pub hook_event: &'a str,
    /// Whose event it is.
    pub account: &'a AccountId,
    /// A loopback leg of a call.
    pub internal_leg: bool,
    /// The module's own conditions; all of them must hold.
    pub filters: &'a [PayloadFilter],
}

/// The hooks to fire, see [`candidates`].
pub fn matching(
    table: &HookTable,
    accounts: &Accounts,
    candidate: &HookCandidate<'_>,
    payload: &Payload,
) -> Vec<Arc<Hook>> {
    let mut hooks = candidates(table, accounts, candidate);
    hooks.retain(|hook| wants(hook, candidate, payload));
    hooks
}

/// The hooks that may want a firing, which [`wants`] says: the account's own first, then those of its ancestors that
/// include sub-accounts, in the order of the tree. An unknown account fires nothing, not even its own hooks
/// (`webhooks_util:find_webhooks/2`).
///
/// Departure: a disabled hook never matches. The original forgets to look when a hook is created disabled.
pub fn candidates(table: &HookTable, accounts: &Accounts, candidate: &HookCandidate<'_>) -> Vec<Arc<Hook>> {
    let Some(account) = accounts.get(candidate.account) else {
        return Vec::new();
    };
    let event = lower(candidate.hook_event);
    let mut hooks = table.own(&account.id, &event);
    for ancestor in account.ancestors() {
        let inherited = table.own(ancestor, &event).into_iter();
        hooks.extend(inherited.filter(|hook| hook.include_subaccounts));
    }
    hooks
}

/// Whether one hook, already known to be of the right account and event, wants the firing.
pub fn wants(hook: &Hook, candidate: &HookCandidate<'_>, payload: &Payload) -> bool {
    hook.enabled
        && (hook.include_internal_legs || !candidate.internal_leg)
        && passes_filters(hook, candidate.filters)
        && modifiers_match(hook.options.modifiers.as_deref(), payload)
}

fn passes_filters(hook: &Hook, filters: &[PayloadFilter]) -> bool {
    let Some(custom_data) = &hook.options.custom_data else {
        return true;
    };
    hook.event == HookEvent::All
        || filters.iter().all(|filter| {
            let wanted = custom_data.get(&filter.key).and_then(|raw| serde_json::from_str::<Value>(raw).ok());
            let wanted = wanted.as_ref().and_then(text).filter(|text| !text.is_empty());
            match (wanted, &filter.value) {
                (Some(wanted), Some(value)) => wanted == "all" || wanted == value.as_str(),
                (Some(wanted), None) => wanted == "all",
                (None, value) => value.is_none(),
            }
        })
}

/// Whether the module's payload, before anything is merged into it, is as the modifiers say: a list names
/// the values that pass (an empty one lets all pass), anything else must be equal; keys that the payload
/// lacks pass. Types are part of a value: `5` is neither `5.0` nor `"5"`.
pub fn modifiers_match(modifiers: Option<&CompactFields>, payload: &Payload) -> bool {
    let Some(modifiers) = modifiers else { return true };
    if modifiers.len() <= FEW_MODIFIERS {
        return modifiers
            .iter()
            .all(|(key, wanted)| payload.get(key).is_none_or(|raw| value_matches(wanted, raw)));
    }
    // One look at each field, where a search for each modifier would cost the product of both.
    let mut seen = HashSet::new();
    payload.fields().all(|(key, raw)| match modifiers.get(key) {
        // Of a repeated field the first counts.
        Some(wanted) => !seen.insert(key) || value_matches(wanted, raw),
        None => true,
    })
}

/// Up to so many modifiers are searched for in the payload one by one.
const FEW_MODIFIERS: usize = 8;

fn value_matches(wanted: &str, raw: &str) -> bool {
    let read = |text| serde_json::from_str::<Value>(text);
    let (Ok(wanted), Ok(value)) = (read(wanted), read(raw)) else {
        return false;
    };
    match wanted {
        Value::Array(list) => list.is_empty() || list.iter().any(|wanted| same(wanted, &value)),
        wanted => same(&wanted, &value),
    }
}

/// Equality of Erlang terms: the order of an object's keys counts, which `Value` would not look at.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, v), (l, w))| k == l && same(v, w))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(v, w)| same(v, w)),
        (a, b) => a == b,
    }
}

fn lower(event: &str) -> Cow<'_, str> {
    if event.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(event.to_ascii_lowercase())
    } else {
        Cow::Borrowed(event)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::hooks::accounts::AccountRecord;

    fn hook(event: &str, custom_data: Value) -> Hook {
        let document = json!({
            "_id": "h", "pvt_account_id": "a", "uri": "http://x/", "hook": event, "custom_data": custom_data
        });
        Hook::from_document(document.as_object().unwrap()).unwrap()
    }

    #[track_caller]
    fn check(event: &str, custom_data: Value, said: [Option<&str>; 2], expected: bool) {
        let filters = ["action", "type"]
            .iter()
            .zip(said)
            .map(|(key, value)| PayloadFilter { key: (*key).to_owned(), value: value.map(str::to_owned) });
        let filters: Vec<_> = filters.collect();
        let account = AccountId::from("a");
        let candidate =
            HookCandidate { hook_event: "object", account: &account, internal_leg: false, filters: &filters };
        let payload = Payload::parse(Bytes::from_static(b"{}")).unwrap();
        assert_eq!(wants(&hook(event, custom_data), &candidate, &payload), expected);
    }

    #[test]
    fn custom_data_filters_by_type_and_action() {
        let edited = [Some("doc_edited"), Some("user")];
        check("object", json!(null), edited, true);
        check("object", json!({}), edited, false);
        check("object", json!({"foo": "bar"}), edited, false);
        check("object", json!({"action": "all", "type": "user"}), edited, true);
        check("object", json!({"action": "all", "type": "device"}), edited, false);
        check("object", json!({"action": "doc_edited"}), edited, false);
        check("object", json!({"action": "DOC_EDITED", "type": "user"}), edited, false);
        check("object", json!({"action": "", "type": ""}), edited, false);
        check("object", json!({"action": "all", "type": ["us", "er"]}), edited, true);
        check("object", json!({"action": "all", "type": 5}), [Some("x"), Some("5")], true);
        check("all", json!({"action": "x", "type": "y"}), edited, true);
    }

    #[test]
    fn an_event_without_a_type_passes_hooks_that_ask_for_none_or_all() {
        let untyped = [Some("doc_edited"), None];
        check("object", json!({"action": "doc_edited"}), untyped, true);
        check("object", json!({"action": "doc_edited", "type": "all"}), untyped, true);
        check("object", json!({"action": "doc_edited", "type": "user"}), untyped, false);
        check("object", json!({}), [None, None], true);
    }

    #[test]
    fn a_disabled_hook_matches_nothing() {
        let (table, accounts, account) = (HookTable::new(), Accounts::new(), AccountId::from("a"));
        let known = json!({"_id": "a"});
        accounts.put(AccountRecord::from_document(known.as_object().unwrap()).unwrap());
        let payload = Payload::parse(Bytes::from_static(b"{}")).unwrap();
        let candidate =
            HookCandidate { hook_event: "object", account: &account, internal_leg: false, filters: &[] };
        table.put(hook("object", json!(null)));
        assert_eq!(matching(&table, &accounts, &candidate, &payload).len(), 1);
        table.put(Hook { enabled: false, ..hook("object", json!(null)) });
        assert!(matching(&table, &accounts, &candidate, &payload).is_empty());
    }
}
