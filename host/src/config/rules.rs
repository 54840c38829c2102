//! What a right value is: one pure rule per kind of setting.
//!
//! A rule answers the parsed value, or why it is wrong and what would be right.

use std::net::SocketAddr;
use std::path::PathBuf;

use config::{Value, ValueKind};
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::errors::SettingProblem;
use super::layers::SettingOrigins;
use crate::model::rate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// More threads of one kind help nowhere.
pub(super) const MOST_SHARDS: usize = 64;

/// Why a value is wrong; what would be right.
pub(super) type WrongValue = String;

/// Applies rules and gathers what they find.
pub(super) struct SettingsReader<'a> {
    origins: &'a SettingOrigins,
    problems: Vec<SettingProblem>,
}

impl<'a> SettingsReader<'a> {
    pub(super) fn new(origins: &'a SettingOrigins) -> Self {
        Self { origins, problems: Vec::new() }
    }

    /// The setting's value; `None` after noting why there is none.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        rule: impl FnOnce(&ValueKind) -> Result<T, WrongValue>,
    ) -> Option<T> {
        let Some(setting) = self.origins.get(key) else {
            self.problems.push(SettingProblem::unreadable(key, "has no default"));
            return None;
        };
        match rule(&setting.kind) {
            Ok(value) => Some(value),
            Err(why) => {
                self.problems.push(SettingProblem::wrong(key, &setting.kind, &setting.origin, &why));
                None
            }
        }
    }

    pub(super) fn into_problems(self) -> Vec<SettingProblem> {
        self.problems
    }
}

pub(super) fn string(kind: &ValueKind) -> Result<&str, WrongValue> {
    match kind {
        ValueKind::String(text) => Ok(text),
        _ => Err("is not text; write it in quotes".to_owned()),
    }
}

fn array(kind: &ValueKind) -> Result<&[Value], WrongValue> {
    match kind {
        ValueKind::Array(items) => Ok(items),
        _ => Err("is not a list; write it in brackets, [..]".to_owned()),
    }
}

/// A whole number from `least` to `most`.
pub(super) fn number<T: TryFrom<i64> + PartialOrd + std::fmt::Display>(
    kind: &ValueKind,
    least: T,
    most: T,
) -> Result<T, WrongValue> {
    let right = format!("write a whole number from {least} to {most}");
    let ValueKind::I64(number) = kind else {
        return Err(format!("is not a whole number; {right}"));
    };
    match T::try_from(*number) {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!("is out of range; {right}")),
    }
}

/// A part of the whole, from 0 to 1.
pub(super) fn ratio(kind: &ValueKind) -> Result<f64, WrongValue> {
    let right = "write a number from 0.0 to 1.0";
    let ratio = match kind {
        ValueKind::Float(ratio) => *ratio,
        ValueKind::I64(0) => 0.0,
        ValueKind::I64(1) => 1.0,
        ValueKind::I64(_) => return Err(format!("is out of range; {right}")),
        _ => return Err(format!("is not a number; {right}")),
    };
    match (0.0..=1.0).contains(&ratio) {
        true => Ok(ratio),
        false => Err(format!("is out of range; {right}")),
    }
}

/// Bytes; at most 1 GiB, since all of it may be in memory at once.
pub(super) fn size(kind: &ValueKind, least: usize) -> Result<usize, WrongValue> {
    number(kind, least, 1 << 30)
}

/// A duration in milliseconds, from one to a year.
pub(super) fn milliseconds(kind: &ValueKind) -> Result<u64, WrongValue> {
    number(kind, 1, 31_536_000_000).map_err(|why| format!("{why} (milliseconds)"))
}

/// A duration in milliseconds, from none at all to a year.
pub(super) fn milliseconds_or_none(kind: &ValueKind) -> Result<u64, WrongValue> {
    number(kind, 0, 31_536_000_000).map_err(|why| format!("{why} (milliseconds)"))
}

/// The time in which a rate limit counts.
pub(super) fn rate_period(kind: &ValueKind) -> Result<u64, WrongValue> {
    number(kind, *rate::PERIOD_MS.start(), *rate::PERIOD_MS.end())
        .map_err(|why| format!("{why} (milliseconds)"))
}

pub(super) fn schedule(kind: &ValueKind) -> Result<Vec<u64>, WrongValue> {
    let waits = array(kind)?;
    if waits.is_empty() {
        return Err("is empty; write at least one wait in milliseconds".to_owned());
    }
    waits.iter().map(|wait| each(wait, milliseconds)).collect()
}

/// `true` or `false`.
pub(super) fn truth(kind: &ValueKind) -> Result<bool, WrongValue> {
    match kind {
        ValueKind::Boolean(truth) => Ok(*truth),
        _ => Err("is neither true nor false; write one of them, without quotes".to_owned()),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(kind: &ValueKind, words: &[(&str, T)]) -> Result<T, WrongValue> {
    let found = string(kind).ok().and_then(|text| words.iter().find(|(word, _)| *word == text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("is not one of the choices; write {}", words.join(" or "))
    })
}

/// The address of a database server, or nothing.
pub(super) fn server_address(kind: &ValueKind) -> Result<Option<String>, WrongValue> {
    web_address(kind).map(|url| url.map(String::from))
}

/// Text of 1 to `most` bytes.
pub(super) fn text(kind: &ValueKind, most: usize) -> Result<String, WrongValue> {
    match string(kind)? {
        "" => Err("is empty; write a name".to_owned()),
        long if long.len() > most => Err(format!("is too long; write at most {most} bytes")),
        text => Ok(text.to_owned()),
    }
}

/// Text, where the empty one means that nothing is set.
pub(super) fn optional_text(kind: &ValueKind) -> Result<Option<String>, WrongValue> {
    string(kind).map(|text| (!text.is_empty()).then(|| text.to_owned()))
}

/// A list of texts.
pub(super) fn texts(kind: &ValueKind) -> Result<Vec<String>, WrongValue> {
    array(kind)?.iter().map(|item| each(item, |kind| string(kind).map(str::to_owned))).collect()
}

/// The path of a folder.
pub(super) fn folder(kind: &ValueKind) -> Result<PathBuf, WrongValue> {
    match string(kind)? {
        "" => Err("is empty; write the path of a folder".to_owned()),
        path => Ok(PathBuf::from(path)),
    }
}

/// An address and a port.
pub(super) fn socket(kind: &ValueKind) -> Result<SocketAddr, WrongValue> {
    let right = "write one such as 127.0.0.1:8000 or [::]:8000";
    string(kind)?.parse().map_err(|_| format!("is not an IP address with a port; {right}"))
}

/// The address of an AMQP broker.
pub(super) fn broker(kind: &ValueKind) -> Result<String, WrongValue> {
    let right = "write one such as amqp://user:password@host:5672/%2f";
    let text = string(kind)?;
    let url = Url::parse(text).map_err(|why| format!("is not an address ({why}); {right}"))?;
    match url.scheme() {
        "amqp" | "amqps" if url.has_host() => Ok(text.to_owned()),
        "amqp" | "amqps" => Err(format!("names no host; {right}")),
        _ => Err(format!("is not an amqp:// or amqps:// address; {right}")),
    }
}

/// An `http://` or `https://` address, or nothing.
pub(super) fn web_address(kind: &ValueKind) -> Result<Option<Url>, WrongValue> {
    address_such_as("http://host:3128", kind)
}

/// The address of an OTLP collector, or nothing.
pub(super) fn collector(kind: &ValueKind) -> Result<Option<Url>, WrongValue> {
    address_such_as("http://127.0.0.1:4318", kind)
}

fn address_such_as(example: &str, kind: &ValueKind) -> Result<Option<Url>, WrongValue> {
    let text = string(kind)?;
    if text.is_empty() {
        return Ok(None);
    }
    let right = format!("write one such as {example}, or nothing");
    let url = Url::parse(text).map_err(|why| format!("is not an address ({why}); {right}"))?;
    match url.scheme() {
        "http" | "https" => Ok(Some(url)),
        _ => Err(format!("is not an http:// or https:// address; {right}")),
    }
}

/// Networks, or single addresses.
pub(super) fn networks(kind: &ValueKind) -> Result<Vec<IpNet>, WrongValue> {
    let network = |kind: &ValueKind| {
        let text = string(kind)?;
        let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
        text.parse().ok().or_else(address).ok_or_else(|| {
            "is not a network; write one such as \"10.0.0.0/8\", \"fd00::/8\" or \"192.0.2.7\"".to_owned()
        })
    };
    array(kind)?.iter().map(|item| each(item, network)).collect()
}

/// Origins of web pages: scheme, host and, where it is not the usual one, port.
pub(super) fn origins(kind: &ValueKind) -> Result<Vec<String>, WrongValue> {
    let origin = |kind: &ValueKind| {
        let text = string(kind)?;
        let is_one = Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
        });
        let right = "write one such as \"https://pbx.example.com\", without a path";
        if is_one { Ok(text.to_owned()) } else { Err(format!("is not an origin; {right}")) }
    };
    array(kind)?.iter().map(|item| each(item, origin)).collect()
}

/// SHA-256 digests, in lower case.
pub(super) fn digests(kind: &ValueKind) -> Result<Vec<String>, WrongValue> {
    let digest = |kind: &ValueKind| {
        let text = string(kind)?;
        match text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(text.to_ascii_lowercase()),
            false => Err("is not a SHA-256 digest; write 64 hexadecimal digits".to_owned()),
        }
    };
    array(kind)?.iter().map(|item| each(item, digest)).collect()
}

/// A level or directives. A single unknown word would be taken for the name of a target that logs
/// everything, so it is refused here.
pub(super) fn log_level(kind: &ValueKind) -> Result<String, WrongValue> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let text = string(kind)?;
    let level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let right = "write error, warn, info, debug, trace or off, or directives such as \"info,hookline=debug\"";
    let known = text.split(',').all(|part| part.contains('=') || level(part.trim()));
    if !known || EnvFilter::try_new(text).is_err() {
        return Err(format!("is not a level; {right}"));
    }
    Ok(text.to_owned())
}

/// One item of a list: what is wrong with it names it.
pub(super) fn each<T>(
    item: &Value,
    rule: impl FnOnce(&ValueKind) -> Result<T, WrongValue>,
) -> Result<T, WrongValue> {
    rule(&item.kind).map_err(|why| format!("holds {}, which {why}", super::errors::shown("", &item.kind)))
}

/// A key as files and settings hold it: 32 bytes, as base64 or as 64 hexadecimal digits.
pub(crate) fn read_key(text: &str) -> Option<[u8; 32]> {
    if text.len() == 64 {
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        return Some(key);
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}
