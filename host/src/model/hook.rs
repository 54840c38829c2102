//! One hook, as everything else sees it.

use std::fmt;
use std::sync::Arc;

use super::hook_options::SetOptions;
use super::{AccountId, HookAddress, HookId, Profile};

/// The events that the original keeps in upper case inside and knows without any metadata document.
pub const CHANNEL_EVENTS: [&str; 4] =
    ["channel_create", "channel_answer", "channel_destroy", "channel_bridge"];

/// How a hook's endpoint is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// The payload goes into the query.
    Get,
    /// The payload is the body.
    Post,
    /// The payload is the body.
    Put,
}

impl Verb {
    /// Reads a verb in any case. The original takes only lower case and dies of anything else when it fires.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put].into_iter().find(|verb| verb.as_str().eq_ignore_ascii_case(text))
    }

    /// As documents and attempts spell it: `get`, `post`, `put`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
        }
    }

    /// As a request line spells it: `GET`, `POST`, `PUT`.
    pub fn method(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the body of a `post` or `put` is written; a `get` ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/x-www-form-urlencoded`.
    FormData,
    /// `application/json`.
    Json,
}

impl Format {
    /// As documents spell it: `form-data`, `json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FormData => "form-data",
            Self::Json => "json",
        }
    }
}

/// Which deliveries of a hook go one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ordering {
    /// Those of one call.
    Call,
}

impl Ordering {
    /// Reads the `ordering` field of a document.
    pub fn parse(text: &str) -> Option<Self> {
        (text == Self::Call.as_str()).then_some(Self::Call)
    }

    /// As documents spell it: `call`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
        }
    }
}

/// Which events a hook wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HookEvent {
    /// Every event of its account.
    All,
    /// One event, in lower case as in documents, e.g. `channel_create`.
    Named(Arc<str>),
}

impl HookEvent {
    /// Reads the `hook` field of a document; case does not matter.
    pub fn parse(text: &str) -> Self {
        let lower = text.to_lowercase();
        if lower == "all" { Self::All } else { Self::Named(Arc::from(lower)) }
    }

    /// As documents spell it: `all`, `channel_create`, `object`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::All => "all",
            Self::Named(name) => name,
        }
    }

    /// As the original names it inside and in its attempts: the channel events in upper case
    /// (`CHANNEL_CREATE`), everything else as in documents.
    pub fn internal_name(&self) -> String {
        match self {
            Self::Named(name) if CHANNEL_EVENTS.contains(&&**name) => name.to_uppercase(),
            other => other.as_str().to_owned(),
        }
    }
}

impl fmt::Display for HookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One hook, read from its document and never wrong inside.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// The document's id; what `x-hook-id` says.
    pub id: HookId,
    /// The owner; what `x-account-id` says, also when a descendant's event fires the hook.
    pub account: AccountId,
    /// Where to, as it was written; never empty.
    pub uri: HookAddress,
    /// How it is asked.
    pub verb: Verb,
    /// Which events it wants.
    pub event: HookEvent,
    /// How the body is written.
    pub format: Format,
    /// As stored, cut to 0..=5; what it means in tries is [`Hook::total_tries`].
    pub retries: u8,
    /// Which of its deliveries go in the order of their events.
    pub ordering: Option<Ordering>,
    /// Whether events of descendants fire it too.
    pub include_subaccounts: bool,
    /// Whether internal (loopback) legs fire it.
    pub include_internal_legs: bool,
    /// A disabled hook never matches.
    pub enabled: bool,
    /// What most hooks do not say.
    pub options: SetOptions,
}

impl Hook {
    /// How many requests one event may cost at most.
    ///
    /// The original takes `retries` for the number of all tries, and never less than one
    /// (`kzd_webhooks:constrain_retries/1`); profile `standard` takes the word at its meaning.
    pub fn total_tries(&self, profile: Profile) -> u32 {
        let retries = u32::from(self.retries);
        match profile {
            Profile::Kazoo => retries.clamp(1, 5),
            Profile::Standard => retries + 1,
        }
    }
}
