//! How many failed tries of a hook count. Pure: times are passed in, as Unix milliseconds.

use std::collections::BTreeMap;

use foldhash::HashMap;

use crate::model::{AccountId, HookId};
use crate::store::HookFailure;

/// Failed tries by account and hook.
#[derive(Debug, Default)]
pub struct FailureCounts {
    hooks: HashMap<(AccountId, HookId), FailureTimes>,
}

/// How many in which millisecond.
type FailureTimes = BTreeMap<i64, u32>;

/// Failures of one hook that count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailureCount {
    /// The hook's account.
    pub account: AccountId,
    /// The hook.
    pub hook: HookId,
    /// How many; never 0.
    pub count: usize,
}

impl FailureCounts {
    /// Tries failed. Says how many have in that millisecond.
    pub fn note(&mut self, account: &AccountId, hook: &HookId, at_ms: i64, times: u32) -> u32 {
        let known = self.hooks.entry((account.clone(), hook.clone())).or_default().entry(at_ms).or_default();
        *known = known.saturating_add(times);
        *known
    }

    /// A try failed, and is one with those of the same millisecond, as in the original. Says whether there were none.
    pub fn note_once(&mut self, account: &AccountId, hook: &HookId, at_ms: i64) -> bool {
        self.hooks.entry((account.clone(), hook.clone())).or_default().insert(at_ms, 1).is_none()
    }

    /// How many of a hook's count: those that are younger than `expiry_ms`, ones of the future too.
    #[must_use]
    pub fn count(&self, account: &AccountId, hook: &HookId, now_ms: i64, expiry_ms: i64) -> usize {
        let times = self.hooks.get(&(account.clone(), hook.clone()));
        times.map_or(0, |times| within(times, now_ms, expiry_ms))
    }

    /// All hooks with failures that count, sorted by account and hook. `expiry_ms` says how long one of an account's
    /// does.
    pub fn counts(&self, now_ms: i64, expiry_ms: impl Fn(&AccountId) -> i64) -> Vec<FailureCount> {
        let mut counts: Vec<FailureCount> = self
            .hooks
            .iter()
            .map(|((account, hook), times)| FailureCount {
                account: account.clone(),
                hook: hook.clone(),
                count: within(times, now_ms, expiry_ms(account)),
            })
            .filter(|count| count.count > 0)
            .collect();
        counts.sort();
        counts
    }

    /// Forgets those of one hook, counting or not; says how many they were.
    pub fn flush_hook(&mut self, account: &AccountId, hook: &HookId) -> usize {
        self.hooks.remove(&(account.clone(), hook.clone())).map_or(0, |times| sum(times.values()))
    }

    /// Forgets those from before a time; says of which hooks there were any.
    pub fn expire(&mut self, before_ms: impl Fn(&AccountId) -> i64) -> Vec<(AccountId, HookId, i64)> {
        let mut expired = Vec::new();
        self.hooks.retain(|(account, hook), times| {
            let before = before_ms(account);
            if times.first_key_value().is_some_and(|(first, _)| *first < before) {
                *times = times.split_off(&before);
                expired.push((account.clone(), hook.clone(), before));
            }
            !times.is_empty()
        });
        expired
    }

    /// Whose failures are known, counting or not.
    pub fn hooks(&self) -> impl Iterator<Item = (&AccountId, &HookId)> {
        self.hooks.keys().map(|(account, hook)| (account, hook))
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }
}

/// How far failures of hooks lie ahead of now, in milliseconds: they are of a clock that was set back since, and would
/// count for as long as it had been wrong. Those of a hook keep their distances.
#[must_use]
pub fn ahead(failures: &[HookFailure], now_ms: i64) -> HashMap<HookId, i64> {
    let mut ahead = HashMap::default();
    for failure in failures.iter().filter(|failure| failure.at_ms > now_ms) {
        let by_ms = failure.at_ms.saturating_sub(now_ms);
        let known = ahead.entry(failure.hook.clone()).or_insert(by_ms);
        *known = by_ms.max(*known);
    }
    ahead
}

fn within(times: &FailureTimes, now_ms: i64, expiry_ms: i64) -> usize {
    let oldest = now_ms.saturating_sub(expiry_ms).saturating_add(1);
    sum(times.range(oldest..).map(|(_, times)| times))
}

fn sum<'a>(times: impl Iterator<Item = &'a u32>) -> usize {
    times.map(|times| *times as usize).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_a_clock_that_was_set_back_lie_in_the_past_again() {
        let failure =
            |hook: &str, at_ms| HookFailure { account: "a".into(), hook: hook.into(), at_ms, times: 1 };
        let failures = [failure("h", 5_000), failure("h", 8_000), failure("i", 900), failure("i", 1_000)];
        let found = ahead(&failures, 1_000);
        assert_eq!(found.get("h"), Some(&7_000));
        assert_eq!(found.get("i"), None);
    }

    #[test]
    fn what_is_older_than_a_time_is_forgotten() {
        let (account, hook) = (AccountId::from("a"), HookId::from("h"));
        let mut failures = FailureCounts::default();
        for at_ms in [10, 20, 30] {
            failures.note(&account, &hook, at_ms, 1);
        }
        failures.note(&"b".into(), &hook, 10, 1);

        let expired = failures.expire(|_| 20);

        assert_eq!(expired.len(), 2);
        assert_eq!(failures.counts(30, |_| 100), [FailureCount { account, hook, count: 2 }]);
        assert!(failures.expire(|_| 20).is_empty());
    }

    #[test]
    fn those_of_one_millisecond_are_one_for_the_original_and_each_counts_for_us() {
        let (account, hook) = (AccountId::from("a"), HookId::from("h"));
        let mut failures = FailureCounts::default();
        assert!(failures.note_once(&account, &hook, 10));
        assert!(!failures.note_once(&account, &hook, 10));
        assert_eq!(failures.count(&account, &hook, 10, 100), 1);
        assert_eq!(failures.note(&account, &hook, 10, 1), 2);
        assert_eq!(failures.note(&account, &hook, 11, 2), 2);
        assert_eq!(failures.count(&account, &hook, 11, 100), 4);
        assert_eq!(failures.flush_hook(&account, &hook), 4);
    }
}
