//! The name servers of `resolv.conf`, read again when that changes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{
    NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{Resolver, TokioResolver};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Where name servers listen, unless the file says otherwise.
const PORT: u16 = 53;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Servers that are asked; the system's own resolver takes no more either.
const SERVERS: usize = 3;

/// What a question may take at most, whatever the file allows: others wait for their turn.
const QUESTION: u64 = 3;

/// What came of a look-up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LookupOutcome {
    /// These, for so long.
    Found { addresses: Vec<IpAddr>, valid: Duration },
    /// Whoever it belongs to says that there are none.
    NoSuchName(String),
    /// Nobody could say.
    Unanswered(String),
}

/// Asks name servers.
pub(super) struct NameServers {
    file: PathBuf,
    asked: Mutex<Option<AskedServers>>,
}

struct AskedServers {
    looked: Instant,
    stamp: Option<SystemTime>,
    resolver: Arc<TokioResolver>,
}

/// What `resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
struct ServerSettings {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    dots: usize,
    seconds: u64,
    attempts: usize,
}

impl NameServers {
    /// Those of this file.
    pub(super) fn of(file: PathBuf) -> Self {
        NameServers { file, asked: Mutex::new(None) }
    }

    /// Asks for a name's addresses of both families.
    pub(super) async fn look_up(&self, name: &str) -> LookupOutcome {
        let Ok(asked) = Name::from_ascii(name) else {
            return LookupOutcome::NoSuchName(format!("{name:?} is no name that a name server could know"));
        };
        let resolver = match self.resolver().await {
            Ok(resolver) => resolver,
            Err(error) => return LookupOutcome::Unanswered(format!("no name server can be asked: {error}")),
        };
        match resolver.lookup_ip(asked).await {
            Ok(found) => {
                let valid = found.valid_until().saturating_duration_since(std_now());
                let addresses: Vec<IpAddr> = found.iter().collect();
                match addresses.is_empty() {
                    true => LookupOutcome::NoSuchName(format!("the name {name} leads to no address")),
                    false => LookupOutcome::Found { addresses, valid },
                }
            }
            Err(error) => failed(name, &error),
        }
    }

    async fn resolver(&self) -> Result<Arc<TokioResolver>, NetError> {
        let now = Instant::now();
        if let Some(asked) = &*self.asked.lock()
            && now - asked.looked < LOOK
        {
            return Ok(Arc::clone(&asked.resolver));
        }
        let stamp = tokio::fs::metadata(&self.file).await.and_then(|file| file.modified()).ok();
        if let Some(asked) = &mut *self.asked.lock()
            && asked.stamp == stamp
        {
            asked.looked = now;
            return Ok(Arc::clone(&asked.resolver));
        }
        let text = tokio::fs::read(&self.file).await.unwrap_or_default();
        let resolver = Arc::new(asking(&settings(&String::from_utf8_lossy(&text)))?);
        *self.asked.lock() = Some(AskedServers { looked: now, stamp, resolver: Arc::clone(&resolver) });
        Ok(resolver)
    }
}

/// The library's answers are timed by the clock of the standard library.
#[allow(clippy::disallowed_types)]
fn std_now() -> std::time::Instant {
    std::time::Instant::now()
}

fn asking(settings: &ServerSettings) -> Result<TokioResolver, NetError> {
    let server = |address: &SocketAddr| {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        server.connections.iter_mut().for_each(|connection| connection.port = address.port());
        server
    };
    let servers = settings.servers.iter().map(server).collect();
    let search = settings.search.iter().filter_map(|name| Name::from_ascii(name).ok()).collect();
    let config = ResolverConfig::from_parts(None, search, servers);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options: &mut ResolverOpts = builder.options_mut();
    options.ndots = settings.dots;
    options.timeout = Duration::from_secs(settings.seconds);
    options.attempts = settings.attempts;
    // What is known is kept by who asks here, also beyond its time.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    builder.build()
}

/// What the file says (resolv.conf(5)). Without a server the one of this machine is asked.
fn settings(text: &str) -> ServerSettings {
    let mut settings =
        ServerSettings { servers: Vec::new(), search: Vec::new(), dots: 1, seconds: 5, attempts: 2 };
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => settings.servers.extend(words.next().and_then(server_of)),
            Some("search" | "domain") => settings.search = words.map(str::to_owned).collect(),
            Some("options") => {
                for option in words {
                    let Some((name, value)) = option.split_once(':') else { continue };
                    let Ok(value) = value.parse::<u64>() else { continue };
                    match name {
                        "ndots" => settings.dots = usize::try_from(value.min(15)).unwrap_or(1),
                        "timeout" => settings.seconds = value.max(1),
                        "attempts" => settings.attempts = usize::try_from(value.clamp(1, 5)).unwrap_or(2),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    settings.servers.truncate(SERVERS);
    if settings.servers.is_empty() {
        settings.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    settings.seconds = settings.seconds.min(QUESTION);
    settings
}

/// An address, as some systems have it also with a port.
fn server_of(word: &str) -> Option<SocketAddr> {
    let address = word.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
    address.or_else(|_| word.parse()).ok()
}

fn failed(name: &str, error: &NetError) -> LookupOutcome {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => {
                LookupOutcome::NoSuchName(format!("there is no name {name} (NXDOMAIN)"))
            }
            ResponseCode::NoError => {
                LookupOutcome::NoSuchName(format!("the name {name} leads to no address"))
            }
            code => LookupOutcome::Unanswered(format!("the name server answers {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => {
            LookupOutcome::Unanswered(format!("the name server answers {code}"))
        }
        NetError::Timeout => LookupOutcome::Unanswered("no name server answers".to_owned()),
        NetError::NoConnections => LookupOutcome::Unanswered("no name server can be reached".to_owned()),
        NetError::Busy => LookupOutcome::Unanswered("too many names are looked up at once".to_owned()),
        NetError::Io(error) => LookupOutcome::Unanswered(format!("no name server can be asked: {error}")),
        _ => LookupOutcome::Unanswered("the name server answers nonsense".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_the_system_reads_it() {
        let text = "# made by hand\nnameserver 192.0.2.1\nnameserver 2001:db8::1 ; second\nnameserver 127.0.0.1:5353\n\
                    domain a.example\nsearch b.example c.example\noptions ndots:2 timeout:9 attempts:1 trust-ad edns0\n";
        let expected = ServerSettings {
            servers: ["192.0.2.1:53", "[2001:db8::1]:53", "127.0.0.1:5353"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            search: vec!["b.example".to_owned(), "c.example".to_owned()],
            dots: 2,
            seconds: QUESTION,
            attempts: 1,
        };
        assert_eq!(settings(text), expected);
        assert_eq!(settings("options timeout:0").seconds, 1);
        assert_eq!(settings("nonsense\nnameserver fe80::1%eth0").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn that_there_is_no_such_name_is_its_owners_word_and_everything_else_is_nobodys() {
        assert!(matches!(failed("a", &NetError::Timeout), LookupOutcome::Unanswered(_)));
        assert!(matches!(failed("a", &NetError::NoConnections), LookupOutcome::Unanswered(_)));
        for (code, answered) in [
            (ResponseCode::NXDomain, true),
            (ResponseCode::NoError, true),
            (ResponseCode::ServFail, false),
            (ResponseCode::Refused, false),
        ] {
            let query = hickory_resolver::proto::op::Query::default();
            let none = hickory_resolver::net::NoRecords::new(query, code);
            let outcome = failed("a", &NetError::Dns(DnsError::NoRecordsFound(none)));
            assert_eq!(matches!(outcome, LookupOutcome::NoSuchName(_)), answered, "{code}");
        }
        let refused = NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail));
        assert!(matches!(failed("a", &refused), LookupOutcome::Unanswered(_)));
    }
}
