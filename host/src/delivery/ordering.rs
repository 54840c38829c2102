//! Which deliveries wait for an earlier one: those of one key of a hook that wants its events in order. Pure.

use std::collections::BTreeSet;

use foldhash::HashMap;
use rustc_hash::FxHashMap;

use crate::model::payload::Payload;
use crate::model::{Hook, HookId, Ordering};

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

/// The lines in which deliveries stand, one for each key of a hook. Only the first of a line is sent.
#[derive(Debug, Default)]
pub struct CallOrder {
    lines: HashMap<CallLine, CallStanding>,
    firsts: FxHashMap<i64, CallLine>,
    waiting: usize,
}

type CallLine = (HookId, String);

#[derive(Debug)]
struct CallStanding {
    first: i64,
    /// By id, which is the order in which they were accepted.
    others: BTreeSet<i64>,
}

impl CallOrder {
    /// A delivery is due. Says whether it is the first of its line; otherwise it waits until it is.
    pub fn enter(&mut self, hook: &HookId, key: String, id: i64) -> bool {
        let line = (hook.clone(), key);
        match self.lines.get_mut(&line) {
            None => {
                self.firsts.insert(id, line.clone());
                self.lines.insert(line, CallStanding { first: id, others: BTreeSet::new() });
                true
            }
            Some(standing) if standing.first == id => true,
            Some(standing) => {
                self.waiting += usize::from(standing.others.insert(id));
                false
            }
        }
    }

    /// A delivery has come to its end, whichever. Answers the next one of its line.
    pub fn leave(&mut self, id: i64) -> Option<i64> {
        let line = self.firsts.remove(&id)?;
        let standing = self.lines.get_mut(&line)?;
        let Some(next) = standing.others.pop_first() else {
            self.lines.remove(&line);
            return None;
        };
        standing.first = next;
        self.waiting -= 1;
        self.firsts.insert(next, line);
        Some(next)
    }

    /// How many wait for another.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether there are no lines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_first_of_a_line_goes_and_each_line_on_its_own() {
        let (one, other) = (HookId::from("h1"), HookId::from("h2"));
        let mut lines = CallOrder::default();
        let enter =
            |lines: &mut CallOrder, hook: &HookId, key: &str, id| lines.enter(hook, key.to_owned(), id);
        assert!(enter(&mut lines, &one, "a", 1));
        assert!(!enter(&mut lines, &one, "a", 3));
        assert!(!enter(&mut lines, &one, "a", 2));
        assert!(!enter(&mut lines, &one, "a", 2));
        assert!(enter(&mut lines, &one, "b", 4));
        assert!(enter(&mut lines, &other, "a", 5));
        assert_eq!(lines.waiting(), 2);

        assert!(enter(&mut lines, &one, "a", 1), "it is due again");
        assert_eq!(lines.leave(4), None);
        assert_eq!(lines.leave(2), None, "it is not the first");
        assert_eq!(lines.leave(1), Some(2));
        assert!(enter(&mut lines, &one, "a", 2));
        assert_eq!((lines.leave(2), lines.leave(3), lines.leave(5)), (Some(3), None, None));
        assert!(lines.is_empty());
        assert_eq!(lines.waiting(), 0);
    }

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
