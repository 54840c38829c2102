//! Stub for compiling the store and the API alone; replaced by the real room when the branches meet.

use std::fmt;
use std::sync::Arc;

pub mod editor;

/// A stored JSON document (keys `_id`, `pvt_…`), in the order of its keys.
pub type Document = serde_json::Map<String, serde_json::Value>;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.into())
            }
        }
    };
}
id!(/** The id of an account. */ AccountId);
id!(/** The id of a hook's document. */ HookId);
