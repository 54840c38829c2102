//! Which events are stored after the others that came with them, as they have very many deliveries.

use foldhash::HashSet;

/// Deliveries from which on those of a group are stored, before more are added: as many as one commit takes.
pub(super) const STORED_TOGETHER: usize = 256;

/// The calls of events with very many deliveries, which are stored after the others of their group.
#[derive(Default)]
pub(super) struct LargeCalls(HashSet<String>);

impl LargeCalls {
    /// Whether an event with so many deliveries is stored after the others: it is large, or follows one in its call.
    pub(super) fn keeps_behind(&mut self, call: Option<&str>, deliveries: usize) -> bool {
        let behind = deliveries > STORED_TOGETHER || call.is_some_and(|call| self.has(call));
        if behind {
            self.0.extend(call.map(str::to_owned));
        }
        behind
    }

    pub(super) fn has(&self, call: &str) -> bool {
        self.0.contains(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_events_go_behind_the_others_and_what_follows_them_in_their_call_stays_there() {
        let mut calls = LargeCalls::default();
        for (call, deliveries, behind) in [
            (Some("a"), 3, false),
            (Some("a"), STORED_TOGETHER, false),
            (Some("a"), STORED_TOGETHER + 1, true),
            (Some("a"), 1, true),
            (Some("b"), 1, false),
            (None, 10_000, true),
            (None, 1, false),
        ] {
            assert_eq!(calls.keeps_behind(call, deliveries), behind, "{call:?} {deliveries}");
        }
    }
}
