//! Values as KAZOO's getters read them: which text, number or truth a JSON value stands for.
//!
//! The rules are those of `kz_term:to_binary/1`, `to_integer/1`, `to_number/1` and `is_true/1` behind the getters
//! of `kz_json`, which take "cannot be converted" for "is not there".

use std::borrow::Cow;

use plugin_api::serde_json::{self, value::RawValue};
use plugin_api::{JsonWriter, Kind, Profile, Value};

/// Writes a text field unless it is absent or empty. Strings are copied as they came.
#[must_use]
pub fn text_field(json: JsonWriter, key: &str, value: Option<Value<'_>>, profile: Profile) -> JsonWriter {
    match value.map(|value| (value.str(), value)) {
        None | Some((Some(""), _)) => json,
        Some((Some(_), value)) => json.copy(key, Some(value)),
        Some((None, value)) => {
            json.opt_str(key, text(value, profile).as_deref().filter(|text| !text.is_empty()))
        }
    }
}

/// The text of a value.
///
/// Standard: strings, numbers and booleans. KAZOO: also null (`null`), objects (their JSON) and lists of text and
/// bytes (joined).
#[must_use]
pub fn text(value: Value<'_>, profile: Profile) -> Option<Cow<'_, str>> {
    match (value.kind(), profile) {
        (Kind::String, _) => value.str().map(Cow::Borrowed),
        (Kind::Boolean, _) | (Kind::Null, Profile::Kazoo) => Some(Cow::Borrowed(value.raw())),
        (Kind::Number, _) => Some(number_text(value.raw())),
        (Kind::Array, Profile::Kazoo) => joined(value.raw()).map(Cow::Owned),
        (Kind::Object, Profile::Kazoo) => Some(Cow::Owned(compact(value.raw()))),
        (Kind::Null | Kind::Array | Kind::Object, Profile::Standard) => None,
    }
}

/// A whole number as JSON text: fractions are rounded half away from zero, numbers in strings are read.
#[must_use]
pub fn integer(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value.kind() {
        Kind::Number => whole(value.raw()),
        Kind::String => value.str().and_then(written_number).and_then(rounded),
        Kind::Array => {
            characters(value.raw()).as_deref().and_then(written_number).and_then(rounded).map(owned)
        }
        _ => None,
    }
}

/// A number as JSON text, whole or not; numbers in strings are read.
#[must_use]
pub fn number(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value.kind() {
        Kind::Number => Some(Cow::Borrowed(value.raw())),
        Kind::String => value.str().and_then(written_number).map(Written::json),
        Kind::Array => {
            characters(value.raw()).as_deref().and_then(written_number).map(Written::json).map(owned)
        }
        _ => None,
    }
}

/// Only `true`, the string `"true"` and its list of characters are true.
#[must_use]
pub fn is_true(value: Option<Value<'_>>) -> bool {
    value.is_some_and(|value| match value.kind() {
        Kind::Boolean => value.bool() == Some(true),
        Kind::String => value.str() == Some("true"),
        Kind::Array => characters(value.raw()).as_deref() == Some("true"),
        _ => false,
    })
}

/// Whether it is a boolean or the text of one, `kz_term:is_boolean/1`.
#[must_use]
pub fn is_boolean(value: Value<'_>) -> bool {
    let names_one = |text: Option<&str>| matches!(text, Some("true" | "false"));
    match value.kind() {
        Kind::Boolean => true,
        Kind::String => names_one(value.str()),
        Kind::Array => names_one(characters(value.raw()).as_deref()),
        _ => false,
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

fn is_whole(raw: &str) -> bool {
    !raw.contains(['.', 'e', 'E'])
}

/// JSON has `-0`, Erlang's integers do not.
fn plain_zero(raw: &str) -> &str {
    if raw == "-0" { "0" } else { raw }
}

fn number_text(raw: &str) -> Cow<'_, str> {
    if is_whole(raw) {
        return Cow::Borrowed(plain_zero(raw));
    }
    raw.parse().map_or(Cow::Borrowed(raw), |float| Cow::Owned(float_text(float)))
}

fn whole(raw: &str) -> Option<Cow<'_, str>> {
    if is_whole(raw) {
        return Some(Cow::Borrowed(plain_zero(raw)));
    }
    raw.parse().ok().and_then(round).map(Cow::Owned)
}

fn round(float: f64) -> Option<String> {
    // Adding zero turns -0 into 0.
    float.is_finite().then(|| format!("{:.0}", float.round() + 0.0))
}

/// A number that a string holds in Erlang's spelling.
enum Written<'a> {
    /// Digits after an optional minus, without leading zeros.
    Whole(Cow<'a, str>),
    Float(f64),
}

impl<'a> Written<'a> {
    fn json(self) -> Cow<'a, str> {
        match self {
            Written::Whole(digits) => digits,
            Written::Float(float) => Cow::Owned(serde_json::Value::from(float).to_string()),
        }
    }
}

fn rounded(number: Written<'_>) -> Option<Cow<'_, str>> {
    match number {
        Written::Whole(digits) => Some(digits),
        Written::Float(float) => round(float).map(Cow::Owned),
    }
}

/// Erlang wants digits on both sides of the point and a point before an exponent, and allows a plus.
fn written_number(text: &str) -> Option<Written<'_>> {
    let (minus, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if is_digits(unsigned) {
        let digits = unsigned.trim_start_matches('0');
        return Some(Written::Whole(match (minus, digits) {
            (_, "") => Cow::Borrowed("0"),
            (false, digits) => Cow::Borrowed(digits),
            (true, digits) => Cow::Owned(format!("-{digits}")),
        }));
    }
    let (before, after) = unsigned.split_once('.')?;
    let (fraction, exponent) = after.split_once(['e', 'E']).map_or((after, None), |(f, e)| (f, Some(e)));
    let exponent_fits = exponent.is_none_or(|e| is_digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    if !is_digits(before) || !is_digits(fraction) || !exponent_fits {
        return None;
    }
    text.parse().ok().filter(|float: &f64| float.is_finite()).map(Written::Float)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A float as mochinum spells it: the shortest digits that read back the same, with a point in them, and an
/// exponent from seven places on.
fn float_text(float: f64) -> String {
    if float == 0.0 {
        return "0.0".to_owned();
    }
    let scientific = format!("{:e}", float.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let exponent: i64 = exponent.parse().unwrap_or_default();
    let sign = if float < 0.0 { "-" } else { "" };
    // Places before the point; zero or less means that many zeros behind it.
    let places = exponent + 1;
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let unsigned = if places > 0 && places < length {
        let (before, after) = digits.split_at(usize::try_from(places).unwrap_or_default());
        format!("{before}.{after}")
    } else if places > 0 && places - length < 6 {
        let zeros = "0".repeat(usize::try_from(places - length).unwrap_or_default());
        format!("{digits}{zeros}.0")
    } else if places <= 0 && places > -6 {
        let zeros = "0".repeat(usize::try_from(-places).unwrap_or_default());
        format!("0.{zeros}{digits}")
    } else {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        format!("{first}.{rest}e{exponent:+}")
    };
    format!("{sign}{unsigned}")
}

/// A list of strings, bytes and such lists as one text; none when anything else is in it.
fn joined(raw: &str) -> Option<String> {
    let mut bytes = Vec::new();
    join(raw, &mut bytes, 0)?;
    String::from_utf8(bytes).or_else(|error| latin1(error.as_bytes()).ok_or(())).ok()
}

/// Deeper lists are not text.
const MAX_DEPTH: u32 = 16;

fn join(raw: &str, bytes: &mut Vec<u8>, depth: u32) -> Option<()> {
    if depth == MAX_DEPTH {
        return None;
    }
    for item in serde_json::from_str::<Vec<&RawValue>>(raw).ok()? {
        match item.get().as_bytes().first()? {
            b'"' => bytes.extend(serde_json::from_str::<String>(item.get()).ok()?.into_bytes()),
            b'[' => join(item.get(), bytes, depth + 1)?,
            _ => bytes.push(item.get().parse().ok()?),
        }
    }
    Some(())
}

/// Bytes that are not UTF-8 are taken for Latin-1, but not where they would be control characters.
fn latin1(bytes: &[u8]) -> Option<String> {
    let text = |byte: &u8| (!(0x80..0xa0).contains(byte)).then_some(char::from(*byte));
    bytes.iter().map(text).collect()
}

/// The text of a list of characters, an Erlang string.
fn characters(raw: &str) -> Option<String> {
    let codes = serde_json::from_str::<Vec<u32>>(raw).ok()?;
    codes.into_iter().map(char::from_u32).collect()
}

/// JSON text without the spaces between its tokens and with strings in their shortest spelling.
fn compact(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(quote) = rest.find('"') {
        let (outside, from_quote) = rest.split_at(quote);
        out.extend(outside.chars().filter(|c| !c.is_ascii_whitespace()));
        let (string, after) = from_quote.split_at(string_len(from_quote));
        match serde_json::from_str::<String>(string) {
            Ok(text) => out.push_str(&serde_json::Value::from(text).to_string()),
            Err(_) => out.push_str(string),
        }
        rest = after;
    }
    out.extend(rest.chars().filter(|c| !c.is_ascii_whitespace()));
    out
}

/// Length of the JSON string at the start of `json`, quotes included.
fn string_len(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().enumerate().skip(1).find(|(_, byte)| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_spelt_with_a_point_and_an_exponent_from_seven_places_on() {
        for (float, expected) in [
            (0.0, "0.0"),
            (-0.0, "0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (100_000.0, "100000.0"),
            (1e6, "1.0e+6"),
            (1_234_567.0, "1234567.0"),
            (1e22, "1.0e+22"),
            (123_456.789, "123456.789"),
            (63_867_219_200.5, "63867219200.5"),
            (0.1, "0.1"),
            (1e-5, "0.00001"),
            (1e-7, "1.0e-7"),
            (1.23e-9, "1.23e-9"),
            (0.300_000_000_000_000_04, "0.30000000000000004"),
        ] {
            assert_eq!(float_text(float), expected);
        }
    }

    #[test]
    fn strings_hold_numbers_in_erlangs_spelling() {
        for (text, expected) in [
            ("7", Some("7")),
            ("+7", Some("7")),
            ("-007", Some("-7")),
            ("-0", Some("0")),
            ("123456789012345678901234567890", Some("123456789012345678901234567890")),
            ("37.5", Some("38")),
            ("-0.5", Some("-1")),
            ("-0.4", Some("0")),
            ("1.0e3", Some("1000")),
            ("1.5E+1", Some("15")),
            ("1e3", None),
            (".5", None),
            ("5.", None),
            (" 7", None),
            ("", None),
            ("-", None),
            ("+-7", None),
            ("abc", None),
            ("NaN", None),
            ("1.0e999", None),
        ] {
            assert_eq!(written_number(text).and_then(rounded).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn whole_numbers_keep_every_digit() {
        assert_eq!(
            whole("123456789012345678901234567890").as_deref(),
            Some("123456789012345678901234567890")
        );
        assert_eq!(number_text("123456789012345678901234567890"), "123456789012345678901234567890");
        assert_eq!(whole("63867219200.6").as_deref(), Some("63867219201"));
        assert_eq!(whole("-0").as_deref(), Some("0"));
        assert_eq!(whole("1e999").as_deref(), None);
    }

    #[test]
    fn lists_of_text_and_bytes_are_one_text() {
        for (raw, expected) in [
            ("[]", Some("")),
            (r#"["a","b"]"#, Some("ab")),
            ("[104,105]", Some("hi")),
            (r#"[["a",[98]],"\u00e9"]"#, Some("abé")),
            ("[99,97,102,233]", Some("café")),
            ("[129]", None),
            ("[256]", None),
            ("[1.5]", None),
            ("[null]", None),
            (r#"[{"a":1}]"#, None),
        ] {
            assert_eq!(joined(raw).as_deref(), expected, "{raw}");
        }
        assert_eq!(joined(&format!("{}{}", "[".repeat(50), "]".repeat(50))), None);
    }

    #[test]
    fn objects_as_text_are_compact_json() {
        let raw = "{ \"a\" : 1 ,\n\"b\":[ \"x y\", \"q\\\"\\\\\" ], \"\\u00e9\": 1.50 }";
        assert_eq!(compact(raw), r#"{"a":1,"b":["x y","q\"\\"],"é":1.50}"#);
    }
}
