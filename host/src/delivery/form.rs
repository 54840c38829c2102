//! How an object becomes `key=value` pairs, for form bodies and for the query of a `get`.
//!
//! Both profiles write nested objects as `k[sub]=…` and arrays as `k[]=…`, pairs in the order of the
//! object, joined by `&`; in values `A–Z a–z 0–9 - . _ ~` stand for themselves, a space is `+`, and every
//! other byte is `%XX`. They differ in the corners:
//!
//! | | `kazoo` (to the byte, `kz_http_util:json_to_querystring/1`) | `standard` |
//! |---|---|---|
//! | keys and brackets | as they are | escaped like values |
//! | `null` in an object | left out (the original crashes and sends nothing) | `k=` |
//! | `null` in an array | `k[]=null` | `k[]=` |
//! | empty object or array | nothing between two `&` | left out |
//! | object in an array | its JSON text, escaped | the same |
//! | array in an array | its strings joined, small numbers taken for bytes | its JSON text, escaped |
//! | floats | shortest digits, `1.0e+6` | as they came |
//! | repeated key | the first value again | each its own value |
//!
//! What the original cannot join in an array in an array (words, objects, numbers above 255) is put in as
//! its JSON text.

use std::collections::HashMap;

use super::json::{self, JsonStyle};
use crate::model::Profile;
use crate::model::payload::{elements, members};

/// The pairs would have more bytes than they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form is longer than it may be")]
pub struct FormTooLong;

/// Writes the pairs of these members; the keys are plain text, the values JSON text that was checked before.
///
/// # Errors
/// `out` would have more than `most` bytes. Each pair repeats the names that it is nested in, so the length is not
/// bounded by that of the members.
pub fn write_form<'a>(
    members: impl IntoIterator<Item = (&'a str, &'a str)>,
    profile: Profile,
    most: usize,
    out: &mut Vec<u8>,
) -> Result<(), FormTooLong> {
    let members: Vec<_> = members.into_iter().collect();
    let mut form = FormWriter { profile, first: true, most, out };
    form.object(&members, &mut Vec::new())
}

struct FormWriter<'o> {
    profile: Profile,
    /// Nothing was written yet, so the next segment needs no `&`.
    first: bool,
    /// Bytes that `out` may have.
    most: usize,
    out: &'o mut Vec<u8>,
}

impl FormWriter<'_> {
    /// `path` is the key so far, as it will be written; empty at the top.
    fn object(&mut self, members: &[(&str, &str)], path: &mut Vec<u8>) -> Result<(), FormTooLong> {
        let firsts = (self.profile == Profile::Kazoo).then(|| repeated(members)).flatten();
        let mut silent = true;
        for &(key, raw) in members {
            let raw = firsts.as_ref().and_then(|firsts| firsts.get(key).copied()).unwrap_or(raw);
            if raw == "null" && self.profile == Profile::Kazoo {
                continue;
            }
            silent = false;
            let before = path.len();
            self.extend(path, key);
            self.member(raw, path)?;
            path.truncate(before);
        }
        if silent && !path.is_empty() {
            self.empty();
        }
        Ok(())
    }

    fn member(&mut self, raw: &str, path: &mut Vec<u8>) -> Result<(), FormTooLong> {
        match raw.as_bytes().first() {
            Some(b'{') => {
                let nested = members(raw);
                let nested: Vec<_> = nested.iter().map(|(key, raw)| (&**key, *raw)).collect();
                self.object(&nested, path)
            }
            Some(b'[') => self.array(raw, path),
            Some(b'n') => self.pair(path, b""), // only in profile standard
            _ => {
                let text = self.scalar(raw);
                self.pair(path, &text)
            }
        }
    }

    fn array(&mut self, raw: &str, path: &mut Vec<u8>) -> Result<(), FormTooLong> {
        let elements = elements(raw);
        if elements.is_empty() {
            self.empty();
            return Ok(());
        }
        let before = path.len();
        self.extend(path, "");
        for raw in elements {
            let text = match (raw.as_bytes().first(), self.profile) {
                (Some(b'{'), _) | (Some(b'['), Profile::Standard) => self.json(raw),
                (Some(b'['), Profile::Kazoo) => {
                    let mut joined = Vec::new();
                    self.join(raw, &mut joined);
                    joined
                }
                (Some(b'n'), Profile::Standard) => Vec::new(),
                _ => self.scalar(raw),
            };
            self.pair(path, &text)?;
        }
        path.truncate(before);
        Ok(())
    }

    /// An array in an array, as Erlang flattens it into bytes.
    fn join(&self, raw: &str, joined: &mut Vec<u8>) {
        for raw in elements(raw) {
            match raw.as_bytes().first() {
                Some(b'"') => joined.extend_from_slice(json::unquote(raw).as_bytes()),
                Some(b'[') => self.join(raw, joined),
                _ => match raw.parse::<u8>() {
                    Ok(byte) => joined.push(byte),
                    Err(_) => joined.extend_from_slice(&self.json(raw)),
                },
            }
        }
    }

    fn json(&self, raw: &str) -> Vec<u8> {
        let style = if self.profile == Profile::Kazoo { JsonStyle::KazooCompact } else { JsonStyle::Compact };
        let mut text = Vec::new();
        json::write_value(raw, 0, style, &mut text);
        text
    }

    fn scalar(&self, raw: &str) -> Vec<u8> {
        if raw.starts_with('"') {
            return json::unquote(raw).into_owned().into_bytes();
        }
        match json::float(raw) {
            Some(number) if self.profile == Profile::Kazoo => spell_float(number).into_bytes(),
            _ => raw.as_bytes().to_vec(),
        }
    }

    fn extend(&self, path: &mut Vec<u8>, key: &str) {
        let top = path.is_empty();
        match self.profile {
            Profile::Kazoo if top => path.extend_from_slice(key.as_bytes()),
            Profile::Kazoo => {
                path.push(b'[');
                path.extend_from_slice(key.as_bytes());
                path.push(b']');
            }
            Profile::Standard if top => escape(key.as_bytes(), path),
            Profile::Standard => {
                path.extend_from_slice(b"%5B");
                escape(key.as_bytes(), path);
                path.extend_from_slice(b"%5D");
            }
        }
    }

    fn pair(&mut self, path: &[u8], text: &[u8]) -> Result<(), FormTooLong> {
        if self.out.len() + path.len() + text.len() > self.most {
            return Err(FormTooLong);
        }
        self.separate();
        self.out.extend_from_slice(path);
        self.out.push(b'=');
        escape(text, self.out);
        Ok(())
    }

    fn empty(&mut self) {
        if self.profile == Profile::Kazoo {
            self.separate();
        }
    }

    fn separate(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b'&');
        }
    }
}

/// The first value of each key, when a key is there twice.
fn repeated<'a>(members: &[(&'a str, &'a str)]) -> Option<HashMap<&'a str, &'a str>> {
    // Payloads are small and repeat nothing: a look at the neighbours is cheaper than a map. The map is for
    // the large ones, so that a stranger's payload cannot make this quadratic.
    let few = members.len() <= 64;
    let seen = |at: usize| members[..at].iter().any(|(key, _)| *key == members[at].0);
    if few && !(1..members.len()).any(seen) {
        return None;
    }
    let mut firsts = HashMap::with_capacity(members.len());
    for (key, raw) in members {
        firsts.entry(*key).or_insert(*raw);
    }
    (firsts.len() < members.len()).then_some(firsts)
}

/// Escapes the bytes of a value.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => {
                let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
                out.extend_from_slice(&[b'%', high, low]);
            }
        }
    }
}

/// As mochinum spells floats, which the original's form encoder uses: plain where at most five zeros must be
/// added, else `D.De+N`.
fn spell_float(number: f64) -> String {
    if number == 0.0 {
        return "0.0".to_owned();
    }
    let sign = if number < 0.0 { "-" } else { "" };
    let (digits, point) = json::digits(number);
    let missing = point - digits.len() as i32;
    match point {
        1.. if missing < 0 => {
            let (whole, fraction) = digits.split_at(point as usize);
            format!("{sign}{whole}.{fraction}")
        }
        1.. if missing < 6 => format!("{sign}{digits}{}.0", "0".repeat(missing as usize)),
        -5..=0 => format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        _ => {
            let (first, rest) = digits.split_at(1);
            let rest = if rest.is_empty() { "0" } else { rest };
            format!("{sign}{first}.{rest}e{:+}", point - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::model::payload::Payload;

    #[track_caller]
    fn check(payload: &str, profile: Profile, expected: &str) {
        let payload = Payload::parse(Bytes::copy_from_slice(payload.as_bytes())).unwrap();
        let mut out = Vec::new();
        write_form(payload.fields(), profile, usize::MAX, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn null_is_left_out_where_the_original_crashes() {
        check(r#"{"a":null,"b":1,"c":null}"#, Profile::Kazoo, "b=1");
        check(r#"{"o":{"a":null},"b":1}"#, Profile::Kazoo, "&b=1");
        check(r#"{"o":{"a":null,"c":2},"b":1}"#, Profile::Kazoo, "o[c]=2&b=1");
    }

    #[test]
    fn what_the_original_cannot_join_is_put_in_as_json() {
        check(r#"{"a":[[1000]]}"#, Profile::Kazoo, "a[]=1000");
        check(r#"{"a":[[true,"x",[200],{"k" : 1}]]}"#, Profile::Kazoo, "a[]=truex%C8%7B%22k%22%3A1%7D");
    }

    #[test]
    fn the_standard_profile_escapes_keys_and_leaves_nothing_empty() {
        check(
            r#"{"a b":"x y","o":{"k&":{"l":"é"}},"e":[],"f":{},"n":null,"l":[1.50,null,{"z": 1},[2, 3]],"a b":"2"}"#,
            Profile::Standard,
            "a+b=x+y&o%5Bk%26%5D%5Bl%5D=%C3%A9&n=&l%5B%5D=1.50&l%5B%5D=&l%5B%5D=%7B%22z%22%3A1%7D\
             &l%5B%5D=%5B2%2C3%5D&a+b=2",
        );
    }

    #[test]
    fn many_members_repeat_their_first_value_too() {
        let members: Vec<String> = (0..70).map(|n| format!("\"k{n}\":{n}")).collect();
        let payload = format!("{{{},\"k0\":99}}", members.join(","));
        let mut expected: Vec<String> = (0..70).map(|n| format!("k{n}={n}")).collect();
        expected.push("k0=0".to_owned());
        check(&payload, Profile::Kazoo, &expected.join("&"));
    }

    proptest! {
        #[test]
        fn a_float_is_spelled_so_that_it_reads_back(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            prop_assert_eq!(spell_float(number).parse::<f64>(), Ok(number));
        }
    }
}
