//! What the bytes of a message become: the JSON text of an event, or the reason why they cannot. Pure.

use super::Refusal;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use std::io::Read;

mod term;

/// The longest event that is taken unless somebody says otherwise, in bytes: as long as a payload may be.
pub const DEFAULT_LIMIT: usize = 8 * 1024 * 1024;

/// The JSON text in a message, at most `limit` bytes of it; the text itself is not looked at.
///
/// A missing content type stands for JSON, parameters such as a charset are passed over. A gzip body is
/// unpacked only up to the limit, so that a small message cannot fill the memory. A message without anything
/// to do is handed back without a copy.
pub fn decode(
    content_type: Option<&str>,
    content_encoding: Option<&str>,
    body: Bytes,
    limit: usize,
) -> Result<Bytes, Refusal> {
    let form = form(content_type)?;
    let plain = if is_gzip(content_encoding)? { unpack(&body, limit)? } else { body };
    if plain.len() > limit {
        return Err(Refusal::TooLarge { limit });
    }
    match form {
        ContentForm::Json => Ok(plain),
        ContentForm::Term => term::to_json(&plain, limit).map(Bytes::from),
    }
}

enum ContentForm {
    Json,
    Term,
}

fn form(content_type: Option<&str>) -> Result<ContentForm, Refusal> {
    let given = content_type.unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.is_empty() || essence.eq_ignore_ascii_case("application/json") {
        Ok(ContentForm::Json)
    } else if essence.eq_ignore_ascii_case("application/erlang") {
        Ok(ContentForm::Term)
    } else {
        Err(Refusal::ContentType(given.to_owned()))
    }
}

/// Some AMQP clients put the charset where the content encoding belongs, so UTF-8 counts as none.
fn is_gzip(content_encoding: Option<&str>) -> Result<bool, Refusal> {
    let given = content_encoding.unwrap_or_default().trim();
    match given.to_ascii_lowercase().as_str() {
        "" | "identity" | "utf-8" | "utf8" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        _ => Err(Refusal::ContentEncoding(given.to_owned())),
    }
}

fn unpack(packed: &[u8], limit: usize) -> Result<Bytes, Refusal> {
    let mut plain = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed)
        .take(most)
        .read_to_end(&mut plain)
        .map_err(|error| Refusal::Gzip(error.to_string()))?;
    if plain.len() > limit {
        return Err(Refusal::TooLarge { limit });
    }
    Ok(Bytes::from(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn check(
        content_type: Option<&str>,
        encoding: Option<&str>,
        body: impl Into<Vec<u8>>,
        expected: Result<&str, &str>,
    ) {
        let found = decode(content_type, encoding, Bytes::from(body.into()), 64);
        let found = found.map(|json| String::from_utf8(json.to_vec()).unwrap()).map_err(|e| e.to_string());
        match (&found, expected) {
            (Ok(json), Ok(expected)) => assert_eq!(json, expected),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason:?} lacks {part:?}"),
            _ => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn json_is_handed_on_as_it_is() {
        check(Some("application/json"), None, "{}", Ok("{}"));
        check(Some("application/json; charset=utf-8"), None, "{}", Ok("{}"));
        check(Some(" Application/JSON "), Some("identity"), "{}", Ok("{}"));
        check(Some("application/json"), Some("utf-8"), "{}", Ok("{}"));
        check(None, None, "{}", Ok("{}"));
        check(Some(""), Some(""), "{}", Ok("{}"));
    }

    #[test]
    fn gzip_is_unpacked() {
        check(Some("application/json"), Some("gzip"), gzip(b"{\"a\":1}"), Ok("{\"a\":1}"));
        check(None, Some("GZIP"), gzip(b"{}"), Ok("{}"));
    }

    #[test]
    fn an_erlang_term_becomes_json() {
        let term = [131, 104, 1, 106];
        check(Some("application/erlang"), None, term, Ok("{}"));
        check(Some("application/erlang"), Some("gzip"), gzip(&term), Ok("{}"));
    }

    #[test]
    fn anything_else_is_refused_by_its_name() {
        check(Some("text/plain"), None, "x", Err("\"text/plain\""));
        check(None, Some("br"), "x", Err("\"br\""));
        check(None, Some("gzip"), "{}", Err("not gzip"));
        check(None, Some("gzip"), &gzip(b"{\"a\":1}")[..12], Err("not gzip"));
        check(Some("application/erlang"), None, "{}", Err("erlang term"));
    }

    #[test]
    fn a_bomb_is_refused() {
        check(None, None, vec![b' '; 65], Err("larger than 64 bytes"));
        check(None, Some("gzip"), gzip(&[b' '; 65]), Err("larger than 64 bytes"));
        check(None, Some("gzip"), gzip(&vec![0; 32 << 20]), Err("larger than 64 bytes"));
        check(None, Some("gzip"), gzip(&[b'1'; 64]), Ok("1".repeat(64).as_str()));
    }

    /// The first byte says what the message claims to be, the rest is its body.
    #[test]
    fn fuzz_amqp_body() {
        const LIMIT: usize = 64 * 1024;
        fuzz::target("amqp_body", |bytes| {
            let Some((claim, body)) = bytes.split_first() else { return Ok(()) };
            let kind = if claim & 1 == 0 { "application/json" } else { "application/erlang" };
            let encoding = (claim & 2 != 0).then_some("gzip");
            let decoded = decode(Some(kind), encoding, Bytes::copy_from_slice(body), LIMIT);
            // What is decoded at once with a smaller limit is the same, or is decoded again with the larger one.
            let small = decode(Some(kind), encoding, Bytes::copy_from_slice(body), LIMIT / 64);
            let alike = small == decoded || matches!(small, Err(Refusal::TooLarge { .. }));
            fuzz::ensure(alike, || format!("{small:?} with a smaller limit, {decoded:?} with the larger"))?;
            match decoded {
                Ok(text) => {
                    fuzz::ensure(text.len() <= LIMIT, || format!("{} bytes beyond the limit", text.len()))?;
                    let json = serde_json::from_slice::<&serde_json::value::RawValue>(&text);
                    fuzz::ensure(claim & 1 == 0 || json.is_ok(), || format!("a term became {json:?}"))
                }
                Err(_) => Ok(()),
            }
        });
    }

    /// Content type and content encoding, a line each.
    #[test]
    fn fuzz_amqp_headers() {
        fuzz::target("amqp_headers", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let (kind, encoding) = text.split_once('\n').unwrap_or((&text, ""));
            let body = Bytes::from_static(b"{}");
            match decode(Some(kind), Some(encoding), body.clone(), 100) {
                Ok(decoded) => fuzz::ensure(decoded == body, || format!("another body: {decoded:?}")),
                Err(refusal) => fuzz::ensure(!refusal.to_string().is_empty(), || "no reason".to_owned()),
            }
        });
    }

    proptest! {
        #[test]
        fn no_message_of_a_stranger_panics(
            content_type in prop::option::of(prop::sample::select(vec!["application/json", "application/erlang", "x/y"])),
            encoding in prop::option::of(prop::sample::select(vec!["gzip", "", "zip"])),
            body: Vec<u8>,
            packed: bool,
        ) {
            let body = if packed { gzip(&body) } else { body };
            if let Ok(json) = decode(content_type, encoding, Bytes::from(body), 256) {
                prop_assert!(json.len() <= 256);
            }
        }
    }
}
