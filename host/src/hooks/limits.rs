//! What one account may have: which limits there are, whose applies, and what is said of one that is reached. Pure.

use std::fmt;

use serde_json::{Value, json};

use super::editor::fields;
use crate::config::AccountLimits;
use crate::config::limits::MOST;
use crate::model::Document;

/// The field of an account's document with its own limits, by their names. Only administrators set it.
pub const OWN_LIMITS: &str = "pvt_limits";

/// One of the limits of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitName {
    /// How many hooks it has.
    Hooks,
    /// Bytes of the fields of one hook, or of the account's own.
    HookBytes,
    /// Bytes of the fields of all its hooks and of its own.
    DocumentsBytes,
    /// Accounts below it.
    AccountsBelow,
    /// Levels of the account tree.
    Depth,
    /// Access tokens.
    Tokens,
}

impl LimitName {
    /// All of them, in the order of the settings.
    pub const ALL: [Self; 6] =
        [Self::Hooks, Self::HookBytes, Self::DocumentsBytes, Self::AccountsBelow, Self::Depth, Self::Tokens];

    /// As settings, commands and answers spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hooks => "hooks",
            Self::HookBytes => "hook_bytes",
            Self::DocumentsBytes => "documents_bytes",
            Self::AccountsBelow => "accounts_below",
            Self::Depth => "depth",
            Self::Tokens => "tokens",
        }
    }

    /// Reads [`as_str`](Self::as_str).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }

    /// Its value among these.
    #[must_use]
    pub fn of(self, limits: &AccountLimits) -> u64 {
        match self {
            Self::Hooks => limits.hooks,
            Self::HookBytes => limits.hook_bytes,
            Self::DocumentsBytes => limits.documents_bytes,
            Self::AccountsBelow => limits.accounts_below,
            Self::Depth => limits.depth,
            Self::Tokens => limits.tokens,
        }
    }

    /// The values that may be set.
    #[must_use]
    pub fn range(self) -> std::ops::RangeInclusive<u64> {
        let least = match self {
            Self::HookBytes | Self::DocumentsBytes | Self::Depth => 1,
            Self::Hooks | Self::AccountsBelow | Self::Tokens => 0,
        };
        least..=self.of(&MOST)
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The limits that were set for one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnLimits([Option<u64>; LimitName::ALL.len()]);

impl OwnLimits {
    /// Those of an account's document; what is no number in it counts as not set.
    #[must_use]
    pub fn of(account: &Document) -> Self {
        let set = account.get(OWN_LIMITS).and_then(Value::as_object);
        Self(LimitName::ALL.map(|name| {
            let number = fields::whole(set?.get(name.as_str())?)?;
            u64::try_from(number).ok()
        }))
    }

    /// What applies: what was set, else the default.
    #[must_use]
    pub fn or(&self, defaults: &AccountLimits, name: LimitName) -> u64 {
        self.0[name as usize].unwrap_or_else(|| name.of(defaults))
    }
}

/// A change that was refused, as an account would have more than it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// Which limit.
    pub limit: LimitName,
    /// Whose.
    pub account: String,
    /// Its value.
    pub most: u64,
    /// What there would be with the change.
    pub wanted: u64,
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, account, most, wanted } = self;
        match limit {
            LimitName::Hooks => {
                write!(f, "account {account} may have {most} hooks, this would be number {wanted}")?
            }
            LimitName::HookBytes => {
                write!(f, "a document of account {account} may have {most} bytes, this one has {wanted}")?;
            }
            LimitName::DocumentsBytes => write!(
                f,
                "the documents of account {account} may have {most} bytes together, with this one they would have {wanted}"
            )?,
            LimitName::AccountsBelow => {
                write!(
                    f,
                    "account {account} may have {most} accounts below it, this would be number {wanted}"
                )?;
            }
            LimitName::Depth => write!(
                f,
                "the account tree may have {most} levels, an account below {account} would be on level {wanted}"
            )?,
            LimitName::Tokens => {
                write!(f, "account {account} may have {most} tokens, this would be number {wanted}")?;
            }
        }
        write!(
            f,
            "; the setting is limits.{limit}, for this account alone `hookline set limit {limit} NUMBER --account {account}`"
        )
    }
}

impl std::error::Error for LimitReached {}

impl LimitReached {
    /// As the data of a validation error: under the limit's name, what it is (`target`) and what would be (`cause`).
    #[must_use]
    pub fn to_json(&self) -> Value {
        let name = self.limit.as_str();
        json!({ name: { "limit": {
            "message": self.to_string(),
            "target": self.most,
            "cause": self.wanted,
            "account": self.account,
            "setting": format!("limits.{name}"),
        } } })
    }
}

/// How many bytes a document's fields have, those that clients set, as compact JSON.
#[must_use]
pub fn document_bytes(doc: &Document) -> u64 {
    let mut counted = ByteCount(0);
    let mut bytes = 2;
    for (key, value) in doc.iter().filter(|(key, _)| !fields::is_private(key)) {
        counted.0 = 0;
        // Nothing that is counted fails to be written.
        let written = serde_json::to_writer(&mut counted, key)
            .and_then(|()| serde_json::to_writer(&mut counted, value));
        drop(written);
        bytes += counted.0 + 2;
    }
    bytes
}

/// A writer that counts.
struct ByteCount(u64);

impl std::io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(value: Value) -> Document {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn an_accounts_own_limit_goes_over_the_default() {
        let defaults = MOST;
        let own = OwnLimits::of(&document(json!({"pvt_limits": {"hooks": 5, "depth": "x", "tokens": 0}})));
        for (name, expected) in [
            (LimitName::Hooks, 5),
            (LimitName::Depth, MOST.depth),
            (LimitName::Tokens, 0),
            (LimitName::HookBytes, MOST.hook_bytes),
        ] {
            assert_eq!(own.or(&defaults, name), expected, "{name}");
            assert_eq!(LimitName::parse(name.as_str()), Some(name));
        }
    }

    #[test]
    fn the_bytes_of_a_document_are_those_of_its_public_fields_as_compact_json() {
        let doc = document(
            json!({"_id": "x", "pvt_type": "webhook", "name": "a\"b", "custom_data": {"k": [1, null]}}),
        );
        let public = document(json!({"name": "a\"b", "custom_data": {"k": [1, null]}}));
        // The comma that the last field has not.
        assert_eq!(document_bytes(&doc), serde_json::to_string(&public).unwrap().len() as u64 + 1);
    }

    #[test]
    fn what_is_refused_names_the_limit_its_value_what_would_be_and_what_changes_it() {
        let reached =
            LimitReached { limit: LimitName::Hooks, account: "acme".to_owned(), most: 2, wanted: 3 };
        assert_eq!(
            reached.to_string(),
            "account acme may have 2 hooks, this would be number 3; the setting is limits.hooks, \
             for this account alone `hookline set limit hooks NUMBER --account acme`"
        );
        assert_eq!(reached.to_json()["hooks"]["limit"]["target"], 2);
    }
}
