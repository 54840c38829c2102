//! How a request can fail to get an answer, in words, and whether it may be sent again at once.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use super::trouble::LocalTrouble;
use super::wire::ByteCount;
use crate::attempts::trace::AttemptClass;
use crate::trust;

/// Why there was no answer.
#[derive(Debug)]
pub(crate) struct RequestFailure {
    /// At which part it failed.
    pub(crate) class: AttemptClass,
    /// The same for people.
    pub(crate) told: String,
    /// What is wrong on this machine, where it is that.
    pub(crate) local: Option<LocalTrouble>,
}

impl RequestFailure {
    pub(super) fn of(class: AttemptClass, told: impl Into<String>) -> Self {
        RequestFailure { class, told: told.into(), local: None }
    }

    pub(super) fn local(trouble: LocalTrouble, told: impl Into<String>) -> Self {
        RequestFailure { class: AttemptClass::Local, told: told.into(), local: Some(trouble) }
    }

    /// The same failure, unless it is one of a connection and this process stood still for so long meanwhile: the other
    /// side was right to give it up. Limits need no such excuse, they do not count that time.
    pub(super) fn excused_by(self, stood_still: Duration) -> Self {
        let of_connection =
            matches!(self.class, AttemptClass::Connect | AttemptClass::Tls | AttemptClass::Broken);
        if stood_still < GIVEN_UP_AFTER || !of_connection {
            return self;
        }
        let stood_still = stood_still.as_millis();
        let told = format!("{}, while this process stood still for {stood_still} ms", self.told);
        RequestFailure::local(LocalTrouble::Stopped, told)
    }
}

/// Nobody gives a connection up over a shorter stop.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(500);

/// How a request on a connection came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LossKind {
    /// Nothing of it was written.
    Unsent,
    /// The other side says that it did nothing with it.
    Declined,
    /// The connection ended, and no byte of an answer had come.
    Ended,
    /// Nothing at all comes over the connection any more, although it was asked for a sign of life.
    Silent,
    /// It ended in the middle of an answer, or what came is no answer.
    Broken,
    /// There was no answer in time.
    Late,
}

/// A request that came to nothing.
#[derive(Debug)]
pub(super) struct LostRequest {
    pub(super) kind: LossKind,
    pub(super) told: String,
}

/// Requests that nobody worked on are sent again at most so often.
const REPEATS: u32 = 3;

/// Whether a request goes out again at once, over another connection, as if nothing had happened. `reused` is whether
/// the connection had been made for another request; `repeats` how often this one was sent again already.
///
/// Of a kept connection the other side may think that it is closed. That is nobody's failure, so it does not count;
/// and as the endpoint may have worked on the request all the same, it goes out once more and no oftener.
pub(super) fn is_sent_again(kind: LossKind, reused: bool, repeats: u32) -> bool {
    match kind {
        LossKind::Unsent | LossKind::Declined => repeats < REPEATS,
        LossKind::Ended | LossKind::Silent => reused && repeats == 0,
        LossKind::Broken | LossKind::Late => false,
    }
}

impl LostRequest {
    /// What the HTTP library says of a request without an answer. `begun` is whether bytes of one had come.
    pub(super) fn of(error: &hyper::Error, count: &ByteCount, begun: bool) -> Self {
        if count.flooded() {
            let told =
                "the answer's head does not end: too many interim answers (1xx), or more than 512 KiB of it";
            return LostRequest { kind: LossKind::Broken, told: told.to_owned() };
        }
        if let Some(error) = cause::<h2::Error>(error) {
            return of_stream(error);
        }
        if error.is_canceled() {
            let told = "the connection was closed before the request was written".to_owned();
            return LostRequest { kind: LossKind::Unsent, told };
        }
        let kind = if begun || error.is_parse() { LossKind::Broken } else { LossKind::Ended };
        LostRequest { kind, told: words_of_message(error) }
    }
}

fn of_stream(error: &h2::Error) -> LostRequest {
    let declined = error.is_remote()
        && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
            || error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR));
    if declined {
        let told = "the endpoint declines requests on its connections (HTTP/2 GOAWAY or REFUSED_STREAM)";
        return LostRequest { kind: LossKind::Declined, told: told.to_owned() };
    }
    if error.is_io() {
        let told = error.get_io().map_or_else(String::new, words_of_io);
        return LostRequest { kind: LossKind::Ended, told: format!("the connection was lost: {told}") };
    }
    let reason = error.reason().map_or_else(String::new, |reason| format!(": {}", reason.description()));
    let who = if error.is_remote() { "the endpoint broke the request off" } else { "what came is no HTTP/2" };
    // A stream or connection that was reset says so in words of its own; nothing of an answer has come.
    let kind = if error.is_remote() && error.is_go_away() { LossKind::Ended } else { LossKind::Broken };
    LostRequest { kind, told: format!("{who}{reason}") }
}

/// The first cause of this kind.
pub(super) fn cause<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

/// What the HTTP library says, without its own names.
pub(super) fn words_of_message(error: &hyper::Error) -> String {
    if let Some(io) = cause::<io::Error>(error) {
        return format!("the connection was lost: {}", words_of_io(io));
    }
    if let Some(stream) = cause::<h2::Error>(error) {
        return of_stream(stream).told;
    }
    let words = if error.is_incomplete_message() {
        "the connection was closed before the answer was complete"
    } else if error.is_parse_too_large() {
        "the answer's head is too large"
    } else if error.is_parse_status() {
        "what came is no HTTP: it has no status"
    } else if error.is_parse_version_h2() {
        "what came is HTTP/2, which was not agreed on"
    } else if error.is_parse() {
        "what came is no HTTP"
    } else if error.is_closed() || error.is_canceled() {
        "the connection was closed"
    } else if error.is_timeout() {
        "the endpoint gives no sign of life"
    } else {
        "the connection was lost"
    };
    words.to_owned()
}

/// What the system says, without its numbers.
pub(super) fn words_of_io(error: &io::Error) -> String {
    if let Some(tls) = of_tls(error) {
        return trust::words_of(tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::UnexpectedEof => "it was closed by the other side".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => {
            let text = error.to_string();
            let end = text.find(" (os error").unwrap_or(text.len());
            text[..end].to_owned()
        }
    }
}

/// What the TLS library says in it, sometimes with another error around it.
pub(super) fn of_tls(error: &io::Error) -> Option<&tokio_rustls::rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| inner.downcast_ref::<io::Error>().and_then(of_tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_can_have_answered_is_sent_again_and_where_it_may_have_been_worked_on_once() {
        use LossKind::{Broken, Declined, Ended, Late, Silent, Unsent};
        for (kind, reused, repeats, expected) in [
            (Ended, true, 0, true),
            (Ended, true, 1, false),
            (Ended, false, 0, false),
            (Silent, true, 0, true),
            (Silent, false, 0, false),
            (Unsent, true, 0, true),
            (Unsent, false, 2, true),
            (Declined, false, 0, true),
            (Declined, true, REPEATS, false),
            (Broken, true, 0, false),
            (Late, true, 0, false),
        ] {
            assert_eq!(is_sent_again(kind, reused, repeats), expected, "{kind:?} {reused} {repeats}");
        }
    }

    #[test]
    fn a_connection_that_is_lost_over_a_stop_of_this_process_is_nobodys_failure() {
        let stop = Duration::from_secs(5);
        for (class, stood_still, expected) in [
            (AttemptClass::Broken, stop, AttemptClass::Local),
            (AttemptClass::Connect, stop, AttemptClass::Local),
            (AttemptClass::Tls, stop, AttemptClass::Local),
            (AttemptClass::Broken, Duration::from_millis(120), AttemptClass::Broken),
            (AttemptClass::Timeout, stop, AttemptClass::Timeout),
            (AttemptClass::ConnectTimeout, stop, AttemptClass::ConnectTimeout),
            (AttemptClass::Guard, stop, AttemptClass::Guard),
            (AttemptClass::Unsent, stop, AttemptClass::Unsent),
        ] {
            let failure = RequestFailure::of(class, "words").excused_by(stood_still);
            assert_eq!(failure.class, expected, "{class:?} {stood_still:?}");
        }
    }

    #[test]
    fn what_the_system_says_is_told_without_its_numbers() {
        for (error, expected) in [
            (io::Error::from_raw_os_error(libc::ECONNREFUSED), "connection refused"),
            (io::Error::from_raw_os_error(libc::ECONNRESET), "connection reset"),
            (io::Error::from_raw_os_error(libc::EHOSTUNREACH), "No route to host"),
            (io::Error::from_raw_os_error(libc::EMFILE), "Too many open files"),
            (io::ErrorKind::UnexpectedEof.into(), "it was closed by the other side"),
            (
                io::Error::new(io::ErrorKind::InvalidData, tokio_rustls::rustls::Error::DecryptError),
                "what came cannot be decrypted: it was damaged on its way",
            ),
        ] {
            assert_eq!(words_of_io(&error), expected);
        }
    }
}
