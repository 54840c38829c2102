//! What an answer means: the only place that knows which are successes and which are worth another try.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::model::EndpointAnswer;
use crate::model::Profile;
use crate::model::Verb;

/// What is done with the delivery. Whether tries are left is not looked at here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Delivered,
    /// Failed, and worth another try.
    Retry {
        /// Not before this time has passed.
        retry_after: Option<Duration>,
    },
    /// It was no try at all: nobody was asked.
    NotTried {
        /// When to look again.
        wait: Duration,
    },
    /// Failed for good: the endpoint says that it is gone (410).
    Gone,
    /// Failed for good.
    Final,
}

impl Verdict {
    /// Whether it succeeded; nothing where nothing was learnt of the endpoint. Everything that is no success counts
    /// against the hook.
    pub fn succeeded(self) -> Option<bool> {
        match self {
            Self::Delivered => Some(true),
            Self::NotTried { .. } => None,
            Self::Retry { .. } | Self::Gone | Self::Final => Some(false),
        }
    }
}

/// What an answer means.
///
/// Profile `standard`: any 2xx is a success; no response, 408, 425, 429 and 5xx are retried, 429 and 503 not
/// before their `Retry-After`; everything else is final. Profile `kazoo` (`webhooks_util:handle_resp/5`):
/// only 200, and 201 for put, are successes; only a missing response is retried.
pub fn classify(profile: Profile, verb: Verb, answer: &EndpointAnswer) -> Verdict {
    match (profile, *answer) {
        (_, EndpointAnswer::ClientError) => Verdict::Retry { retry_after: None },
        (_, EndpointAnswer::Refused) => Verdict::Final,
        (_, EndpointAnswer::Local { wait }) => Verdict::NotTried { wait },
        (Profile::Kazoo, EndpointAnswer::Status { code, .. }) => match code {
            200 => Verdict::Delivered,
            201 if verb == Verb::Put => Verdict::Delivered,
            _ => Verdict::Final,
        },
        (Profile::Standard, EndpointAnswer::Status { code, retry_after }) => match code {
            200..300 => Verdict::Delivered,
            429 | 503 => Verdict::Retry { retry_after },
            408 | 425 | 500..600 => Verdict::Retry { retry_after: None },
            410 => Verdict::Gone,
            _ => Verdict::Final,
        },
    }
}

/// Reads a `Retry-After` (RFC 9110, 10.2.3): seconds, or a date in any of the three forms that HTTP knows, of which
/// what is left from `now` counts. `None` when it is neither; a date that has passed is no wait.
pub fn retry_after(value: &str, now: OffsetDateTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean "very long"; the schedule caps it.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = date(value)?;
    Some(Duration::try_from(date - now).unwrap_or(Duration::ZERO))
}

fn date(value: &str) -> Option<OffsetDateTime> {
    let http = httpdate::parse_http_date(value).map(OffsetDateTime::from);
    // Some servers write the date as mail does.
    http.ok().or_else(|| OffsetDateTime::parse(value, &Rfc2822).ok())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::fuzz;

    const WAIT: Option<Duration> = Some(Duration::from_secs(7));

    #[test]
    fn every_class_of_answers_has_its_verdict() {
        use Verdict::{Delivered, Final, Gone, Retry};
        let again = Retry { retry_after: None };
        for (code, standard, kazoo_put, kazoo_post) in [
            (200, Delivered, Delivered, Delivered),
            (201, Delivered, Delivered, Final),
            (202, Delivered, Final, Final),
            (204, Delivered, Final, Final),
            (299, Delivered, Final, Final),
            (301, Final, Final, Final),
            (400, Final, Final, Final),
            (408, again, Final, Final),
            (410, Gone, Final, Final),
            (425, again, Final, Final),
            (429, Retry { retry_after: WAIT }, Final, Final),
            (500, again, Final, Final),
            (503, Retry { retry_after: WAIT }, Final, Final),
            (599, again, Final, Final),
            (600, Final, Final, Final),
        ] {
            let answer = EndpointAnswer::Status { code, retry_after: WAIT };
            assert_eq!(classify(Profile::Standard, Verb::Post, &answer), standard, "{code}");
            assert_eq!(classify(Profile::Kazoo, Verb::Put, &answer), kazoo_put, "{code}");
            assert_eq!(classify(Profile::Kazoo, Verb::Post, &answer), kazoo_post, "{code}");
        }
        assert_eq!(classify(Profile::Standard, Verb::Get, &EndpointAnswer::ClientError), again);
        assert_eq!(classify(Profile::Kazoo, Verb::Get, &EndpointAnswer::ClientError), again);
        assert_eq!(classify(Profile::Standard, Verb::Get, &EndpointAnswer::Refused), Final);
        assert_eq!(classify(Profile::Kazoo, Verb::Get, &EndpointAnswer::Refused), Final);
        for profile in [Profile::Standard, Profile::Kazoo] {
            let wait = Duration::from_secs(1);
            let verdict = classify(profile, Verb::Post, &EndpointAnswer::Local { wait });
            assert_eq!((verdict, verdict.succeeded()), (Verdict::NotTried { wait }, None));
        }
    }

    #[test]
    fn fuzz_retry_after() {
        use crate::delivery::schedule;
        let now = datetime!(2026-01-02 03:04:05 UTC);
        fuzz::target("retry_after", |bytes| {
            // A client only sees values that are visible ASCII.
            let Ok(text) = str::from_utf8(bytes) else { return Ok(()) };
            let asked = retry_after(text, now);
            let delay = schedule::delay(Profile::Standard, &[1000], 1, asked, 1.0);
            fuzz::ensure(delay <= schedule::longest(&[1000]), || format!("{asked:?} made {delay:?}"))?;
            fuzz::ensure(delay >= asked.unwrap_or_default().min(schedule::MAX_RETRY_AFTER), || {
                format!("{asked:?} was not granted: {delay:?}")
            })
        });
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = datetime!(1994-11-06 08:49:07 UTC);
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("Sun Nov  6 08:49:37 1994", Some(30)),
            ("Sun, 06 Nov 1994 09:49:37 +0100", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value:?}");
        }
    }
}
