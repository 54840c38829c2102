//! How an outgoing JSON body is written: from raw JSON text to raw JSON text, without a tree of values.

use std::borrow::Cow;

/// The spelling of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonStyle {
    /// Nothing between the tokens, each as it came.
    Compact,
    /// Nothing between the tokens; strings and floats spelled as the original's encoder spells them.
    KazooCompact,
    /// The original's bodies: two spaces a level, ` : ` after a key, and an indented empty line in empty
    /// objects and arrays (jiffy's `pretty`).
    KazooPretty,
}

impl JsonStyle {
    fn pretty(self) -> bool {
        self == Self::KazooPretty
    }
}

/// Writes an object of these members; the keys are plain text, the values JSON text that was checked before.
pub fn write_object<'a>(
    members: impl IntoIterator<Item = (&'a str, &'a str)>,
    style: JsonStyle,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    let mut first = true;
    for (key, value) in members {
        if !std::mem::replace(&mut first, false) {
            out.push(b',');
        }
        new_line(1, style, out);
        write_string(key, out);
        out.extend_from_slice(if style.pretty() { b" : " } else { b":" });
        write_value(value, 1, style, out);
    }
    if first {
        new_line(1, style, out);
    }
    new_line(0, style, out);
    out.push(b'}');
}

/// Writes one value; `level` is how deep it stands.
pub fn write_value(raw: &str, level: usize, style: JsonStyle, out: &mut Vec<u8>) {
    let bytes = raw.as_bytes();
    let mut level = level;
    let mut empty = false; // nothing came yet after the last opening bracket
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            at += 1;
            continue;
        }
        let end = match byte {
            b'"' => string_end(bytes, at),
            b'{' | b'}' | b'[' | b']' | b',' | b':' => at + 1,
            _ => scalar_end(bytes, at),
        };
        if empty && !matches!(byte, b'}' | b']') {
            new_line(level, style, out);
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                level += 1;
            }
            b'}' | b']' => {
                if empty {
                    new_line(level, style, out);
                }
                level = level.saturating_sub(1);
                new_line(level, style, out);
                out.push(byte);
            }
            b',' => {
                out.push(b',');
                new_line(level, style, out);
            }
            b':' => out.extend_from_slice(if style.pretty() { b" : " } else { b":" }),
            _ => write_scalar(&raw[at..end], style, out),
        }
        empty = matches!(byte, b'{' | b'[');
        at = end;
    }
}

fn write_scalar(raw: &str, style: JsonStyle, out: &mut Vec<u8>) {
    if style == JsonStyle::Compact {
        out.extend_from_slice(raw.as_bytes());
    } else if raw.starts_with('"') {
        match unquote(raw) {
            // No escapes, so nothing in it needs any.
            Cow::Borrowed(_) => out.extend_from_slice(raw.as_bytes()),
            Cow::Owned(text) => write_string(&text, out),
        }
    } else {
        match float(raw) {
            Some(number) => out.extend_from_slice(spell_float(number).as_bytes()),
            None => out.extend_from_slice(raw.as_bytes()),
        }
    }
}

/// Writes a JSON string: quotes, backslashes and control characters are escaped, nothing else is.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0C => b'f',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..at]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
            out.extend_from_slice(&[b'0', b'0', high, low]);
        }
        written = at + 1;
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// The text of a JSON string; borrowed when it has no escapes. Half a surrogate pair becomes U+FFFD.
pub(crate) fn unquote(raw: &str) -> Cow<'_, str> {
    let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let (character, length) = unescape(escape);
        text.push(character);
        rest = escape.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character of an escape, and how many bytes after the backslash spell it.
fn unescape(escape: &str) -> (char, usize) {
    let hex =
        |text: &str, at: usize| text.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match escape.as_bytes().first() {
        Some(b'n') => ('\n', 1),
        Some(b'r') => ('\r', 1),
        Some(b't') => ('\t', 1),
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'u') => {
            let unit = hex(escape, 1).unwrap_or(0xFFFD);
            if let (0xD800..0xDC00, Some("\\u")) = (unit, escape.get(5..7))
                && let Some(low @ 0xDC00..0xE000) = hex(escape, 7)
            {
                let pair = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return (char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER), 11);
            }
            (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 5)
        }
        // `"`, `\` and `/`; nothing else passed the check.
        Some(&other) => (char::from(other), 1),
        None => (char::REPLACEMENT_CHARACTER, 0),
    }
}

/// The number, when the text is one with a fraction or an exponent and a double can hold it.
pub(crate) fn float(raw: &str) -> Option<f64> {
    let marked = raw.contains(['.', 'e', 'E'])
        && raw.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    marked.then(|| raw.parse::<f64>().ok()).flatten().filter(|number| number.is_finite())
}

/// The shortest digits that mean this double, and the power of ten of the point before them:
/// 123.4 is (`1234`, 3), 0.05 is (`5`, -1).
pub(crate) fn digits(number: f64) -> (String, i32) {
    let spelled = format!("{:e}", number.abs());
    let (mantissa, exponent) = spelled.split_once('e').unwrap_or((&spelled, "0"));
    let digits = mantissa.chars().filter(|c| *c != '.').collect();
    (digits, exponent.parse::<i32>().unwrap_or(0) + 1)
}

/// As JavaScript spells numbers, but always with a fraction, which is what the original's JSON encoder does.
fn spell_float(number: f64) -> String {
    if number == 0.0 {
        return "0.0".to_owned();
    }
    let sign = if number < 0.0 { "-" } else { "" };
    let (digits, point) = digits(number);
    let length = digits.len() as i32;
    match point {
        22.. | ..=-6 => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{sign}{first}{dot}{rest}e{:+}", point - 1)
        }
        _ if point <= 0 => format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        _ if point >= length => format!("{sign}{digits}{}.0", "0".repeat((point - length) as usize)),
        _ => {
            let (whole, fraction) = digits.split_at(point as usize);
            format!("{sign}{whole}.{fraction}")
        }
    }
}

fn new_line(level: usize, style: JsonStyle, out: &mut Vec<u8>) {
    if style.pretty() {
        out.push(b'\n');
        out.resize(out.len() + 2 * level, b' ');
    }
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn scalar_end(bytes: &[u8], start: usize) -> usize {
    let ends = |byte: &u8| {
        matches!(byte, b',' | b'}' | b']' | b':' | b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'{' | b'[')
    };
    bytes[start..].iter().position(ends).map_or(bytes.len(), |length| start + length.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(raw: &str, style: JsonStyle, expected: &str) {
        let mut out = Vec::new();
        write_value(raw, 0, style, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn compact_keeps_every_token_and_drops_the_space_between() {
        check(
            "{ \"a b\" : [ 1.0 , 123456789012345678901234567890,\n\"x \\u00e9\" ] ,\"c\":{ } }",
            JsonStyle::Compact,
            r#"{"a b":[1.0,123456789012345678901234567890,"x \u00e9"],"c":{}}"#,
        );
    }

    #[test]
    fn pretty_is_the_originals() {
        check(
            r#"{"a":[1,{},[]],"b":{"c":null}}"#,
            JsonStyle::KazooPretty,
            "{\n  \"a\" : [\n    1,\n    {\n      \n    },\n    [\n      \n    ]\n  ],\n  \"b\" : {\n    \"c\" : null\n  }\n}",
        );
        let mut out = Vec::new();
        write_object([], JsonStyle::KazooPretty, &mut out);
        assert_eq!(out, b"{\n  \n}");
    }

    #[test]
    fn the_originals_strings_and_floats_are_spelled_again() {
        for (raw, expected) in [
            (r#""\/ \u00e9\u0001\ud83d\ude00\"""#, "\"/ é\\u0001😀\\\"\""),
            (r#""\ud83d x""#, "\"\u{fffd} x\""),
            ("1.50", "1.5"),
            ("1E3", "1000.0"),
            ("-0.0", "0.0"),
            ("0.0000010", "0.000001"),
            ("1.0e-07", "1e-7"),
            ("1.25e+21", "1.25e+21"),
            ("1e20", "100000000000000000000.0"),
            ("1e21", "1e+21"),
            ("1e22", "1e+22"),
            ("1e999", "1e999"),
            ("-12345678901234567890123", "-12345678901234567890123"),
        ] {
            check(raw, JsonStyle::KazooCompact, expected);
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            // At most 15 digits: serde_json may miss the last bit of longer ones.
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 64.0)),
            ".*".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::vec((".*", inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_float_is_spelled_so_that_it_reads_back(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            prop_assert_eq!(spell_float(number).parse::<f64>(), Ok(number));
        }

        #[test]
        fn every_spelling_means_the_same(value in any_json(), spaced in any::<bool>()) {
            let raw = if spaced { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            for style in [JsonStyle::Compact, JsonStyle::KazooCompact, JsonStyle::KazooPretty] {
                let mut out = Vec::new();
                write_value(&raw, 0, style, &mut out);
                let back: serde_json::Value = serde_json::from_slice(&out).unwrap();
                prop_assert_eq!(&back, &value, "{:?}", style);
            }
        }
    }
}
