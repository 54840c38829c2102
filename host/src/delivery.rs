//! One payload to one hook: what is sent, what the answer means, and when it is tried again.

use std::fmt;
use std::str::FromStr;

pub mod payload;
pub mod json;
pub mod form;
pub mod sign;
pub mod request;
pub mod verdict;
pub mod schedule;
pub mod guard;
pub mod resolve;
pub mod names;
pub mod trace;
pub mod http;
pub mod client;
pub mod work;
pub mod one_try;
pub mod scheduler;
pub mod rate;
pub mod ordering;
pub mod held;
pub mod gate;
pub mod due;
pub mod queue;
pub mod dispatch;
pub mod outcomes;
pub mod retries;
pub mod test_send;

#[cfg(test)]
mod life_tests;
#[cfg(test)]
pub(crate) mod vector_tests;

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
