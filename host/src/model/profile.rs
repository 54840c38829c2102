//! Whose rules deliveries follow.

use std::fmt;

/// Whose rules a delivery follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Ours: any 2xx is a success, failures are retried on a schedule, Standard Webhooks headers.
    #[default]
    Standard,
    /// The observable behaviour of KAZOO's `webhooks` application.
    Kazoo,
}

impl Profile {
    /// As settings spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Kazoo => "kazoo",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
