//! Which addresses may be spoken to: public ones, and those that the operator lists.
//!
//! What is special about an address is taken from IANA's registries of special-purpose addresses, and from what
//! clouds use for their metadata services.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use reqwest::Url;

/// The setting that lets addresses through.
const SETTING: &str = "delivery.allow_targets";

/// What every address is to a guard that is closed.
const OUTSIDE: &str = "outside of a private host, which speaks to its own receiver alone";

/// IPv4 networks that are not public, the narrower ones first.
const SPECIAL_V4: [(Ipv4Addr, u8, &str); 21] = [
    (Ipv4Addr::new(169, 254, 169, 254), 32, "the address of a metadata service"),
    (Ipv4Addr::new(169, 254, 170, 2), 32, "the address of a metadata service"),
    (Ipv4Addr::new(100, 100, 100, 200), 32, "the address of a metadata service"),
    (Ipv4Addr::new(192, 0, 0, 192), 32, "the address of a metadata service"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "the address of a metadata service"),
    (Ipv4Addr::new(0, 0, 0, 0), 32, "the unspecified address"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "the broadcast address"),
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an address of this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a shared address behind a carrier's NAT"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "an address for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "an address for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "an address of 6to4 relays"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "an address for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "an address for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "an address for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
];

/// The rest of IPv4 above multicast.
const RESERVED_V4: (Ipv4Addr, u8, &str) = (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address");

/// IPv6 networks that are not public, without those that carry an IPv4 address; the narrower ones first.
const SPECIAL_V6: [(Ipv6Addr, u8, &str); 16] = [
    (Ipv6Addr::UNSPECIFIED, 128, "the unspecified address"),
    (Ipv6Addr::LOCALHOST, 128, "a loopback address"),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]), 128, "the address of a metadata service"),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]), 128, "the address of a metadata service"),
    // Where in it an IPv4 address stands, its operator decides: nothing here can tell.
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0]), 48, "an address of a local NAT64"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0]), 10, "a link-local address"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0]), 10, "a site-local address"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0]), 7, "a unique local address"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0]), 8, "a multicast address"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0]), 64, "an address that discards"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0]), 48, "an address for benchmarks"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0]), 32, "an address for documentation"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0]), 20, "an address for documentation"),
    (v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0]), 28, "an address for protocols"),
    (v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0]), 28, "an address for protocols"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0]), 16, "an address for protocols"),
];

/// Of the rest of IPv6, this much is public.
const PUBLIC_V6: (Ipv6Addr, u8) = (v6([0x2000, 0, 0, 0, 0, 0, 0, 0]), 3);

const TEREDO: (Ipv6Addr, u8) = (v6([0x2001, 0, 0, 0, 0, 0, 0, 0]), 32);
const SIX_TO_FOUR: (Ipv6Addr, u8) = (v6([0x2002, 0, 0, 0, 0, 0, 0, 0]), 16);
/// Networks whose last 32 bits are an IPv4 address.
const CARRYING: [(Ipv6Addr, u8, &str); 4] = [
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0]), 96, "IPv4-mapped"),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0]), 96, "IPv4-translated"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0]), 96, "NAT64"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0]), 96, "IPv4-compatible"),
];

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8]) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, e, f, g, h)
}

/// Decides by address. The default lets nothing through that is not public.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
    exactly: Option<SocketAddr>,
    /// Public addresses are not spoken to either.
    closed: bool,
}

/// Why an address is not spoken to, for people: which, why, and what would allow it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct AddressRefusal {
    /// The name that led there, where there was one.
    pub name: Option<String>,
    /// The address.
    pub address: IpAddr,
    /// The IPv4 address in it that is the reason, and how it is carried.
    pub carried: Option<(&'static str, Ipv4Addr)>,
    /// What the address is.
    pub kind: &'static str,
}

/// What stands in a URL where the host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetHost<'a> {
    /// An address that may be spoken to.
    Address,
    /// A name; what it leads to is looked at when it is resolved.
    Name(&'a str),
}

impl Guard {
    /// Public addresses, and these networks.
    #[must_use]
    pub fn allowing(allowed: Vec<IpNet>) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// No address at all, but for [`and_exactly`](Guard::and_exactly).
    #[must_use]
    pub fn closed() -> Self {
        Self { closed: true, ..Self::default() }
    }

    /// And this address with this port, written as such in a hook.
    #[must_use]
    pub fn and_exactly(self, exactly: Option<SocketAddr>) -> Self {
        Self { exactly, ..self }
    }

    /// Whether an address may be spoken to.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefusal> {
        if self.closed {
            return Err(AddressRefusal { name: None, address, carried: None, kind: OUTSIDE });
        }
        if self.lists(address) {
            return Ok(());
        }
        let refuse = |carried, kind| Err(AddressRefusal { name: None, address, carried, kind });
        let six = match address {
            IpAddr::V4(four) => return special_v4(four).map_or(Ok(()), |kind| refuse(None, kind)),
            IpAddr::V6(six) => six,
        };
        let carried = carried(six);
        if let Some(kind) = special_v6(six, !carried.is_empty()) {
            return refuse(None, kind);
        }
        for (form, four) in carried {
            if let Some(kind) = special_v4(four).filter(|_| !self.lists(four.into())) {
                return refuse(Some((form, four)), kind);
            }
        }
        Ok(())
    }

    /// Looks at what stands in the URL itself. Its parser has undone every way to write an address by then:
    /// decimal, octal, hexadecimal, shortened, percent-encoded, full-width digits, a final dot.
    ///
    /// # Errors
    /// It is an address that may not be spoken to.
    pub fn check_url<'a>(&self, url: &'a Url) -> Result<TargetHost<'a>, AddressRefusal> {
        let address = match url.host() {
            Some(url::Host::Ipv4(four)) => IpAddr::V4(four),
            Some(url::Host::Ipv6(six)) => IpAddr::V6(six),
            Some(url::Host::Domain(name)) => return Ok(TargetHost::Name(name)),
            None => return Ok(TargetHost::Name("")),
        };
        let exactly = self
            .exactly
            .is_some_and(|it| it.ip() == address && url.port_or_known_default() == Some(it.port()));
        if !exactly {
            self.check(address)?;
        }
        Ok(TargetHost::Address)
    }

    /// What is looked at when a hook is saved: addresses, and the names that mean this machine everywhere. Other
    /// names are resolved when a request is sent, as they may lead elsewhere then.
    ///
    /// # Errors
    /// The host can never be spoken to.
    pub fn check_saved(&self, url: &Url) -> Result<(), AddressRefusal> {
        let TargetHost::Name(name) = self.check_url(url)? else { return Ok(()) };
        let bare = name.trim_end_matches('.').to_ascii_lowercase();
        if bare != "localhost" && !bare.ends_with(".localhost") {
            return Ok(());
        }
        let [four, six] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        match self.check(four) {
            Err(refusal) if self.check(six).is_err() => Err(refusal.of(name)),
            _ => Ok(()),
        }
    }

    /// Those of a name's addresses that may be spoken to.
    ///
    /// # Errors
    /// There are addresses, and none of them may.
    pub fn vet(&self, name: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, AddressRefusal> {
        let mut refused = None;
        let mut vetted = addresses;
        vetted.retain(|address| match self.check(*address) {
            Ok(()) => true,
            Err(refusal) => {
                refused.get_or_insert(refusal);
                false
            }
        });
        match refused {
            Some(refusal) if vetted.is_empty() => Err(refusal.of(name)),
            _ => Ok(vetted),
        }
    }

    /// For a name that somebody else resolves again (a proxy): every one of its addresses must be allowed.
    ///
    /// # Errors
    /// One of them is not.
    pub fn vet_all(&self, name: &str, addresses: &[IpAddr]) -> Result<(), AddressRefusal> {
        addresses.iter().try_for_each(|address| self.check(*address)).map_err(|refusal| refusal.of(name))
    }

    fn lists(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|net| net.contains(&address))
    }
}

impl AddressRefusal {
    fn of(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }
}

impl fmt::Display for AddressRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        if let Some(name) = &self.name {
            write!(f, "{name} leads to {address}, which ")?;
        } else {
            write!(f, "{address} ")?;
        }
        match self.carried {
            Some((form, four)) => write!(f, "carries {four} ({form}), {}", self.kind)?,
            None => write!(f, "is {}", self.kind)?,
        }
        if self.kind == OUTSIDE {
            return Ok(());
        }
        let listed = self.carried.map_or(address, |(_, four)| four.into());
        let length = if listed.is_ipv4() { 32 } else { 128 };
        write!(f, "; {SETTING} would have to list it, such as \"{listed}/{length}\"")
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    let inside = |(net, length, _): &&(Ipv4Addr, u8, &str)| {
        u32::from(address).checked_shr(32 - u32::from(*length))
            == u32::from(*net).checked_shr(32 - u32::from(*length))
    };
    SPECIAL_V4.iter().chain([&RESERVED_V4]).find(inside).map(|(_, _, kind)| *kind)
}

/// `carries`: whether an IPv4 address in it decides instead of the network it is in.
fn special_v6(address: Ipv6Addr, carries: bool) -> Option<&'static str> {
    let special = SPECIAL_V6.iter().find(|(net, length, _)| within(address, (*net, *length)));
    match special {
        Some((_, _, kind)) => Some(kind),
        None if carries || within(address, PUBLIC_V6) => None,
        None => Some("a reserved address"),
    }
}

/// The IPv4 addresses that packets to this address may end at.
fn carried(address: Ipv6Addr) -> Vec<(&'static str, Ipv4Addr)> {
    let [.., e, f, g, h] = address.segments();
    let four = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    let [_, b, c, d, ..] = address.segments();
    if within(address, TEREDO) {
        // The client's bits are turned around; the server is spoken to before it.
        return vec![("Teredo", four(!g, !h)), ("Teredo server", four(c, d))];
    }
    if within(address, SIX_TO_FOUR) {
        return vec![("6to4", four(b, c))];
    }
    let form = CARRYING.iter().find(|(net, length, _)| within(address, (*net, *length)));
    if let Some((_, _, form)) = form {
        return vec![(form, four(g, h))];
    }
    if matches!(e, 0 | 0x200) && f == 0x5efe {
        return vec![("ISATAP", four(g, h))];
    }
    Vec::new()
}

fn within(address: Ipv6Addr, (net, length): (Ipv6Addr, u8)) -> bool {
    let bits = |address: Ipv6Addr| u128::from(address).checked_shr(128 - u32::from(length));
    bits(address) == bits(net)
}

#[cfg(test)]
mod tests;
