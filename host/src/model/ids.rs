//! Ids of accounts, hooks and modules.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        // A map keyed by the id can be asked with a `&str`; both hash and compare as the text does.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        // One text in memory for all who hold the id.
        impl From<Arc<str>> for $name {
            fn from(text: Arc<str>) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// The id of an account, 32 hexadecimal characters in practice; compared byte by byte.
    AccountId
}
id! {
    /// The id of a hook's document (not the original's table key, which has the account in front).
    HookId
}

/// A module's identity: its crate's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(String);

impl ModuleId {
    /// An id that inspection found in a manifest.
    #[must_use]
    pub fn new(id: &str) -> Self {
        ModuleId(id.to_owned())
    }

    /// `webhooks_channel_create`
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `channel_create`: the name under which hooks know it.
    #[must_use]
    pub fn hook_name(&self) -> &str {
        self.0.strip_prefix("webhooks_").unwrap_or(&self.0)
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
