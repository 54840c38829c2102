//! Which deliveries wait for an earlier one: those of one key of a hook that wants its events in order. Pure.

use std::collections::BTreeSet;

use foldhash::HashMap;
use rustc_hash::FxHashMap;

use crate::model::HookId;

/// The lines in which deliveries stand, one for each key of a hook. Only the first of a line is sent; it stays the first
/// through all its tries.
#[derive(Debug, Default)]
pub(super) struct CallLines {
    lines: HashMap<LineKey, StandingLine>,
    firsts: FxHashMap<i64, LineKey>,
    waiting: usize,
}

type LineKey = (HookId, String);

#[derive(Debug)]
struct StandingLine {
    first: i64,
    /// By id, which is the order in which they were accepted.
    others: BTreeSet<i64>,
}

impl CallLines {
    /// A delivery is due. Says whether it is the first of its line; otherwise it waits until it is.
    pub(super) fn enter(&mut self, hook: &HookId, key: String, id: i64) -> bool {
        let line = (hook.clone(), key);
        match self.lines.get_mut(&line) {
            None => {
                self.firsts.insert(id, line.clone());
                self.lines.insert(line, StandingLine { first: id, others: BTreeSet::new() });
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
    pub(super) fn leave(&mut self, id: i64) -> Option<i64> {
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

    /// Whether a delivery is the first of a line.
    pub(super) fn holds(&self, id: i64) -> bool {
        self.firsts.contains_key(&id)
    }

    /// How many wait for another.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.firsts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_of_a_line_goes_and_each_line_on_its_own() {
        let (one, other) = (HookId::from("h1"), HookId::from("h2"));
        let mut lines = CallLines::default();
        let enter =
            |lines: &mut CallLines, hook: &HookId, key: &str, id| lines.enter(hook, key.to_owned(), id);
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
}
