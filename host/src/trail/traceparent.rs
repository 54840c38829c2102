//! A place in a trace, as W3C's header `traceparent` says it.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A span that others go on from. Displays as the header's value, version `00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
    sampled: bool,
}

impl TraceParent {
    /// What a header says; nothing where it breaks W3C's rules: then a trace of its own begins, as they want it.
    /// Of versions that are not known yet the part that is known counts.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut hex = |length: usize| parts.next().filter(|part| is_hex(part, length));
        let version = hex(2)?;
        let (trace, span, flags) = (hex(32)?, hex(16)?, hex(2)?);
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace = TraceId::from_hex(trace).ok().filter(|id| *id != TraceId::INVALID)?;
        let span = SpanId::from_hex(span).ok().filter(|id| *id != SpanId::INVALID)?;
        Some(TraceParent { trace, span, sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1 })
    }

    /// The place of a span that is kept; nothing for one that is not.
    pub(super) fn of(context: &SpanContext) -> Option<Self> {
        let place =
            TraceParent { trace: context.trace_id(), span: context.span_id(), sampled: context.is_sampled() };
        (context.is_valid() && place.sampled).then_some(place)
    }

    /// As opentelemetry has it.
    pub(super) fn context(self) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        SpanContext::new(self.trace, self.span, flags, true, TraceState::default())
    }

    /// The trace.
    pub(super) fn trace(self) -> TraceId {
        self.trace
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let found = TraceParent::parse(text).map(|parent| parent.to_string());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn what_is_said_is_what_is_read() {
        check(EXAMPLE, Some(EXAMPLE));
        let not_kept = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        check(not_kept, Some(not_kept));
    }

    #[test]
    fn of_flags_and_versions_that_are_not_known_the_known_part_counts() {
        check(&EXAMPLE.replace("-01", "-03"), Some(EXAMPLE));
        check(&format!("cc{}", &EXAMPLE[2..]), Some(EXAMPLE));
        check(&format!("cc{}-what-the-future-brings", &EXAMPLE[2..]), Some(EXAMPLE));
    }

    #[test]
    fn what_breaks_the_rules_is_none() {
        check("", None);
        check("what", None);
        check(&format!("{EXAMPLE}-more"), None);
        check(&format!("ff{}", &EXAMPLE[2..]), None);
        check(&EXAMPLE.to_uppercase(), None);
        check(&EXAMPLE[..54], None);
        check(&EXAMPLE.replace("b7ad", "b7ag"), None);
        check("00-00000000000000000000000000000000-b7ad6b7169203331-01", None);
        check("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None);
    }

    #[test]
    fn only_a_span_that_is_kept_is_gone_on_from() {
        let of = |text: &str| TraceParent::of(&TraceParent::parse(text).unwrap().context());
        assert_eq!(of(EXAMPLE), TraceParent::parse(EXAMPLE));
        assert_eq!(of(&EXAMPLE.replace("-01", "-00")), None);
        assert_eq!(TraceParent::of(&SpanContext::NONE), None);
    }
}
