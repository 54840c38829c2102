//! Which deliveries a batch of acknowledgements may cover. Pure.
//!
//! One acknowledgement "up to this tag" costs the broker and the client as much as one for a single message,
//! but covers every delivery before it, answered or not. So it may only go as far as all have been accepted.

use std::collections::VecDeque;

/// The deliveries of one channel that the broker still waits to hear of, in the order of their tags.
#[derive(Debug, Default)]
pub(super) struct AckTracker {
    /// Tag of the first entry in `window`.
    first: u64,
    /// Everything from the first delivery that is not accepted on.
    window: VecDeque<AckState>,
    /// The last accepted tag before the window; everything before it that counts is accepted, too.
    up_to: Option<u64>,
    /// How many accepted deliveries `up_to` covers.
    covered: usize,
    /// How many accepted deliveries wait in the window behind one that is not.
    stragglers: usize,
    /// How many deliveries have not been answered.
    unanswered: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AckState {
    /// Not answered.
    Open,
    /// Answered, and nothing said to the broker yet: no acknowledgement may cover it.
    Kept,
    /// To be acknowledged.
    Accepted,
    /// The broker has been told.
    Settled,
}

impl AckTracker {
    /// A message arrived. Tags of a channel count up from 1 without gaps.
    pub(super) fn delivered(&mut self, tag: u64) {
        if self.window.is_empty() {
            self.first = tag;
        }
        // A gap cannot be; should it be, nothing is known of what is missing and nothing may cover it.
        while self.first + (self.window.len() as u64) < tag {
            self.window.push_back(AckState::Kept);
        }
        self.window.push_back(AckState::Open);
        self.unanswered += 1;
    }

    /// The message is durable. `false` for a tag that was answered before or never delivered.
    pub(super) fn accept(&mut self, tag: u64) -> bool {
        if !self.answer(tag, AckState::Accepted) {
            return false;
        }
        self.stragglers += 1;
        self.advance();
        true
    }

    /// The message is answered but stays with us for now; nothing is acknowledged past it.
    pub(super) fn keep(&mut self, tag: u64) -> bool {
        self.answer(tag, AckState::Kept)
    }

    /// The broker has been told of an open or kept message by itself.
    pub(super) fn settled(&mut self, tag: u64) {
        let Some(state) = self.state(tag) else { return };
        let before = std::mem::replace(state, AckState::Settled);
        if before == AckState::Open {
            self.unanswered -= 1;
        }
        self.advance();
    }

    /// How many acceptances one acknowledgement would cover now.
    pub(super) fn covered(&self) -> usize {
        self.covered
    }

    /// How many acceptances wait behind a delivery that is not accepted.
    pub(super) fn stragglers(&self) -> usize {
        self.stragglers
    }

    /// How many deliveries wait for their answer.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// The tag to acknowledge everything up to, if there is something to acknowledge.
    pub(super) fn take_up_to(&mut self) -> Option<u64> {
        self.covered = 0;
        self.up_to.take()
    }

    /// The accepted deliveries that no acknowledgement of many can cover, each to be acknowledged by itself.
    pub(super) fn take_stragglers(&mut self) -> Vec<u64> {
        self.stragglers = 0;
        let tags = self.first..;
        let accepted = tags.zip(&mut self.window).filter(|(_, state)| **state == AckState::Accepted);
        accepted
            .map(|(tag, state)| {
                *state = AckState::Settled;
                tag
            })
            .collect()
    }

    fn answer(&mut self, tag: u64, answer: AckState) -> bool {
        match self.state(tag) {
            Some(state @ AckState::Open) => {
                *state = answer;
                self.unanswered -= 1;
                true
            }
            _ => false,
        }
    }

    fn state(&mut self, tag: u64) -> Option<&mut AckState> {
        let index = usize::try_from(tag.checked_sub(self.first)?).ok()?;
        self.window.get_mut(index)
    }

    /// Moves everything that is decided from the front of the window to what one acknowledgement covers.
    fn advance(&mut self) {
        while let Some(AckState::Accepted | AckState::Settled) = self.window.front() {
            if self.window.pop_front() == Some(AckState::Accepted) {
                self.up_to = Some(self.first);
                self.covered += 1;
                self.stragglers -= 1;
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn delivered(count: u64) -> AckTracker {
        let mut acks = AckTracker::default();
        (1..=count).for_each(|tag| acks.delivered(tag));
        acks
    }

    #[track_caller]
    fn check(acks: &mut AckTracker, up_to: Option<u64>, stragglers: &[u64]) {
        assert_eq!(acks.take_up_to(), up_to);
        assert_eq!(acks.take_stragglers(), stragglers);
    }

    #[test]
    fn one_acknowledgement_covers_an_unbroken_row() {
        let mut acks = delivered(4);
        (1..=3).for_each(|tag| assert!(acks.accept(tag)));
        assert_eq!((acks.covered(), acks.stragglers(), acks.unanswered()), (3, 0, 1));
        check(&mut acks, Some(3), &[]);
        check(&mut acks, None, &[]);
    }

    #[test]
    fn it_stops_before_the_first_that_is_open() {
        let mut acks = delivered(4);
        assert_eq!([1, 3, 4].map(|tag| acks.accept(tag)), [true; 3]);
        assert_eq!((acks.covered(), acks.stragglers()), (1, 2));
        check(&mut acks, Some(1), &[3, 4]);
        acks.accept(2);
        check(&mut acks, Some(2), &[]);
    }

    #[test]
    fn order_of_answers_does_not_matter() {
        let mut acks = delivered(3);
        assert_eq!([3, 2, 1].map(|tag| acks.accept(tag)), [true; 3]);
        check(&mut acks, Some(3), &[]);
    }

    #[test]
    fn what_was_rejected_is_passed_over_and_never_named() {
        let mut acks = delivered(3);
        acks.settled(3);
        acks.settled(1);
        assert_eq!(acks.take_up_to(), None);
        acks.accept(2);
        check(&mut acks, Some(2), &[]);
    }

    #[test]
    fn what_is_kept_is_never_covered() {
        let mut acks = delivered(3);
        acks.keep(1);
        acks.accept(2);
        assert_eq!((acks.covered(), acks.unanswered()), (0, 1));
        acks.settled(1);
        check(&mut acks, Some(2), &[]);
    }

    #[test]
    fn a_second_answer_changes_nothing() {
        let mut acks = delivered(2);
        assert!(acks.keep(1));
        assert!(!acks.accept(1));
        assert!(acks.accept(2));
        assert!(!acks.accept(2));
        assert!(!acks.accept(9));
        check(&mut acks, None, &[2]);
        assert_eq!(acks.unanswered(), 0);
    }

    proptest! {
        #[test]
        fn only_what_was_accepted_is_acknowledged_and_all_of_it(
            steps in prop::collection::vec((0_u8..6, 1_u64..40), 1..200)
        ) {
            let mut acks = AckTracker::default();
            let (mut last, mut open, mut kept) = (0, BTreeSet::new(), BTreeSet::new());
            let (mut accepted, mut unacked) = (BTreeSet::new(), BTreeSet::new());
            for (what, pick) in steps {
                let tag = pick.min(last);
                match what {
                    0 => {
                        last += 1;
                        acks.delivered(last);
                        open.insert(last);
                        unacked.insert(last);
                    }
                    1 => {
                        prop_assert_eq!(acks.accept(tag), open.contains(&tag));
                        if open.remove(&tag) {
                            accepted.insert(tag);
                        }
                    }
                    2 => {
                        prop_assert_eq!(acks.keep(tag), open.contains(&tag));
                        if open.remove(&tag) {
                            kept.insert(tag);
                        }
                    }
                    3 if open.contains(&tag) || kept.contains(&tag) => {
                        acks.settled(tag);
                        open.remove(&tag);
                        kept.remove(&tag);
                        unacked.remove(&tag);
                    }
                    4 => {
                        if let Some(up_to) = acks.take_up_to() {
                            prop_assert!(unacked.contains(&up_to), "the broker does not know {}", up_to);
                            for tag in unacked.range(..=up_to) {
                                prop_assert!(accepted.contains(tag), "{} was not accepted", tag);
                            }
                            unacked.retain(|tag| *tag > up_to);
                        }
                    }
                    5 => {
                        for tag in acks.take_stragglers() {
                            prop_assert!(accepted.contains(&tag) && unacked.remove(&tag), "{}", tag);
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(acks.unanswered(), open.len());
            }
            if let Some(up_to) = acks.take_up_to() {
                unacked.retain(|tag| *tag > up_to);
            }
            for tag in acks.take_stragglers() {
                unacked.remove(&tag);
            }
            let left: BTreeSet<u64> = open.union(&kept).copied().collect();
            prop_assert_eq!(unacked, left);
        }
    }
}
