//! Terms by example, and by round trip of what a writer of the format would produce.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend(u32::try_from(length).unwrap().to_be_bytes());
}

fn put_binary(out: &mut Vec<u8>, text: &str) {
    out.push(BINARY);
    put_length(out, text.len());
    out.extend(text.as_bytes());
}

fn put_atom(out: &mut Vec<u8>, name: &str) {
    out.extend([SMALL_ATOM_UTF8, u8::try_from(name.len()).unwrap()]);
    out.extend(name.as_bytes());
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => put_atom(out, "null"),
        Value::Bool(flag) => put_atom(out, if *flag { "true" } else { "false" }),
        Value::Number(number) if number.is_f64() => {
            out.push(NEW_FLOAT);
            out.extend(number.as_f64().unwrap().to_be_bytes());
        }
        Value::Number(number) => match number.as_i64().and_then(|n| i32::try_from(n).ok()) {
            Some(small) if (0..256).contains(&small) => {
                out.extend([SMALL_INTEGER, u8::try_from(small).unwrap()]);
            }
            Some(middle) => {
                out.push(INTEGER);
                out.extend(middle.to_be_bytes());
            }
            None => {
                let negative = number.as_i64().is_some_and(|n| n < 0);
                let size = number.as_u64().unwrap_or_else(|| number.as_i64().unwrap().unsigned_abs());
                out.extend([SMALL_BIG, 8, u8::from(negative)]);
                out.extend(size.to_le_bytes());
            }
        },
        Value::String(text) => put_binary(out, text),
        Value::Array(items) if items.is_empty() => out.push(NIL),
        Value::Array(items) => {
            out.push(LIST);
            put_length(out, items.len());
            items.iter().for_each(|item| put(out, item));
            out.push(NIL);
        }
        Value::Object(members) => {
            out.extend([SMALL_TUPLE, 1]);
            if !members.is_empty() {
                out.push(LIST);
                put_length(out, members.len());
                for (key, value) in members {
                    out.extend([SMALL_TUPLE, 2]);
                    put_binary(out, key);
                    put(out, value);
                }
            }
            out.push(NIL);
        }
    }
}

fn term_of(value: &Value) -> Vec<u8> {
    let mut out = vec![VERSION];
    put(&mut out, value);
    out
}

#[track_caller]
fn check(term: &[u8], expected: Result<&str, &str>) {
    let found = to_json(&[&[VERSION], term].concat(), 1000);
    let found = found.map(|json| String::from_utf8(json).unwrap()).map_err(|reason| reason.to_string());
    match (&found, expected) {
        (Ok(json), Ok(expected)) => assert_eq!(json, expected),
        (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason:?} lacks {part:?}"),
        _ => panic!("{found:?} instead of {expected:?}"),
    }
}

#[test]
fn simple_terms() {
    check(&[SMALL_INTEGER, 200], Ok("200"));
    check(&[INTEGER, 255, 255, 255, 255], Ok("-1"));
    check(&[SMALL_BIG, 1, 1, 5], Ok("-5"));
    check(&[SMALL_BIG, 0, 1], Ok("0"));
    check(&[SMALL_BIG, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], Ok("18446744073709551616"));
    check(&[LARGE_BIG, 0, 0, 0, 2, 0, 0, 1], Ok("256"));
    check(&[STRING, 0, 2, 1, 255], Ok("[1,255]"));
    check(&[NIL], Ok("[]"));
    check(&[ATOM, 0, 4, b't', b'r', b'u', b'e'], Ok("true"));
    check(&[NEW_FLOAT, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], Ok("1.5"));
    let mut old = vec![FLOAT];
    old.extend(b"1.50000000000000000000e+00");
    old.resize(32, 0);
    check(&old, Ok("1.5"));
    check(&[BINARY, 0, 0, 0, 3, b'"', b'\n', b'x'], Ok(r#""\"\nx""#));
}

#[test]
fn undefined_is_absent_in_an_object_and_null_elsewhere() {
    let mut members = vec![SMALL_TUPLE, 1, LIST, 0, 0, 0, 3];
    for (key, atom) in [("a", "undefined"), ("b", "null"), ("c", "undefined")] {
        members.extend([SMALL_TUPLE, 2]);
        put_binary(&mut members, key);
        put_atom(&mut members, atom);
    }
    members.push(NIL);
    check(&members, Ok(r#"{"b":null}"#));

    let mut list = vec![LIST, 0, 0, 0, 1];
    put_atom(&mut list, "undefined");
    list.push(NIL);
    check(&list, Ok("[null]"));
}

#[test]
fn a_key_may_be_an_atom() {
    let mut object = vec![SMALL_TUPLE, 1, LIST, 0, 0, 0, 1, SMALL_TUPLE, 2];
    put_atom(&mut object, "key");
    object.extend([SMALL_INTEGER, 1, NIL]);
    check(&object, Ok(r#"{"key":1}"#));
}

#[test]
fn what_stands_for_nothing_is_refused_by_name() {
    check(&[], Err("ends too early"));
    check(&[SMALL_TUPLE, 2, NIL, NIL], Err("tuple of 2"));
    check(&[SMALL_TUPLE, 1, SMALL_INTEGER, 1], Err("tag 97"));
    check(&[SMALL_TUPLE, 1, LIST, 0, 0, 0, 1, NIL, NIL], Err("not a pair"));
    check(&[103, 1, 2, 3], Err("tag 103"));
    check(&[COMPRESSED, 0], Err("compressed"));
    check(&[SMALL_ATOM_UTF8, 2, b'o', b'k'], Err("\"ok\""));
    check(&[BINARY, 0, 0, 0, 1, 0xff], Err("utf-8"));
    check(&[BINARY, 255, 255, 255, 255, 0], Err("ends too early"));
    check(&[LIST, 255, 255, 255, 255], Err("ends too early"));
    check(&[LIST, 0, 0, 0, 1, NIL, SMALL_INTEGER, 1], Err("a tail"));
    check(&[LARGE_BIG, 0, 1, 0, 0, 0], Err("65536 bytes"));
    check(&[NEW_FLOAT, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0], Err("not finite"));
    check(&[NIL, NIL], Err("1 bytes follow"));
    assert!(to_json(b"{}", 10).unwrap_err().to_string().contains("byte 123"));
}

#[test]
fn depth_and_length_are_bounded() {
    let deep: Vec<u8> = [LIST, 0, 0, 0, 1].repeat(100_000);
    check(&deep, Err("nested deeper"));
    let text = "\u{1}".repeat(200);
    let mut long = Vec::new();
    put_binary(&mut long, &text);
    check(&long, Err("larger than 1000 bytes"));
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn what_a_writer_writes_comes_back(value in json_values()) {
        let json = to_json(&term_of(&value), 1 << 20).unwrap();
        // As text, since serde_json's reader may round a float to its neighbour.
        prop_assert_eq!(String::from_utf8(json).unwrap(), value.to_string());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        drop(to_json(&bytes, 512));
        drop(to_json(&[&[VERSION], bytes.as_slice()].concat(), 512));
    }

    #[test]
    fn a_damaged_term_never_panics_and_never_yields_bad_json(
        value in json_values(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let mut term = term_of(&value);
        let at = at.index(term.len());
        term[at] = byte;
        term.truncate(cut.index(term.len() + 1));
        if let Ok(json) = to_json(&term, 1 << 20) {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&json).is_ok());
        }
    }
}

#[test]
fn an_event_as_the_original_writes_it() {
    let event = json!({"Event-Name": "CHANNEL_CREATE", "Custom-Channel-Vars": {"Account-ID": "a"}, "Timestamp": 63867219200_u64});
    let json = to_json(&term_of(&event), 1000).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), event);
}
