//! Whose rules deliveries follow.

use std::fmt;
use std::str::FromStr;

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

/// A name that is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no delivery profile, it must be standard or kazoo")]
pub struct UnknownProfile(pub String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "standard" => Ok(Self::Standard),
            "kazoo" => Ok(Self::Kazoo),
            other => Err(UnknownProfile(other.to_owned())),
        }
    }
}
