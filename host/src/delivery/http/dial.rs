//! How a connection is made: looked up, vetted, raced for, with TLS where the address has it, through the proxy where
//! there is one. Only vetted addresses are connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;

use super::failure::{RequestFailure, words_of_io};
use super::message::{EndpointOrigin, login_of};
use super::race::{RaceProgress, WorkedAddresses, first_of};
use super::trouble::LocalTrouble;
use super::wire::ByteStream;
use crate::attempts::trace::{AttemptClass, ExchangeTrace};
use crate::delivery::resolve::{self, NameResolver};
use crate::delivery::sending_thread::SendingThread;
use crate::model::guard::Guard;
use crate::stall::timeout;
use crate::trust::TrustStore;

/// Bytes of what a proxy answers to a request for a tunnel.
const TUNNEL_HEAD: usize = 16 << 10;

/// A connection that can be spoken over.
pub(super) struct DialedConnection {
    pub(super) io: Box<dyn ByteStream>,
    /// HTTP/2 was agreed on.
    pub(super) streams: bool,
    /// The other end of the socket.
    pub(super) peer: SocketAddr,
}

/// The proxy that all requests go through.
pub(super) struct ProxyServer {
    origin: Arc<EndpointOrigin>,
    /// What it is told of who we are.
    pub(super) login: Option<HeaderValue>,
}

impl ProxyServer {
    pub(super) fn of(url: &Url) -> Option<Self> {
        Some(ProxyServer { origin: EndpointOrigin::of(url, SendingThread::Scheduler)?, login: login_of(url) })
    }
}

/// Makes connections.
pub(super) struct EndpointDialer {
    pub(super) resolver: Arc<dyn NameResolver>,
    pub(super) guard: Arc<Guard>,
    pub(super) trust: TrustStore,
    /// With HTTP/2 and HTTP/1.1 on offer.
    pub(super) tls: Arc<ClientConfig>,
    /// With HTTP/1.1 only.
    pub(super) tls_to_proxy: Arc<ClientConfig>,
    pub(super) proxy: Option<ProxyServer>,
    pub(super) timeout: Duration,
    pub(super) worked: WorkedAddresses,
}

impl EndpointDialer {
    /// A connection to an origin. `spare` gives a place for one more socket beside the first, while it lasts.
    pub(super) async fn dial(
        &self,
        origin: &Arc<EndpointOrigin>,
        spare: &(dyn Fn() -> Option<OwnedSemaphorePermit> + Sync),
        trace: &mut ExchangeTrace,
    ) -> Result<DialedConnection, RequestFailure> {
        if origin.secure && self.trust.is_empty() {
            let missing = self.trust.missing().unwrap_or_default();
            return Err(RequestFailure::of(AttemptClass::Tls, format!("https cannot be spoken: {missing}")));
        }
        let first = self.proxy.as_ref().map_or(origin, |proxy| &proxy.origin);
        let addresses = self.addresses(first, trace).await?;
        let begun = Instant::now();
        let made = match timeout(self.timeout, self.connect(origin, first, &addresses, spare)).await {
            Ok(made) => made,
            Err(_) => Err(self.late(&addresses)),
        };
        trace.add_connect(begun.elapsed());
        made
    }

    fn late(&self, addresses: &[SocketAddr]) -> RequestFailure {
        let told = format!("no connection to {} within {} ms", listed(addresses), self.timeout.as_millis());
        match self.proxy {
            Some(_) => RequestFailure::local(LocalTrouble::Proxy, format!("the proxy: {told}")),
            None => RequestFailure::of(AttemptClass::ConnectTimeout, told),
        }
    }

    /// Where an origin is. A proxy's own address is not looked at by the guard.
    async fn addresses(
        &self,
        origin: &Arc<EndpointOrigin>,
        trace: &mut ExchangeTrace,
    ) -> Result<Vec<SocketAddr>, RequestFailure> {
        if let Some(address) = origin.address() {
            return Ok(vec![SocketAddr::new(address, origin.port)]);
        }
        let name = origin.name();
        let begun = Instant::now();
        let looked_up = timeout(self.timeout, self.resolver.resolve(&name)).await;
        trace.add_resolve(begun.elapsed());
        let found = match looked_up {
            Ok(Ok(found)) => found,
            Ok(Err(error)) if resolve::is_out_of_order(&error) => {
                return Err(RequestFailure::local(LocalTrouble::Names, error.to_string()));
            }
            Ok(Err(error)) if self.proxy.is_some() => {
                return Err(RequestFailure::local(LocalTrouble::Proxy, format!("the proxy: {error}")));
            }
            Ok(Err(error)) => return Err(RequestFailure::of(AttemptClass::Resolve, error.to_string())),
            Err(_) => {
                let told =
                    format!("the name {name} was not looked up within {} ms", self.timeout.as_millis());
                return Err(RequestFailure::local(LocalTrouble::Names, told));
            }
        };
        let vetted = match self.proxy {
            Some(_) => found,
            None => self
                .guard
                .vet(&name, found)
                .map_err(|refusal| RequestFailure::of(AttemptClass::Guard, refused(&refusal)))?,
        };
        Ok(self.worked.in_order(origin, &vetted))
    }

    async fn connect(
        &self,
        origin: &Arc<EndpointOrigin>,
        first: &Arc<EndpointOrigin>,
        addresses: &[SocketAddr],
        spare: &(dyn Fn() -> Option<OwnedSemaphorePermit> + Sync),
    ) -> Result<DialedConnection, RequestFailure> {
        let progress = RaceProgress::default();
        let make = |address: SocketAddr, beside: bool| {
            let place = if beside { Some(spare()?) } else { None };
            let progress = progress.clone();
            Some(async move {
                let made = self.one(origin, address, &progress).await;
                drop(place);
                made
            })
        };
        let (made, address) = first_of(addresses, &progress, make).await?;
        self.worked.worked(first, address.ip(), addresses.len());
        Ok(made)
    }

    async fn one(
        &self,
        origin: &Arc<EndpointOrigin>,
        address: SocketAddr,
        progress: &RaceProgress,
    ) -> Result<DialedConnection, RequestFailure> {
        let connected = TcpStream::connect(address).await;
        let socket = connected.map_err(|error| self.unconnected(address, &error))?;
        progress.taken();
        // It only saves waiting; the socket works without.
        socket.set_nodelay(true).ok();
        let Some(proxy) = &self.proxy else {
            return if origin.secure {
                encrypted(Box::new(socket), origin, &self.tls, address).await
            } else {
                Ok(DialedConnection { io: Box::new(socket), streams: false, peer: address })
            };
        };
        let mut to_proxy: Box<dyn ByteStream> = Box::new(socket);
        if proxy.origin.secure {
            let safe = encrypted(to_proxy, &proxy.origin, &self.tls_to_proxy, address).await;
            to_proxy = safe.map_err(|failure| of_proxy(&failure.told))?.io;
        }
        if !origin.secure {
            return Ok(DialedConnection { io: to_proxy, streams: false, peer: address });
        }
        tunnel(&mut to_proxy, origin, proxy.login.as_ref()).await?;
        encrypted(to_proxy, origin, &self.tls, address).await
    }

    fn unconnected(&self, address: SocketAddr, error: &std::io::Error) -> RequestFailure {
        let told = format!("no connection to {address}: {}", words_of_io(error));
        match LocalTrouble::of(error, address.ip()) {
            Some(trouble) => RequestFailure::local(trouble, told),
            None if self.proxy.is_some() => of_proxy(&told),
            None => RequestFailure::of(AttemptClass::Connect, told),
        }
    }
}

fn of_proxy(told: &str) -> RequestFailure {
    RequestFailure::local(LocalTrouble::Proxy, format!("the proxy: {told}"))
}

/// What is said where the guard lets nothing through.
pub(crate) fn refused(refusal: &crate::model::guard::AddressRefusal) -> String {
    format!("refused by the target guard: {refusal}")
}

fn listed(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

/// TLS over a connection, with a certificate for the origin.
async fn encrypted(
    io: Box<dyn ByteStream>,
    origin: &EndpointOrigin,
    tls: &Arc<ClientConfig>,
    peer: SocketAddr,
) -> Result<DialedConnection, RequestFailure> {
    let named = match origin.address() {
        Some(address) => Ok(ServerName::IpAddress(IpAddr::into(address))),
        None => ServerName::try_from(origin.name()),
    };
    let Ok(name) = named else {
        let told = format!("TLS with {}: it is no name that a certificate could be for", origin.name());
        return Err(RequestFailure::of(AttemptClass::Tls, told));
    };
    match TlsConnector::from(Arc::clone(tls)).connect(name, io).await {
        Ok(stream) => {
            let streams = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(DialedConnection { io: Box::new(stream), streams, peer })
        }
        Err(error) => {
            Err(RequestFailure::of(AttemptClass::Tls, format!("TLS with {peer}: {}", words_of_io(&error))))
        }
    }
}

/// Asks a proxy for a tunnel.
async fn tunnel(
    io: &mut Box<dyn ByteStream>,
    origin: &EndpointOrigin,
    login: Option<&HeaderValue>,
) -> Result<(), RequestFailure> {
    let target = format!("{}:{}", origin.name(), origin.port);
    let mut asked = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(login) = login {
        asked.extend_from_slice(b"Proxy-Authorization: ");
        asked.extend_from_slice(login.as_bytes());
        asked.extend_from_slice(b"\r\n");
    }
    asked.extend_from_slice(b"\r\n");
    let lost = |error: std::io::Error| of_proxy(&words_of_io(&error));
    io.write_all(&asked).await.map_err(lost)?;
    io.flush().await.map_err(lost)?;
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = io.read_buf(&mut head).await.map_err(lost)?;
        if read == 0 || head.len() > TUNNEL_HEAD {
            return Err(of_proxy("it ends the connection that a tunnel was asked on"));
        }
    }
    tunnelled(&target, status_of(&head))
}

/// The status in the first line of an answer.
fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What a proxy's answer to a request for a tunnel means. That it cannot reach the endpoint is the endpoint's failure;
/// everything else is the proxy's.
fn tunnelled(target: &str, status: Option<u16>) -> Result<(), RequestFailure> {
    match status {
        Some(200..300) => Ok(()),
        Some(status @ (502..=504)) => {
            let told = format!("the proxy has no connection to {target}: status {status}");
            Err(RequestFailure::of(AttemptClass::Connect, told))
        }
        Some(407) => Err(of_proxy(
            "it wants a login: status 407 (delivery.proxy may hold one: http://user:password@…)",
        )),
        Some(status) => Err(of_proxy(&format!("it makes no tunnel to {target}: status {status}"))),
        None => Err(of_proxy("what it answers is no HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_refuses_is_not_the_endpoints_fault_and_what_it_cannot_reach_is() {
        for (head, expected) in [
            (&b"HTTP/1.1 200 Connection established\r\n\r\n"[..], None),
            (b"HTTP/1.0 204\r\n\r\n", None),
            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Some(AttemptClass::Connect)),
            (b"HTTP/1.1 504 Late\r\n\r\n", Some(AttemptClass::Connect)),
            (b"HTTP/1.1 407 Who?\r\n\r\n", Some(AttemptClass::Local)),
            (b"HTTP/1.1 403 No\r\n\r\n", Some(AttemptClass::Local)),
            (b"SSH-2.0-x\r\n\r\n", Some(AttemptClass::Local)),
            (b"\xff\xfe\r\n\r\n", Some(AttemptClass::Local)),
        ] {
            let failed = tunnelled("a.example:443", status_of(head)).err().map(|failure| failure.class);
            assert_eq!(failed, expected, "{head:?}");
        }
    }
}
