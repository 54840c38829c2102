//! Normalisation against the recorded cases, and what they cannot say.

use plugin_api::serde_json::{Value as Json, json};

use super::*;
use crate::vectors::{self, Case};

const FILE: &str = "e_normalize.jsonl";

fn normalised(raw: &str) -> Result<String, String> {
    super::json(raw, 0).map_err(|error| error.text().to_owned())
}

fn ours(case: &Case) -> Result<Json, String> {
    let mut input = case.input["jobj"].clone();
    for path in case.input["remove_keys"].as_array().into_iter().flatten() {
        // Taking away is the caller's in this project; a path stands for a member inside a member.
        match path {
            Json::String(name) => input.as_object_mut().unwrap().shift_remove(name),
            path => {
                let name = path[1].as_str().unwrap();
                input[path[0].as_str().unwrap()].as_object_mut().unwrap().shift_remove(name)
            }
        };
    }
    Ok(serde_json::from_str(&normalised(&input.to_string())?).unwrap())
}

const BROKEN_NAME: &str = "the original's name is not UTF-8";
const NO_JSON: &str = "not JSON";

const OTHERWISE: &[(&str, &str)] = &[
    ("key é small", BROKEN_NAME),
    ("key É", BROKEN_NAME),
    ("key Ž", BROKEN_NAME),
    ("key Ünï-Code", BROKEN_NAME),
    ("key cyrillic upper", BROKEN_NAME),
    ("key cyrillic lower", BROKEN_NAME),
    ("key greek", BROKEN_NAME),
    ("key byte Þ", NO_JSON),
    ("key byte ß", NO_JSON),
    ("value undefined", NO_JSON),
    ("nested undefined", NO_JSON),
    ("value latin1 bytes become utf8", NO_JSON),
    ("value broken utf8 stays", NO_JSON),
    ("value latin1 in list", NO_JSON),
    ("value latin1 nested", NO_JSON),
    ("value mixed latin1 and utf8", NO_JSON),
    ("key not binary: atom key", NO_JSON),
    ("duplicate keys", "written with a marker; a test below has it"),
    ("not an object: list", "the original crashes; events and Data are checked to be objects before"),
    ("not an object: string", "the original crashes; events and Data are checked to be objects before"),
];

#[test]
fn objects_are_normalised_as_by_the_original() {
    vectors::check(FILE, "normalize", OTHERWISE, ours, |case, answer| {
        if OTHERWISE.contains(&(case.name.as_str(), BROKEN_NAME)) {
            let name = case.input["jobj"].as_object().unwrap().keys().next().unwrap();
            let ascii_only = name.replace('-', "_").to_ascii_lowercase();
            assert_eq!(answer.unwrap()[&ascii_only], 1, "{}", case.name);
        }
    });
    vectors::check(FILE, "normalize_jobj", &[], ours, |_, _| {});
    vectors::check(FILE, "normalize_jobj_remove", &[], ours, |_, _| {});
}

#[test]
fn names_are_normalised_as_by_the_original() {
    let otherwise = [("normalize_key 'ÀÉ'", BROKEN_NAME)];
    let ours = |case: &Case| Ok(Json::from(key(case.input["key"].as_str().unwrap())));
    vectors::check(FILE, "normalize_key", &otherwise, ours, |_, answer| assert_eq!(answer.unwrap(), "ÀÉ"));
}

#[test]
fn a_shifted_byte_never_makes_text() {
    // Why the original's names beyond ASCII are not reproduced: of all letters none survives the shift.
    let shifted = |byte: u8| {
        if (0xc0..=0xde).contains(&byte) && byte != 0xd7 { byte + 32 } else { byte }
    };
    for letter in ('\u{80}'..=char::MAX).filter(|c| c.len_utf8() == 2) {
        let bytes: Vec<u8> = format!("a{letter}b{letter}").bytes().map(shifted).collect();
        // Their first bytes are D7 and DF, which the original leaves alone.
        let unchanged = matches!(u32::from(letter), 0x5c0..=0x5ff | 0x7c0..=0x7ff);
        assert_eq!(String::from_utf8(bytes).is_ok(), unchanged, "{letter:?}");
    }
}

#[test]
fn values_keep_their_json_text() {
    let raw = r#"{"A-B": 10000000000000000000000000, "C": 1.50, "D": "\u00e9", "E": [1e400, {"F-G": -0}]}"#;
    let expected = r#"{"a_b":10000000000000000000000000,"c":1.50,"d":"\u00e9","e":[1e400,{"f_g":-0}]}"#;
    assert_eq!(normalised(raw).as_deref(), Ok(expected));
}

#[test]
fn a_repeated_name_has_its_last_value_in_its_first_place() {
    assert_eq!(normalised(r#"{"A":1,"B":2,"A":3}"#).as_deref(), Ok(r#"{"a":3,"b":2}"#));
    assert_eq!(normalised(r#"{"A":1,"b":2,"a":null}"#).as_deref(), Ok(r#"{"a":1,"b":2}"#));
}

#[test]
fn nesting_has_an_end() {
    let lists = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let limit = MAX_DEPTH as usize;
    assert!(normalised(&lists(limit)).is_ok());
    assert_eq!(normalised(&lists(limit + 1)).unwrap_err(), "is nested deeper than 64 levels");
    assert!(normalised(&lists(100_000)).is_err());
    let objects = format!("{}1{}", "{\"A\":".repeat(100), "}".repeat(100));
    assert_eq!(normalised(&objects).unwrap_err(), "is nested deeper than 64 levels");
}

#[test]
fn a_set_field_takes_its_place() {
    let mut fields = Fields::new();
    fields.set_str("a", "1");
    fields.set_str("b", "x\"y");
    fields.set_str("a", "2");
    assert_eq!(fields.get("b"), Some(r#""x\"y""#));
    let payload: Json = serde_json::from_slice(fields.payload().as_bytes()).unwrap();
    assert_eq!(payload.to_string(), json!({"a": "2", "b": "x\"y"}).to_string());
}
