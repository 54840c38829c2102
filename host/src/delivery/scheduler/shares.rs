//! How much of something limited one account may take. Pure.
//!
//! Nobody has a fixed part: whoever comes alone may take most of it. But the more of it somebody has, the more must be
//! left free before they get more, so that with any number of greedy users there is something left for one that comes
//! new (dynamic thresholds, as in switches that share a buffer among their ports: Choudhury and Hahne, 1998).

/// Weights are counted in eighths.
const WHOLE: usize = 8;

/// How much of what is free a user at the top of the tree may have; each level below has half of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShareWeight {
    /// Of what is kept for long: memory, and requests that may hang. Alone: two thirds.
    Kept,
    /// Of what is given back soon: requests to prompt endpoints. Alone: nearly all.
    Brief,
}

impl ShareWeight {
    fn at(self, level: usize) -> usize {
        let top = match self {
            ShareWeight::Kept => 2 * WHOLE,
            ShareWeight::Brief => 16 * WHOLE,
        };
        top >> level.min(4)
    }
}

/// Whether one that has `used` may take more, where `free` is left for all. Levels count from 0 at the top of the tree.
/// Who has nothing always may, as long as anything is left.
#[must_use]
pub(super) fn may_take(weight: ShareWeight, level: usize, used: usize, free: usize) -> bool {
    match (used, weight) {
        (0, _) => free > 0,
        // The last one is for somebody who has nothing.
        (_, ShareWeight::Kept) if free < 2 => false,
        (used, _) => used.saturating_mul(WHOLE) < free.saturating_mul(weight.at(level)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many users at a level take in turns as much as they can.
    fn taken(weight: ShareWeight, level: usize, users: usize, limit: usize) -> (Vec<usize>, usize) {
        let mut used = vec![0; users];
        loop {
            let before = used.iter().sum::<usize>();
            for user in 0..users {
                let free = limit - used.iter().sum::<usize>();
                if may_take(weight, level, used[user], free) {
                    used[user] += 1;
                }
            }
            if used.iter().sum::<usize>() == before {
                return (used, limit - before);
            }
        }
    }

    #[test]
    fn the_greedy_get_the_same_and_something_is_left_for_one_more() {
        use ShareWeight::{Brief, Kept};
        for (weight, level, users, limit, each, left) in [
            (Kept, 0, 1, 192, 128, 64),
            (Kept, 1, 1, 192, 96, 96),
            (Kept, 2, 1, 192, 64, 128),
            (Kept, 0, 2, 192, 77, 38),
            (Kept, 0, 10, 10_000, 953, 470),
            (Brief, 0, 1, 256, 241, 15),
            (Brief, 1, 1, 8, 8, 0),
            (Kept, 0, 1, 1, 1, 0),
        ] {
            let (used, free) = taken(weight, level, users, limit);
            assert!(used.iter().all(|used| used.abs_diff(each) <= 1), "{weight:?} {level} {users}: {used:?}");
            assert!(free.abs_diff(left) <= users, "{weight:?} {level} {users}: {free} are free");
        }
    }

    #[test]
    fn any_number_of_greedy_ones_leaves_a_place_to_a_new_one() {
        for users in [1, 2, 3, 50, 100, 191] {
            let (_, free) = taken(ShareWeight::Kept, 0, users, 192);
            assert!(may_take(ShareWeight::Kept, 0, 0, free), "{users}");
        }
    }

    #[test]
    fn where_nothing_is_left_nobody_gets_more() {
        assert!(!may_take(ShareWeight::Brief, 0, 0, 0));
        assert!(!may_take(ShareWeight::Brief, 0, 1, 0));
    }
}
