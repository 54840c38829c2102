//! Which limits apply to the hooks of an account: its own, its reseller's or the system's. Pure.

use serde_json::Value;

use crate::config;
use crate::model::Document;

/// How long a failure counts where nothing readable says so, in milliseconds.
const EXPIRY_MS: i64 = 60_000;

/// The names of what can be set, in an account's document and in the system's.
pub const KEYS: [&str; 5] = [EXPIRY, COUNT, PAUSE_FIRST, PAUSE_LONGEST, DISABLE_AFTER];

/// How long a failed try counts, in milliseconds.
pub const EXPIRY: &str = "attempt_failure_expiry_ms";
/// How many failed tries are too many.
pub const COUNT: &str = "attempt_failure_count";
/// The first pause in milliseconds, profile `standard`.
pub const PAUSE_FIRST: &str = "pause_first_ms";
/// The longest pause in milliseconds, profile `standard`.
pub const PAUSE_LONGEST: &str = "pause_longest_ms";
/// How long no try may have succeeded before a hook is switched off, in milliseconds, profile `standard`.
pub const DISABLE_AFTER: &str = "disable_after_ms";

/// What applies to the hooks of an account. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimits {
    /// How long a failed try counts.
    pub expiry_ms: i64,
    /// How many of them are too many.
    pub threshold: FailureThreshold,
    /// The first pause.
    pub pause_first_ms: i64,
    /// The longest pause.
    pub pause_longest_ms: i64,
    /// How long no try may have succeeded before a hook is switched off.
    pub disable_after_ms: i64,
}

/// How many failures are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureThreshold {
    /// This many.
    AtLeast(i64),
    /// One more than this many: so the original reads the system's number where an account's is none.
    MoreThan(i64),
}

impl FailureThreshold {
    /// Whether so many are too many.
    #[must_use]
    pub fn is_reached(self, count: usize) -> bool {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        match self {
            Self::AtLeast(least) => least <= count,
            Self::MoreThan(most) => most < count,
        }
    }
}

/// The limits of the settings, without what was set while the host ran.
impl From<&config::Disabler> for FailureLimits {
    fn from(settings: &config::Disabler) -> Self {
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        FailureLimits {
            expiry_ms: ms(settings.attempt_failure_expiry_ms),
            threshold: FailureThreshold::AtLeast(settings.attempt_failure_count.into()),
            pause_first_ms: ms(settings.pause_first_ms),
            pause_longest_ms: ms(settings.pause_longest_ms),
            disable_after_ms: ms(settings.disable_after_ms),
        }
    }
}

impl FailureLimits {
    /// The system's limits: what was set while the host ran goes over the settings. What is no number is passed over,
    /// where the original's check crashes.
    #[must_use]
    pub fn with_system(self, set: &Document) -> Self {
        let number = |key, otherwise| set.get(key).and_then(whole).unwrap_or(otherwise);
        FailureLimits {
            expiry_ms: number(EXPIRY, self.expiry_ms),
            threshold: set.get(COUNT).and_then(whole).map_or(self.threshold, FailureThreshold::AtLeast),
            pause_first_ms: number(PAUSE_FIRST, self.pause_first_ms),
            pause_longest_ms: number(PAUSE_LONGEST, self.pause_longest_ms),
            disable_after_ms: number(DISABLE_AFTER, self.disable_after_ms),
        }
    }

    /// An account's limits, from the system's. The account's document decides; without one its reseller's does, and a
    /// document that lacks a key leaves it to the system (`kapps_account_config:get_global`).
    ///
    /// As in the original, an expiry that is no number is a minute whatever the system says, and a count that is none
    /// leaves it to the system's, of which one more is needed.
    #[must_use]
    pub fn of_account(self, own: Option<&Document>, resellers: Option<&Document>) -> Self {
        let Some(set) = own.or(resellers) else { return self };
        let number = |key, otherwise| set.get(key).and_then(whole).unwrap_or(otherwise);
        FailureLimits {
            expiry_ms: set.get(EXPIRY).map_or(self.expiry_ms, |value| whole(value).unwrap_or(EXPIRY_MS)),
            threshold: match (set.get(COUNT), self.threshold) {
                (None, threshold) => threshold,
                (Some(value), FailureThreshold::AtLeast(system) | FailureThreshold::MoreThan(system)) => {
                    whole(value).map_or(FailureThreshold::MoreThan(system), FailureThreshold::AtLeast)
                }
            },
            pause_first_ms: number(PAUSE_FIRST, self.pause_first_ms),
            pause_longest_ms: number(PAUSE_LONGEST, self.pause_longest_ms),
            disable_after_ms: number(DISABLE_AFTER, self.disable_after_ms),
        }
    }
}

/// A number, also as text; a fraction is rounded, half away from zero.
fn whole(value: &Value) -> Option<i64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then(|| number.round() as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SYSTEM: FailureLimits = FailureLimits {
        expiry_ms: 1000,
        threshold: FailureThreshold::AtLeast(6),
        pause_first_ms: 1,
        pause_longest_ms: 2,
        disable_after_ms: 3,
    };

    fn set(value: Value) -> Document {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn what_was_set_goes_over_the_settings_and_an_account_over_both() {
        let system = SYSTEM.with_system(&set(json!({EXPIRY: 500, PAUSE_FIRST: "7", COUNT: "x"})));
        assert_eq!(system, FailureLimits { expiry_ms: 500, pause_first_ms: 7, ..SYSTEM });

        let own = set(json!({COUNT: 2, DISABLE_AFTER: 9}));
        let limits = system.of_account(Some(&own), None);

        let threshold = FailureThreshold::AtLeast(2);
        assert_eq!(
            limits,
            FailureLimits { expiry_ms: 500, pause_first_ms: 7, threshold, disable_after_ms: 9, ..SYSTEM }
        );
    }

    #[test]
    fn an_account_without_a_document_has_its_resellers() {
        let (own, resellers) = (set(json!({COUNT: 2})), set(json!({COUNT: 3, EXPIRY: 4})));
        let limits = |own| SYSTEM.of_account(own, Some(&resellers));
        assert_eq!(
            limits(None),
            FailureLimits { threshold: FailureThreshold::AtLeast(3), expiry_ms: 4, ..SYSTEM }
        );
        assert_eq!(limits(Some(&own)), FailureLimits { threshold: FailureThreshold::AtLeast(2), ..SYSTEM });
    }
}
