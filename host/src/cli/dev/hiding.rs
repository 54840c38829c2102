//! What is hidden in what is compared, as it is another each time although the module is the same: the id, the time and the
//! signature of a request, and times in a payload that are the time of the run. Pure.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::bounded::ShownLines;
use crate::clock::GREGORIAN;

/// What stands in the place of what is hidden.
pub(super) const HIDDEN: &str = "(another each time)";

/// What stands in the place of a time of the run.
const NOW: &str = "(now)";

/// Headers that say nothing about a module: a port of the receiver, and the size of a body that is shown.
const LEFT_OUT: [&str; 2] = ["host", "content-length"];

/// Headers that are another each time.
const CHANGING: [&str; 5] =
    ["webhook-id", "webhook-timestamp", "webhook-signature", "traceparent", "tracestate"];

/// Characters of a text that may be a time.
const LONGEST_TIME: usize = 40;

/// The time in which an event was run, in Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunWindow {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

impl RunWindow {
    /// Whether a number or a text says a moment of this time: in seconds, milli-, micro- or nanoseconds since 1970, in
    /// KAZOO's seconds or milliseconds since the year 0, or as RFC 3339 writes it.
    fn holds(&self, token: &str) -> bool {
        if token.len() > LONGEST_TIME {
            return false;
        }
        let number = token.split_once('.').map_or(token, |(whole, _)| whole);
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            return number.parse().is_ok_and(|number| self.holds_number(number));
        }
        let time = OffsetDateTime::parse(token, &Rfc3339);
        time.is_ok_and(|time| self.holds_ns(time.unix_timestamp_nanos(), 1_000_000_000))
    }

    fn holds_number(&self, number: i128) -> bool {
        let second: i128 = 1_000_000_000;
        let gregorian = i128::from(GREGORIAN);
        [second, 1_000_000, 1_000, 1].into_iter().any(|unit| self.holds_ns(number.saturating_mul(unit), unit))
            || self.holds_ns((number - gregorian).saturating_mul(second), second)
            || self.holds_ns((number - gregorian * 1_000).saturating_mul(1_000_000), 1_000_000)
    }

    /// A time that was rounded down to a unit may lie before the moment that it tells.
    fn holds_ns(&self, ns: i128, unit: i128) -> bool {
        let ns_of = |ms: i64| i128::from(ms) * 1_000_000;
        ns > ns_of(self.from_ms) - unit && ns <= ns_of(self.to_ms) + 1_000_000
    }
}

/// A header as it is shown; nothing where it is left out.
pub(super) fn shown_header(name: &str, value: &str) -> Option<String> {
    if LEFT_OUT.contains(&name) {
        return None;
    }
    Some(if CHANGING.contains(&name) { HIDDEN.to_owned() } else { value.to_owned() })
}

/// Adds JSON text with a line for each of its values, each as it stands there, but for times of the run.
pub(super) fn push_json(json: &str, window: &RunWindow, lines: &mut ShownLines) {
    let mut depth = 0_usize;
    let mut line = String::new();
    let mut rest = json.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = rest.get(first.len_utf8()..).unwrap_or_default().trim_start();
        match first {
            '{' | '[' => {
                line.push(first);
                if let Some(close) = after.chars().next().filter(|next| matches!(next, '}' | ']')) {
                    line.push(close);
                    rest = after.get(1..).unwrap_or_default().trim_start();
                    continue;
                }
                depth += 1;
                next_line(&mut line, depth, lines);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                next_line(&mut line, depth, lines);
                line.push(first);
            }
            ',' => {
                line.push(first);
                next_line(&mut line, depth, lines);
            }
            ':' => line.push_str(": "),
            _ => {
                let (token, behind) = split_token(rest);
                push_token(token, behind.starts_with(':'), window, &mut line);
                rest = behind;
                continue;
            }
        }
        rest = after;
    }
    lines.push(&line);
}

fn next_line(line: &mut String, depth: usize, lines: &mut ShownLines) {
    lines.push(line);
    line.clear();
    (0..depth).for_each(|_| line.push_str("  "));
}

/// A text, a number or a word at the beginning, and what follows without the white space between.
fn split_token(rest: &str) -> (&str, &str) {
    let end = match rest.strip_prefix('"') {
        Some(inside) => {
            let mut escaped = false;
            let quote = inside.bytes().position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            quote.map_or(rest.len(), |quote| quote + 2)
        }
        None => rest.find([',', ':', '}', ']', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()),
    };
    // Never an empty one: whoever asks goes on behind it.
    let end = end.max(rest.chars().next().map_or(0, char::len_utf8));
    let (token, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
    (token, behind.trim_start())
}

fn push_token(token: &str, is_key: bool, window: &RunWindow, line: &mut String) {
    let text = token.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if !is_key && window.holds(text.unwrap_or(token)) {
        line.push_str(NOW);
    } else {
        line.push_str(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02T03:04:05.678Z to a second later.
    const WINDOW: RunWindow = RunWindow { from_ms: 1_767_323_045_678, to_ms: 1_767_323_046_678 };

    #[test]
    fn times_of_the_run_are_hidden_and_others_are_not() {
        for (token, hidden) in [
            ("1767323045", true),
            ("1767323046", true),
            ("1767323045.9", true),
            ("1767323044", false),
            ("1767323047", false),
            ("1767323045678", true),
            ("1767323045677", false),
            ("1767323045678901", true),
            ("1767323045678901234", true),
            ("63934542245", true),
            ("63934542245678", true),
            ("63934542247", false),
            ("2026-01-02T03:04:06Z", true),
            ("2026-01-02T04:04:06.5+01:00", true),
            ("2026-01-02T03:04:08Z", false),
            ("63871286400", false),
            ("17", false),
            ("", false),
            ("-1767323045", false),
            ("hello", false),
            ("99999999999999999999999999999999999999999", false),
            ("9999999999999999999999999999999999999", false),
        ] {
            assert_eq!(WINDOW.holds(token), hidden, "{token}");
        }
    }

    #[test]
    fn a_header_is_shown_hidden_or_left_out() {
        for (name, shown) in [
            ("content-type", Some("value")),
            ("x-hook-id", Some("value")),
            ("webhook-id", Some(HIDDEN)),
            ("webhook-timestamp", Some(HIDDEN)),
            ("webhook-signature", Some(HIDDEN)),
            ("traceparent", Some(HIDDEN)),
            ("host", None),
            ("content-length", None),
        ] {
            assert_eq!(shown_header(name, "value").as_deref(), shown, "{name}");
        }
    }

    #[track_caller]
    fn check(json: &str, expected: &[&str]) {
        let mut lines = ShownLines::new(100, 10_000);
        push_json(json, &WINDOW, &mut lines);
        assert_eq!(lines.finish(), expected, "{json}");
    }

    #[test]
    fn json_has_a_line_for_each_value_and_stays_as_it_was_written() {
        check("{}", &["{}"]);
        check(r#"{"a":1.50,"b":[]}"#, &["{", "  \"a\": 1.50,", "  \"b\": []", "}"]);
        check(
            " { \"a\" : { \"b\" : [ 1 , \"x\" ] } } ",
            &["{", "  \"a\": {", "    \"b\": [", "      1,", "      \"x\"", "    ]", "  }", "}"],
        );
        check(r#"{"a":"{[\",:]}\\","b":null}"#, &["{", r#"  "a": "{[\",:]}\\","#, "  \"b\": null", "}"]);
        check(r#"{"1767323045":1767323045}"#, &["{", "  \"1767323045\": (now)", "}"]);
        check(r#"{"at":"2026-01-02T03:04:06Z"}"#, &["{", "  \"at\": (now)", "}"]);
        check("12345678901234567890123", &["12345678901234567890123"]);
    }

    #[test]
    fn what_is_no_json_is_shown_all_the_same() {
        check("", &[""]);
        check("\"open", &["\"open"]);
        check("a=b&c", &["a=b&c"]);
        check("}", &["", "}"]);
    }

    #[test]
    fn a_module_that_prints_megabytes_is_cut() {
        let json = format!("[{}1]", "1,".repeat(500_000));
        let mut lines = ShownLines::new(10, 10_000);
        push_json(&json, &WINDOW, &mut lines);
        let shown = lines.finish();
        assert_eq!(shown.len(), 11);
        assert!(shown[10].starts_with("… and 499993 more lines"), "{}", shown[10]);
    }
}
