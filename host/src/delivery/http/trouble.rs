//! Whose fault it is that a request got no answer: the endpoint's, or this machine's own.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

/// What is wrong on this machine, so that nothing can be said of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalTrouble {
    /// No more files or sockets can be opened.
    Descriptors,
    /// The kernel has no memory for a socket.
    Memory,
    /// No local port or address is free.
    Ports,
    /// The network of this machine is down.
    Network,
    /// The name servers do not answer, or say that they cannot.
    Names,
    /// The proxy that all requests go through does not do its part.
    Proxy,
    /// This process stood still, and connections were lost over it.
    Stopped,
}

impl LocalTrouble {
    /// All of them.
    pub const ALL: [LocalTrouble; 7] = [
        LocalTrouble::Descriptors,
        LocalTrouble::Memory,
        LocalTrouble::Ports,
        LocalTrouble::Network,
        LocalTrouble::Names,
        LocalTrouble::Proxy,
        LocalTrouble::Stopped,
    ];

    /// As figures and log lines spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LocalTrouble::Descriptors => "descriptors",
            LocalTrouble::Memory => "memory",
            LocalTrouble::Ports => "ports",
            LocalTrouble::Network => "network",
            LocalTrouble::Names => "names",
            LocalTrouble::Proxy => "proxy",
            LocalTrouble::Stopped => "stopped",
        }
    }

    /// Whether a socket to this address failed because of this machine. An IPv6 address that cannot be reached from
    /// here says nothing of the machine: many have no IPv6, and the endpoint offers nothing else.
    #[must_use]
    pub fn of(error: &io::Error, address: IpAddr) -> Option<Self> {
        match error.raw_os_error()? {
            libc::EMFILE | libc::ENFILE => Some(LocalTrouble::Descriptors),
            libc::ENOBUFS | libc::ENOMEM => Some(LocalTrouble::Memory),
            libc::EADDRNOTAVAIL if address.is_ipv4() => Some(LocalTrouble::Ports),
            libc::ENETDOWN => Some(LocalTrouble::Network),
            libc::ENETUNREACH if address.is_ipv4() => Some(LocalTrouble::Network),
            _ => None,
        }
    }
}

/// The first wait after a local trouble.
const SHORTEST: Duration = Duration::from_millis(500);

/// The longest one.
const LONGEST: Duration = Duration::from_secs(30);

/// A trouble that was not met for so long is over.
const OVER_AFTER: Duration = Duration::from_secs(60);

/// The troubles of this machine: how long they have lasted, how often they were met.
#[derive(Debug, Default)]
pub struct LocalTroubles {
    episodes: Mutex<[Option<TroubleEpisode>; LocalTrouble::ALL.len()]>,
    counts: [AtomicU64; LocalTrouble::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
struct TroubleEpisode {
    begun: Instant,
    last: Instant,
    told: Instant,
}

impl LocalTroubles {
    /// Writes one down; answers how long to wait before the next try. `random` is from 0 to 1.
    pub fn met(&self, trouble: LocalTrouble, told: &str, random: f64) -> Duration {
        self.counts[trouble as usize].fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let (episode, news) = {
            let mut episodes = self.episodes.lock();
            let known = episodes[trouble as usize].filter(|episode| now - episode.last < OVER_AFTER);
            let mut episode = known.unwrap_or(TroubleEpisode { begun: now, last: now, told: now });
            let news = known.is_none() || now - episode.told >= OVER_AFTER;
            episode.last = now;
            if news {
                episode.told = now;
            }
            episodes[trouble as usize] = Some(episode);
            (episode, news)
        };
        if news {
            let kind = trouble.as_str();
            warn!(
                kind,
                reason = told,
                "a request cannot be sent because of this machine; it counts against nobody"
            );
        }
        wait_after(now - episode.begun, random)
    }

    /// A request got through: troubles that would have kept it back are over.
    pub fn passed(&self) {
        let mut episodes = self.episodes.lock();
        for (trouble, episode) in LocalTrouble::ALL.iter().zip(episodes.iter_mut()) {
            if episode.take_if(|episode| episode.last.elapsed() >= OVER_AFTER).is_some() {
                info!(kind = trouble.as_str(), "requests can be sent again");
            }
        }
    }

    /// How often each was met.
    pub fn counts(&self) -> impl Iterator<Item = (LocalTrouble, u64)> {
        let count = |trouble: LocalTrouble| self.counts[trouble as usize].load(Ordering::Relaxed);
        LocalTrouble::ALL.into_iter().map(move |trouble| (trouble, count(trouble)))
    }
}

/// A quarter of the time that the trouble has lasted, so that its end is seen soon after; moved by a fifth either way,
/// so that what failed together does not come back together.
fn wait_after(lasted: Duration, random: f64) -> Duration {
    (lasted / 4).clamp(SHORTEST, LONGEST).mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_not_the_endpoints_fault_and_the_rest_is() {
        let (four, six) = (IpAddr::from([1, 2, 3, 4]), "2001:db8::1".parse().unwrap());
        for (code, of_four, of_six) in [
            (libc::EMFILE, Some(LocalTrouble::Descriptors), Some(LocalTrouble::Descriptors)),
            (libc::ENFILE, Some(LocalTrouble::Descriptors), Some(LocalTrouble::Descriptors)),
            (libc::ENOBUFS, Some(LocalTrouble::Memory), Some(LocalTrouble::Memory)),
            (libc::ENOMEM, Some(LocalTrouble::Memory), Some(LocalTrouble::Memory)),
            (libc::EADDRNOTAVAIL, Some(LocalTrouble::Ports), None),
            (libc::ENETDOWN, Some(LocalTrouble::Network), Some(LocalTrouble::Network)),
            (libc::ENETUNREACH, Some(LocalTrouble::Network), None),
            (libc::ECONNREFUSED, None, None),
            (libc::ECONNRESET, None, None),
            (libc::EHOSTUNREACH, None, None),
            (libc::ETIMEDOUT, None, None),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(LocalTrouble::of(&error, four), of_four, "{error}");
            assert_eq!(LocalTrouble::of(&error, six), of_six, "{error}");
        }
        assert_eq!(LocalTrouble::of(&io::Error::other("words"), four), None);
    }

    #[test]
    fn the_wait_grows_with_the_trouble_and_is_never_long() {
        let after = |seconds| wait_after(Duration::from_secs(seconds), 0.5);
        assert_eq!(after(0), SHORTEST);
        assert_eq!(after(20), Duration::from_secs(5));
        assert_eq!(after(100_000), LONGEST);
        assert!(wait_after(Duration::ZERO, 0.0) < SHORTEST && wait_after(Duration::ZERO, 1.0) > SHORTEST);
    }
}
