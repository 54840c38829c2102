//! What the end of a request says of how much its endpoint can take. Pure.

use std::time::Duration;

use crate::model::EndpointAnswer;

/// How an endpoint took a request, as far as that depends on how many it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadSign {
    /// It answered. With what does not matter here: a 404 is quickly said, and as quickly however many are asked.
    Answered,
    /// It failed, of too much work or of something else.
    Failed,
    /// It, or whatever stands in front of it, takes no more, or does not get to it.
    Refused {
        /// How long it asks to be left alone.
        wait: Option<Duration>,
    },
}

impl LoadSign {
    /// Nothing where nobody was asked.
    #[must_use]
    pub fn of(answer: &EndpointAnswer) -> Option<Self> {
        match *answer {
            EndpointAnswer::Status { code: 429 | 503, retry_after } => {
                Some(LoadSign::Refused { wait: retry_after })
            }
            EndpointAnswer::Status { code: 500.., .. } => Some(LoadSign::Failed),
            EndpointAnswer::Status { .. } => Some(LoadSign::Answered),
            EndpointAnswer::ClientError => Some(LoadSign::Refused { wait: None }),
            EndpointAnswer::Refused | EndpointAnswer::Local { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_that_there_is_too_much_to_do_is_told_from_what_may_say_something_else() {
        let wait = Some(Duration::from_secs(7));
        for (code, expected) in [
            (200, LoadSign::Answered),
            (204, LoadSign::Answered),
            (301, LoadSign::Answered),
            (404, LoadSign::Answered),
            (410, LoadSign::Answered),
            (429, LoadSign::Refused { wait }),
            (500, LoadSign::Failed),
            (502, LoadSign::Failed),
            (503, LoadSign::Refused { wait }),
            (504, LoadSign::Failed),
        ] {
            let answer = EndpointAnswer::Status { code, retry_after: wait };
            assert_eq!(LoadSign::of(&answer), Some(expected), "{code}");
        }
        let no_answer = Some(LoadSign::Refused { wait: None });
        assert_eq!(LoadSign::of(&EndpointAnswer::ClientError), no_answer);
        assert_eq!(LoadSign::of(&EndpointAnswer::Refused), None);
        assert_eq!(LoadSign::of(&EndpointAnswer::Local { wait: Duration::ZERO }), None);
    }
}
