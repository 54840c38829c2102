//! How many files and sockets the process may have open, and who gets how many of them: clients of the API,
//! connections to endpoints, and what the store, the modules, the name servers and the logs need.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// More than this helps nobody here, and programs that modules start may walk over all that they could have.
const ENOUGH: u64 = 65_536;

/// What neither clients nor endpoints may take, where there are many.
const RESERVE: u64 = 192;

/// Where the system does not say how many there are.
const UNKNOWN: u64 = 1024;

/// Who may have how many open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DescriptorShares {
    /// Connections of clients of the API.
    pub(super) clients: usize,
    /// Connections to endpoints, idle ones included.
    pub(super) endpoints: usize,
}

/// Raises the limit as far as the system lets us, and shares out what there is.
pub(super) fn share_out(max_clients: usize) -> DescriptorShares {
    shares(raised().unwrap_or(UNKNOWN), max_clients)
}

fn raised() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let wanted = wanted(soft, hard);
    if wanted == soft {
        return Some(soft);
    }
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => Some(wanted),
        Err(error) => {
            warn!(%error, limit = soft, "the limit of open files cannot be raised");
            Some(soft)
        }
    }
}

fn wanted(soft: u64, hard: u64) -> u64 {
    soft.max(hard.min(ENOUGH))
}

/// Half for clients at most, a part for what the host itself needs, the rest for endpoints; everybody has some.
fn shares(limit: u64, max_clients: usize) -> DescriptorShares {
    let share = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).max(1);
    let clients = max_clients.min(share(limit / 2));
    let reserve = RESERVE.min(limit / 4);
    let endpoints = share(limit.saturating_sub(clients as u64).saturating_sub(reserve));
    DescriptorShares { clients, endpoints }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_never_have_more_than_there_are_and_everybody_has_some() {
        for (limit, max_clients, clients, endpoints) in [
            (1024, 4096, 512, 320),
            (65_536, 4096, 4096, 61_248),
            (1024, 100, 100, 732),
            (256, 4096, 128, 64),
            (16, 4096, 8, 4),
        ] {
            let shares = shares(limit, max_clients);
            assert_eq!(shares, DescriptorShares { clients, endpoints }, "{limit} {max_clients}");
        }
        for limit in [0, 1, 2, 3] {
            let shares = shares(limit, 10);
            assert!(shares.clients >= 1 && shares.endpoints >= 1, "{limit}: {shares:?}");
        }
    }

    #[test]
    fn the_limit_is_raised_and_never_lowered() {
        for (soft, hard, expected) in
            [(1024, 4096, 4096), (1024, 1_048_576, ENOUGH), (500_000, 1_048_576, 500_000), (1024, 1024, 1024)]
        {
            assert_eq!(wanted(soft, hard), expected, "{soft} {hard}");
        }
    }
}
