//! Which headers of its own a hook may add to its requests.

use std::collections::HashSet;
use std::fmt;

use reqwest::header::HeaderName;
use serde_json::Value;

use super::Document;

/// How many a hook may have.
pub const MOST: usize = 20;

/// Bytes of a name.
const NAME: usize = 128;

/// Bytes of a value.
const VALUE: usize = 4096;

/// Names that are ours, or belong to the connection and not to the request.
const DENIED: [&str; 20] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "metadata",
    "metadata-flavor",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-account-id",
    "x-google-metadata-request",
    "x-hook-id",
];

/// Likewise, by how they begin. Clouds open their metadata services to whoever sends the right header.
const DENIED_PREFIXES: [&str; 6] =
    ["proxy-", "webhook-", "x-aws-ec2-metadata", "x-forwarded-", "x-hub-signature", "x-real-"];

/// Headers with their values, names in lower case. A value may be somebody's password, so none is shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HookHeaders(Vec<(String, String)>);

/// What is wrong with one header, or with all of them where no name stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadHeader {
    /// Its name as it was written.
    pub name: Option<String>,
    /// Why, and what would be right.
    pub why: String,
}

impl HookHeaders {
    /// No headers.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads an object of texts.
    ///
    /// # Errors
    /// Everything that is wrong with it. The values are texts already where a document was validated.
    pub fn read(object: &Document) -> Result<Self, Vec<BadHeader>> {
        // First of all, as the rest is work for each of them.
        Self::count(object).map_err(|too_many| vec![too_many])?;
        let mut read: Vec<(String, String)> = Vec::with_capacity(object.len());
        let mut names = HashSet::with_capacity(object.len());
        let mut bad = Vec::new();
        for (name, value) in object {
            let checked = check_name(name).and_then(|lower| match value.as_str() {
                _ if !names.insert(lower.clone()) => {
                    Err("stands here twice, and the case of a header's name means nothing".to_owned())
                }
                Some(value) => check_value(value).map(|()| (lower, value.to_owned())),
                None => Err("must have a text as its value".to_owned()),
            });
            match checked {
                Ok(header) => read.push(header),
                Err(why) => bad.push(BadHeader { name: Some(name.clone()), why }),
            }
        }
        if bad.is_empty() { Ok(Self(read)) } else { Err(bad) }
    }

    /// Of an object that nobody has checked those entries that a hook may send, the first of them where there are too
    /// many.
    #[must_use]
    pub fn usable(object: &Document) -> Document {
        let mut names = std::collections::HashSet::new();
        let usable = object.iter().filter(|(name, value)| {
            let may_be_sent = check_name(name).is_ok_and(|lower| !names.contains(&lower))
                && value.as_str().is_some_and(|value| check_value(value).is_ok());
            may_be_sent && names.insert(name.to_ascii_lowercase())
        });
        usable.take(MOST).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Whether there are not too many.
    ///
    /// # Errors
    /// How many there may be.
    pub fn count(object: &Document) -> Result<(), BadHeader> {
        let count = object.len();
        if count <= MOST {
            return Ok(());
        }
        let why = format!("there may be at most {MOST} headers, not {count}");
        Err(BadHeader { name: None, why })
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for HookHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The name in lower case.
///
/// # Errors
/// Why a hook may not send it.
pub fn check_name(name: &str) -> Result<String, String> {
    let lower = legible(name)?;
    let denied =
        DENIED.contains(&lower.as_str()) || DENIED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if denied { Err("is not a hook's to set; choose another name".to_owned()) } else { Ok(lower) }
}

/// The header of a `legacy_signature`: `true` is the usual one, a text another.
///
/// # Errors
/// Why a signature cannot go there.
pub fn legacy(value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Bool(false) => Ok(None),
        Value::Bool(true) => Ok(Some(crate::model::sign::LEGACY_HEADER.to_owned())),
        Value::String(name) if name.to_ascii_lowercase().starts_with("x-hub-signature") => {
            legible(name).map(Some)
        }
        Value::String(name) => check_name(name).map(Some),
        _ => Err("must be true, false or the name of a header".to_owned()),
    }
}

/// What [`check_name`] lets through, as a regular expression (ECMA-262) for the API's description.
#[must_use]
pub fn name_pattern() -> String {
    let any_case = |name: &&str| {
        let letter = |letter: char| match letter {
            'a'..='z' => format!("[{}{letter}]", letter.to_ascii_uppercase()),
            other => other.to_string(),
        };
        name.chars().map(letter).collect::<String>()
    };
    let names = DENIED.iter().map(any_case).collect::<Vec<_>>().join("|");
    let beginnings = DENIED_PREFIXES.iter().map(any_case).collect::<Vec<_>>().join("|");
    format!("^(?!(?:{names})$|(?:{beginnings}))[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{NAME}}}$")
}

fn legible(name: &str) -> Result<String, String> {
    if name.len() > NAME {
        return Err(format!("is longer than {NAME} characters"));
    }
    let read = HeaderName::from_bytes(name.as_bytes());
    read.map(|name| name.as_str().to_owned())
        .map_err(|_| "is no header's name; use letters, digits and -".to_owned())
}

fn check_value(value: &str) -> Result<(), String> {
    if value.len() > VALUE {
        return Err(format!("has a value of more than {VALUE} bytes"));
    }
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Err("has a value with characters that are not visible ASCII, space or tab".to_owned());
    }
    if value.trim() != value {
        return Err("has a value that begins or ends with white space".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(object: Value) -> Result<HookHeaders, Vec<BadHeader>> {
        HookHeaders::read(object.as_object().unwrap())
    }

    #[test]
    fn ordinary_headers_are_taken_with_their_names_in_lower_case_and_their_values_hidden() {
        let headers =
            read(json!({"Authorization": "Bearer abc", "X-Tenant": "a\tb", "cookie": "", "x_y": "1"}));
        let headers = headers.unwrap();
        let expected = [("authorization", "Bearer abc"), ("x-tenant", "a\tb"), ("cookie", ""), ("x_y", "1")];
        assert_eq!(headers.iter().collect::<Vec<_>>(), expected);
        assert!(!format!("{headers:?}").contains("abc"));
    }

    #[test]
    fn what_is_ours_or_the_connections_is_refused_in_any_case() {
        for name in [
            "Host",
            "content-length",
            "Content-Type",
            "content-encoding",
            "X-Hook-ID",
            "x-account-id",
            "webhook-id",
            "Webhook-Signature",
            "webhook-anything",
            "User-Agent",
            "transfer-encoding",
            "Connection",
            "keep-alive",
            "TE",
            "trailer",
            "Upgrade",
            "proxy-authorization",
            "Proxy-Connection",
            "expect",
            "http2-settings",
            "x-hub-signature-256",
            "X-Forwarded-For",
            "forwarded",
            "via",
            "Metadata-Flavor",
            "x-aws-ec2-metadata-token",
            "x-real-ip",
        ] {
            let bad = read(json!({name: "v"})).unwrap_err();
            assert_eq!(bad[0].name.as_deref(), Some(name));
            assert!(bad[0].why.starts_with("is not a hook's to set"), "{name}: {}", bad[0]);
        }
    }

    #[test]
    fn names_and_values_that_would_break_the_request_are_refused() {
        let long = "v".repeat(VALUE + 1);
        for (name, value) in [
            ("", json!("v")),
            ("a b", json!("v")),
            ("a:b", json!("v")),
            (":authority", json!("v")),
            ("a\r\nb", json!("v")),
            ("ä", json!("v")),
            ("x-a", json!("v\r\nx-b: c")),
            ("x-a", json!("v\n")),
            ("x-a", json!("\u{0}")),
            ("x-a", json!("ü")),
            ("x-a", json!(" v")),
            ("x-a", json!("v ")),
            ("x-a", json!(1)),
            ("x-a", json!(null)),
            ("x-a", json!(long)),
        ] {
            assert_eq!(read(json!({name: value})).unwrap_err().len(), 1, "{name:?}: {value}");
        }
        assert_eq!(read(json!({"x-a": "1", "X-A": "2"})).unwrap_err()[0].name.as_deref(), Some("X-A"));
        let many: Document = (0..=MOST).map(|n| (format!("x-{n}"), json!("v"))).collect();
        assert_eq!(HookHeaders::read(&many).unwrap_err()[0].name, None);
    }

    #[test]
    fn the_older_signature_goes_to_the_usual_header_or_to_a_harmless_one() {
        for (value, expected) in [
            (json!(true), Ok(Some("x-hub-signature-256"))),
            (json!(false), Ok(None)),
            (json!("X-Acme-Signature"), Ok(Some("x-acme-signature"))),
            (json!("X-Hub-Signature-256"), Ok(Some("x-hub-signature-256"))),
            (json!("webhook-signature"), Err(())),
            (json!("host"), Err(())),
            (json!("a b"), Err(())),
            (json!(1), Err(())),
        ] {
            let read = legacy(&value).map_err(|_| ());
            assert_eq!(read, expected.map(|name| name.map(str::to_owned)), "{value}");
        }
    }
}
