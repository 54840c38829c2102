//! Texts that stand where a number or a boolean belongs, as forms of web pages send them, become what they say: what
//! Crossbar does unless it is told to be strict (`kz_json_schema:fix_js_types/2`). Pure.

use serde_json::{Number, Value};

use crate::model::Document;

/// What a field should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedType {
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
}

/// Makes these fields of a document what they should be, where a text says it. What says nothing of the kind is left for
/// whoever checks the document.
pub fn cast(document: &mut Document, fields: &[(&str, WantedType)]) {
    for (field, wanted) in fields {
        if let Some(value) = document.get_mut(*field) {
            cast_value(value, *wanted);
        }
    }
}

/// The same for one value.
pub fn cast_value(value: &mut Value, wanted: WantedType) {
    let Value::String(text) = &*value else { return };
    let said = match wanted {
        WantedType::Integer => integer(text),
        WantedType::Boolean => match text.as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
    };
    if let Some(said) = said {
        *value = said;
    }
}

/// As `kz_term:to_integer/1`: a whole number with or without a sign, or one with a fraction, which is rounded half away
/// from zero. No white space. What is beyond every limit stays a number, so that the limit is what is told.
fn integer(text: &str) -> Option<Value> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    // Erlang reads an exponent only behind a fraction.
    let reads = digits(whole)
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| fraction.is_some() && digits(exponent));
    if !reads {
        return None;
    }
    if fraction.is_none()
        && let Ok(number) = text.parse::<i64>()
    {
        return Some(number.into());
    }
    let rounded = text.parse::<f64>().ok()?.round();
    // Up to here every whole number has a floating one of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if rounded.abs() <= EXACT {
        return Some((rounded as i64).into());
    }
    Number::from_f64(rounded).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_become_the_numbers_that_they_say() {
        for (text, expected) in [
            ("2", json!(2)),
            ("0", json!(0)),
            ("-3", json!(-3)),
            ("+4", json!(4)),
            ("007", json!(7)),
            ("2.0", json!(2)),
            ("2.6", json!(3)),
            ("-2.5", json!(-3)),
            ("1.0e3", json!(1000)),
            ("99999999999999999999", json!(1e20)),
            ("1.0e999", json!("1.0e999")),
            ("1e3", json!("1e3")),
            ("", json!("")),
            (" 2", json!(" 2")),
            ("2 ", json!("2 ")),
            ("2.", json!("2.")),
            (".5", json!(".5")),
            ("0x2", json!("0x2")),
            ("1_000", json!("1_000")),
            ("abc", json!("abc")),
            ("true", json!("true")),
            ("Infinity", json!("Infinity")),
        ] {
            let mut value = json!(text);
            cast_value(&mut value, WantedType::Integer);
            assert_eq!(value, expected, "{text:?}");
        }
    }

    #[test]
    fn two_words_become_booleans_and_nothing_that_is_no_text_changes() {
        for (given, expected) in [
            (json!("true"), json!(true)),
            (json!("false"), json!(false)),
            (json!("True"), json!("True")),
            (json!("yes"), json!("yes")),
            (json!(" true"), json!(" true")),
            (json!(""), json!("")),
            (json!("1"), json!("1")),
            (json!(1), json!(1)),
            (json!(null), json!(null)),
            (json!([true]), json!([true])),
        ] {
            let mut value = given.clone();
            cast_value(&mut value, WantedType::Boolean);
            assert_eq!(value, expected, "{given}");
        }
    }

    #[test]
    fn only_the_named_fields_are_looked_at() {
        let Value::Object(mut document) = json!({"a": "1", "b": "1", "c": "true"}) else { unreachable!() };
        cast(
            &mut document,
            &[("a", WantedType::Integer), ("c", WantedType::Boolean), ("d", WantedType::Integer)],
        );
        assert_eq!(Value::Object(document), json!({"a": 1, "b": "1", "c": true}));
    }
}
