//! Whether a firing may be for its account: an event that names its account fires for that one, or for those above
//! it, whose hooks may ask for its events anyway. A module that mixes accounts up does not show one customer's calls
//! to another.

use plugin_api::lend::CallError;

use super::jobs::{CallFailure, JobAnswer};
use super::{Firing, HookTarget};
use crate::event::Event;
use crate::hooks::accounts::Accounts;
use crate::model::AccountId;

/// The answer, where every firing of it may be; else a failure that names the two accounts.
pub(super) fn check_firings(event: &Event, answer: JobAnswer, accounts: &Accounts) -> JobAnswer {
    let firings = answer?;
    match firings.iter().find_map(|firing| foreign(event, firing, accounts)) {
        None => Ok(firings),
        Some(text) => Err(CallFailure::Failed(CallError::Protocol(text))),
    }
}

fn foreign(event: &Event, firing: &Firing, accounts: &Accounts) -> Option<String> {
    let HookTarget::Hooks { account, .. } = &firing.target else { return None };
    let mut first = None;
    for own in event.accounts() {
        if own == account.as_str() || is_above(account, own, accounts) {
            return None;
        }
        first.get_or_insert(own);
    }
    first.map(|first| format!("fired for the account {:?}; the event is of {first:?}", account.as_str()))
}

fn is_above(account: &AccountId, own: &str, accounts: &Accounts) -> bool {
    accounts
        .get(&AccountId::from(own))
        .is_some_and(|own| own.lineage.contains(account) || own.reseller.as_ref() == Some(account))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::accounts::AccountRecord;
    use crate::model::payload::Payload;
    use bytes::Bytes;
    use serde_json::{Value, json};

    fn tree() -> Accounts {
        let accounts = Accounts::new();
        for document in [
            json!({"_id": "top", "pvt_tree": []}),
            json!({"_id": "reseller", "pvt_tree": ["top"]}),
            json!({"_id": "own", "pvt_tree": ["top"], "pvt_reseller_id": "reseller"}),
            json!({"_id": "below", "pvt_tree": ["top", "own"]}),
        ] {
            let Value::Object(document) = document else { unreachable!() };
            accounts.put(AccountRecord::from_document(&document).unwrap());
        }
        accounts
    }

    #[track_caller]
    fn check(event: Value, fired_for: &str, fine: bool) {
        let mut event = event;
        event["Event-Category"] = "c".into();
        event["Event-Name"] = "n".into();
        let event = Event::parse(event.to_string().into()).unwrap();
        let target = HookTarget::Hooks {
            event: "x".to_owned(),
            account: AccountId::from(fired_for),
            internal_leg: false,
            filters: Vec::new(),
        };
        let payload = Payload::parse(Bytes::from_static(b"{}")).unwrap();
        let answer = check_firings(&event, Ok(vec![Firing { target, payload }]), &tree());
        assert_eq!(answer.is_ok(), fine, "{answer:?}");
    }

    #[test]
    fn an_event_fires_for_its_own_account_and_those_above() {
        for event in [json!({"Account-ID": "own"}), json!({"Custom-Channel-Vars": {"Account-ID": "own"}})] {
            check(event.clone(), "own", true);
            check(event.clone(), "top", true);
            check(event.clone(), "reseller", true);
            check(event.clone(), "below", false);
            check(event.clone(), "other", false);
            check(event, "", false);
        }
    }

    #[test]
    fn an_event_that_names_two_accounts_fires_for_either() {
        let event = json!({"Account-ID": "a", "Custom-Channel-Vars": {"Account-ID": "b"}});
        check(event.clone(), "a", true);
        check(event.clone(), "b", true);
        check(event, "c", false);
    }

    #[test]
    fn an_event_that_names_none_fires_for_any() {
        for event in
            [json!({}), json!({"Account-ID": ""}), json!({"Account-ID": null}), json!({"Account-ID": 7})]
        {
            check(event, "other", true);
        }
    }
}
