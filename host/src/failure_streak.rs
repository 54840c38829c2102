//! What is said of work that fails and is tried again and again: the first failure of a row, and no other.

/// Failures since the last success. Whoever repeats its work keeps one.
#[derive(Debug, Default)]
pub struct FailureStreak {
    failing: bool,
}

impl FailureStreak {
    /// Notes a failure; true where it is the first of its row, so that it is worth a line in the log.
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.failing, true)
    }

    /// Notes a success.
    pub fn ended(&mut self) {
        self.failing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_after_a_success_is_told() {
        let mut failures = FailureStreak::default();
        assert_eq!([failures.begins(), failures.begins(), failures.begins()], [true, false, false]);
        failures.ended();
        assert_eq!([failures.begins(), failures.begins()], [true, false]);
    }
}
