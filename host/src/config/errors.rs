//! How wrong settings are told: one line each, all of them at once.

use std::fmt;

use config::ValueKind;

/// One thing that is wrong with the configuration. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// The setting (`bus.uri`), or the file when it cannot be read at all.
    pub what: String,
    line: String,
}

impl SettingProblem {
    /// `key: value (from ORIGIN) why`, where `why` also says what would be right.
    pub(super) fn wrong(key: &str, value: &ValueKind, origin: &impl fmt::Display, why: &str) -> Self {
        let value = shown(key, value);
        Self { what: key.to_owned(), line: format!("{key}: {value} (from {origin}) {why}") }
    }

    /// A name that no setting has.
    pub(super) fn unknown(key: &str, origin: &impl fmt::Display, closest: Option<&str>) -> Self {
        let hint = match closest {
            Some(closest) => format!("; did you mean {closest}?"),
            None => "; `hookline config` lists every setting".to_owned(),
        };
        Self { what: key.to_owned(), line: format!("{key}: (from {origin}) is not a setting{hint}") }
    }

    /// A layer that could not be read.
    pub(super) fn unreadable(name: &str, why: &str) -> Self {
        Self { what: name.to_owned(), line: format!("{name}: {why}") }
    }
}

impl fmt::Display for SettingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<SettingProblem>,
}

impl ConfigErrors {
    pub(super) fn new(problems: Vec<SettingProblem>) -> Self {
        Self { problems }
    }

    /// Each problem, in the order in which it was found.
    pub fn problems(&self) -> &[SettingProblem] {
        &self.problems
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.problems.as_slice() {
            return only.fmt(f);
        }
        write!(f, "{} settings are wrong:", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// A value as TOML would have it, without the password of an address.
pub(super) fn shown(key: &str, value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) if SECRETS.contains(&key) && !text.is_empty() => "\"***\"".to_owned(),
        ValueKind::String(text) if ADDRESSES.contains(&key) => format!("{:?}", masked(text)),
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(key, &item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(_) => "a section".to_owned(),
        ValueKind::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    }
}

/// Settings that are secrets.
const SECRETS: [&str; 1] = ["store.secrets_key"];

/// Settings that may carry a password.
const ADDRESSES: [&str; 6] =
    ["bus.uri", "store.url", "documents.url", "ledger.url", "delivery.proxy", "telemetry.otlp_endpoint"];

/// `amqp://user:secret@host` as `amqp://user:***@host`. The broker's well-known `guest` is no secret.
fn masked(address: &str) -> String {
    let start = address.find("://").map_or(0, |at| at + 3);
    let rest = &address[start..];
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    // The last @ ends the user part, also where a password holds an unescaped one.
    let Some((user, host)) = authority.rsplit_once('@') else {
        return address.to_owned();
    };
    match user.split_once(':') {
        Some((name, password)) if password != "guest" => {
            format!("{}{name}:***@{host}{}", &address[..start], &rest[authority.len()..])
        }
        _ => address.to_owned(),
    }
}
