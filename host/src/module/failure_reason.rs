//! Why a module failed on an event, in bounded parts that can be kept with the event and shown. Pure.

use plugin_api::lend::CallError;

use super::jobs::CallFailure;

/// Bytes of a message.
const LONGEST_MESSAGE: usize = 4096;

/// Bytes of a place.
const LONGEST_LINE: usize = 512;

/// Why a module failed on one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureReason {
    /// What happened, continuing a sentence that begins with the module's id: `panicked: no such door`. 4 KiB at most.
    pub message: String,
    /// Where it panicked, `file:line`; nothing for all else.
    pub place: Option<String>,
}

impl FailureReason {
    /// Why a call failed.
    #[must_use]
    pub fn of(failure: &CallFailure) -> Self {
        let message = match failure {
            CallFailure::Failed(CallError::Panicked(report)) => {
                format!("panicked: {}", clipped(&report.message, LONGEST_MESSAGE))
            }
            other => other.to_string(),
        };
        FailureReason {
            message: clipped(&message, LONGEST_MESSAGE).to_owned(),
            place: failure.place().map(|place| clipped(place, LONGEST_LINE).to_owned()),
        }
    }
}

fn clipped(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use plugin_api::lend::PanicReport;

    use super::*;

    fn panicked(message: &str, place: &str) -> CallFailure {
        let (message, place) = (message.to_owned(), place.to_owned());
        CallFailure::Failed(CallError::Panicked(PanicReport { message, place, addresses: Vec::new() }))
    }

    #[test]
    fn a_panic_has_a_place_and_all_else_has_none() {
        let check = |failure: CallFailure, message: &str, place: Option<&str>| {
            let reason = FailureReason::of(&failure);
            assert_eq!((reason.message.as_str(), reason.place.as_deref()), (message, place));
        };
        check(panicked("no door", "src/lib.rs:7"), "panicked: no door", Some("src/lib.rs:7"));
        check(panicked("no door", ""), "panicked: no door", None);
        check(CallFailure::Failed(CallError::Error("no door".to_owned())), "no door", None);
        check(
            CallFailure::TimedOut(std::time::Duration::from_millis(20)),
            "did not answer within 20 ms",
            None,
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "ä".repeat(10_000);

        let reason = FailureReason::of(&panicked(&long, &long));

        assert!(reason.message.len() <= LONGEST_MESSAGE);
        assert_eq!(reason.place.map(|place| place.len()), Some(LONGEST_LINE));
    }
}
