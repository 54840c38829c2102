//! How many requests to an endpoint ended well, and whether too many did not.

/// How requests ended since the limit of their endpoint was changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CountedEnds {
    all: usize,
    failed: usize,
    /// The same, where what is longer ago counts ever less.
    lately: usize,
    failed_lately: usize,
    /// Answered since the last that failed.
    in_a_row: usize,
}

impl CountedEnds {
    /// One has ended, where so many may be under way.
    pub(super) fn add(&mut self, failed: bool, limit: usize) {
        if self.lately >= (2 * limit).max(32) {
            (self.lately, self.failed_lately) = (self.lately / 2, self.failed_lately / 2);
        }
        self.all += 1;
        self.lately += 1;
        self.failed += usize::from(failed);
        self.failed_lately += usize::from(failed);
        self.in_a_row = if failed { 0 } else { self.in_a_row + 1 };
    }

    /// Whether as many as may be under way were answered, and none failed since.
    pub(super) fn is_well(self, limit: usize) -> bool {
        self.failed_lately == 0 || self.in_a_row >= limit
    }

    /// One in five.
    pub(super) fn many_fail(self) -> bool {
        self.failed_lately >= 3 && self.failed_lately * 5 >= self.lately
    }

    /// Nearly nothing else happens.
    pub(super) fn most_fail(self) -> bool {
        self.failed_lately >= 8 && self.failed_lately * 2 > self.lately
    }

    /// More than one in 150, which is less than one in a hundred with all that is tried beside.
    pub(super) fn too_many_fail(self) -> bool {
        self.failed >= 4 && self.failed * 150 > self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each `every` ends one is a failure, `failures` times: whether many, most, and too many fail.
    fn judged(every: usize, failures: usize) -> [bool; 3] {
        let mut ends = CountedEnds::default();
        (1..=every * failures).for_each(|n| ends.add(n.is_multiple_of(every), 20));
        [ends.many_fail(), ends.most_fail(), ends.too_many_fail()]
    }

    #[test]
    fn few_ends_say_little_and_many_say_how_many_fail() {
        for (every, failures, expected) in [
            (1, 2, [false, false, false]),
            (1, 3, [true, false, false]),
            (1, 8, [true, true, true]),
            (2, 50, [true, false, true]),
            (4, 3, [true, false, false]),
            (10, 50, [false, false, true]),
            (149, 4, [false, false, true]),
            (151, 4, [false, false, false]),
            (1_000, 9, [false, false, false]),
        ] {
            assert_eq!(judged(every, failures), expected, "{failures} times one in {every}");
        }
    }

    #[test]
    fn it_is_well_again_when_as_many_as_may_be_under_way_were_answered() {
        let mut ends = CountedEnds::default();
        assert!(ends.is_well(5));
        ends.add(true, 5);
        for answered in 1..=5 {
            assert!(!ends.is_well(5));
            ends.add(false, 5);
            assert_eq!(ends.is_well(5), answered == 5);
        }
    }
}
