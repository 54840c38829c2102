//! How much guessing an address may do: a hundred wrong tokens at once, then one a second. Pure.
//!
//! An address costs one number, addresses that have recovered are forgotten, and beyond the bound all new ones share
//! one number: whoever has many addresses gains nothing by using all of them.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use foldhash::HashMap;
use tokio::time::Instant;

/// Wrong tokens that may come at once. Many clients may be behind one address, with old tokens in hand.
const AT_ONCE: u32 = 100;
/// After those, one may come in this time.
const PACE: Duration = Duration::from_secs(1);
/// Addresses that are told apart at a time.
const ADDRESSES: usize = 10_000;

/// What has come from where. Each address has the time at which it will have recovered.
#[derive(Debug, Default)]
pub struct TokenGuesses {
    recovered_at: HashMap<IpAddr, Instant>,
    /// Those that are not told apart.
    others: Option<Instant>,
}

impl TokenGuesses {
    /// How long an address has to wait before its next token is looked at; `None`: not at all.
    pub fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let known = self.recovered_at.get(&network(from));
        let full = self.recovered_at.len() >= ADDRESSES;
        let recovered_at = known.copied().or(self.others.filter(|_| full))?;
        let left = recovered_at.saturating_duration_since(now);
        left.checked_sub(PACE * (AT_ONCE - 1)).filter(|wait| !wait.is_zero())
    }

    /// A wrong token came.
    pub fn failed(&mut self, from: IpAddr, now: Instant) {
        let network = network(from);
        if self.recovered_at.len() >= ADDRESSES && !self.recovered_at.contains_key(&network) {
            self.recovered_at.retain(|_, recovered_at| *recovered_at > now);
            if self.recovered_at.len() >= ADDRESSES {
                self.others = Some(self.others.unwrap_or(now).max(now) + PACE);
                return;
            }
        }
        let recovered_at = self.recovered_at.entry(network).or_insert(now);
        *recovered_at = (*recovered_at).max(now) + PACE;
    }
}

/// One client has a whole /64 of IPv6, and is the same client when its IPv4 address comes mapped.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn fail(guesses: &mut TokenGuesses, from: IpAddr, times: u32, now: Instant) {
        (0..times).for_each(|_| guesses.failed(from, now));
    }

    #[test]
    fn a_hundred_are_free_and_then_each_costs_a_second() {
        let (mut guesses, now, from) = (TokenGuesses::default(), Instant::now(), address("192.0.2.1"));

        fail(&mut guesses, from, 99, now);
        assert_eq!(guesses.wait(from, now), None);
        fail(&mut guesses, from, 1, now);
        assert_eq!(guesses.wait(from, now), Some(Duration::from_secs(1)));
        assert_eq!(guesses.wait(address("192.0.2.2"), now), None);

        let later = now + PACE;
        assert_eq!(guesses.wait(from, later), None);
        fail(&mut guesses, from, 1, later);
        assert_eq!(guesses.wait(from, later), Some(Duration::from_secs(1)));
    }

    #[test]
    fn an_address_that_is_left_alone_recovers() {
        let (mut guesses, now, from) = (TokenGuesses::default(), Instant::now(), address("192.0.2.1"));
        fail(&mut guesses, from, 100, now);
        let later = now + PACE * 100;
        fail(&mut guesses, from, 99, later);
        assert_eq!(guesses.wait(from, later), None);
    }

    #[test]
    fn a_client_is_its_network_and_not_each_of_its_addresses() {
        for (one, other, same) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.2", false),
        ] {
            let (mut guesses, now) = (TokenGuesses::default(), Instant::now());
            fail(&mut guesses, address(one), 100, now);
            assert_eq!(guesses.wait(address(other), now).is_some(), same, "{one} {other}");
        }
    }

    #[test]
    fn many_addresses_share_what_is_left_and_cost_no_more_memory() {
        let (mut guesses, now) = (TokenGuesses::default(), Instant::now());
        let from = |n: u32| IpAddr::V4(n.into());
        for n in 0..20_000 {
            guesses.failed(from(n), now);
        }
        assert_eq!(guesses.recovered_at.len(), ADDRESSES);
        assert!(guesses.wait(from(50_000), now).is_some());
        assert_eq!(guesses.wait(from(5), now), None);

        let later = now + PACE * 2;
        guesses.failed(from(50_000), later);
        assert_eq!(guesses.recovered_at.len(), 1);
        assert_eq!(guesses.wait(from(50_001), later), None);
    }
}
