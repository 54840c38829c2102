//! Where a hook is sent: kept as it was written, and parsed when it is first sent to.

use std::ops::Deref;
use std::sync::OnceLock;

use reqwest::Url;

/// The address of a hook; reads as the text that its owner wrote.
#[derive(Clone, Debug)]
pub struct HookAddress {
    text: Box<str>,
    /// Of a million hooks most are seldom sent to, and the parts of an address take more room than its text.
    url: OnceLock<Option<Box<Url>>>,
}

impl HookAddress {
    /// The same, parsed once; `None` when it is no absolute address, which fails like a connection.
    #[must_use]
    pub fn url(&self) -> Option<&Url> {
        self.url.get_or_init(|| Url::parse(&self.text).ok().map(Box::new)).as_deref()
    }
}

impl From<&str> for HookAddress {
    fn from(text: &str) -> Self {
        Self { text: text.into(), url: OnceLock::new() }
    }
}

impl Deref for HookAddress {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl PartialEq for HookAddress {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
