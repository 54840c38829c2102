//! Speaks HTTP to endpoints: to addresses that the guard lets through, under one deadline over all of it, without
//! redirects, with bodies read to a limit and certificates verified.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{LOCATION, RETRY_AFTER};
use tracing::warn;
use url::Url;

use super::http::trouble::{LocalTrouble, LocalTroubles};
use super::http::{HttpTransport, RequestFailure, TransportBounds, refused, wire_url};
use super::resolve::NameResolver;
use super::sending_thread::SendingThread;
use super::verdict::retry_after;
use crate::attempts::mask;
use crate::attempts::trace::{AttemptClass, ExchangeTrace};
use crate::model::EndpointAnswer;
use crate::model::HttpExchange;
use crate::model::OutgoingRequest;
use crate::model::guard::{Guard, TargetHost};
use crate::trust::TrustStore;

/// Bytes of where an answer points that are told.
const LOCATION_SHOWN: usize = 300;

/// Limits of every request.
#[derive(Clone, Debug)]
pub struct ClientLimits {
    /// For resolving; for connecting, TLS included; for a free stream of an HTTP/2 connection. Each.
    pub connect_timeout: Duration,
    /// From when the connection is there until the last byte of the answer.
    pub request_timeout: Duration,
    /// Bytes of a response body beyond which it is read no further.
    pub response_body_limit: usize,
    /// Proxy for all requests; none when empty. The guard does not look at its own address.
    pub proxy: String,
    /// A file of PEM certificates that are trusted besides those of the system.
    pub extra_ca: Option<PathBuf>,
    /// Connections that may be open at once, idle ones included.
    pub connections: usize,
}

/// Sends requests; cheap to clone.
#[derive(Clone)]
pub struct EndpointClient {
    transport: Arc<HttpTransport>,
    thread: SendingThread,
    troubles: Arc<LocalTroubles>,
    guard: Arc<Guard>,
    /// Where a proxy resolves names once more: whom to ask before.
    before_proxy: Option<Arc<dyn NameResolver>>,
}

impl EndpointClient {
    /// A client with its own pool of connections.
    ///
    /// # Errors
    /// The proxy's address is not one, the certificates cannot be read, or TLS cannot be set up.
    pub fn new(
        limits: &ClientLimits,
        guard: Arc<Guard>,
        resolver: Arc<dyn NameResolver>,
    ) -> anyhow::Result<Self> {
        let mut clients = Self::several(limits, 1, &guard, &resolver)?;
        clients.pop().ok_or_else(|| anyhow::anyhow!("there is no client"))
    }

    /// So many clients, each with connections of its own, a part of those that there may be.
    ///
    /// # Errors
    /// As of [`new`](EndpointClient::new).
    pub fn several(
        limits: &ClientLimits,
        count: usize,
        guard: &Arc<Guard>,
        resolver: &Arc<dyn NameResolver>,
    ) -> anyhow::Result<Vec<Self>> {
        let trust = TrustStore::of_system(limits.extra_ca.as_deref())?;
        if let Some(missing) = trust.missing() {
            warn!(
                reason = missing,
                "certificates of endpoints cannot be verified against the system's authorities"
            );
        }
        let bounds = TransportBounds {
            connect: limits.connect_timeout,
            answer: limits.request_timeout,
            body: limits.response_body_limit,
            connections: (limits.connections / count.max(1)).max(1),
        };
        let proxy = limits.proxy.as_str();
        let troubles = Arc::<LocalTroubles>::default();
        let client = |_| {
            let (guard, resolver) = (Arc::clone(guard), Arc::clone(resolver));
            let before_proxy = (!proxy.is_empty()).then(|| Arc::clone(&resolver));
            let transport = HttpTransport::new(bounds, proxy, trust.clone(), Arc::clone(&guard), resolver)?;
            Ok(EndpointClient {
                transport: Arc::new(transport),
                thread: SendingThread::default(),
                troubles: Arc::clone(&troubles),
                guard,
                before_proxy,
            })
        };
        (0..count).map(client).collect()
    }

    /// The same client for who sends on this thread.
    #[must_use]
    pub fn on(&self, thread: SendingThread) -> Self {
        EndpointClient { thread, ..self.clone() }
    }

    /// How often something of this machine kept a request from being sent, by what.
    pub fn troubles(&self) -> impl Iterator<Item = (LocalTrouble, u64)> {
        self.troubles.counts()
    }

    /// Connections to endpoints that are open, and of them those that wait for a request.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        self.transport.connections()
    }

    /// How often a request was sent again at once, as nobody can have answered it before.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.transport.repeated()
    }

    /// Sends one request and writes down what can be known of it. `url` is the request's own, parsed before, where
    /// there is one.
    pub async fn send(
        &self,
        request: &OutgoingRequest,
        url: Option<Url>,
        trace: &mut ExchangeTrace,
    ) -> HttpExchange {
        let (sent, class) = self.exchange(request, url, trace).await;
        trace.over_as(class);
        sent
    }

    /// What came back, and at which part it failed where there was no answer.
    async fn exchange(
        &self,
        request: &OutgoingRequest,
        url: Option<Url>,
        trace: &mut ExchangeTrace,
    ) -> (HttpExchange, Option<AttemptClass>) {
        let url = match url.map_or_else(|| wire_url(&request.url), Ok) {
            Ok(url) => url,
            Err(error) => {
                let told = format!("{:?} is not an address: {error}", mask::address(&request.url));
                return (failed(told), Some(AttemptClass::Unsent));
            }
        };
        if let Some(refused) = self.refusal(&url).await {
            return (refused, Some(AttemptClass::Guard));
        }
        if let Err(failure) = self.transport.exchange(request, &url, self.thread, trace).await {
            let class = failure.class;
            return (self.unanswered(failure), Some(class));
        }
        let code = trace.status.unwrap_or_default();
        // Only proxies want a login of their own; it is ours.
        if code == 407 && self.before_proxy.is_some() {
            let told = "the proxy: it wants a login: status 407 (delivery.proxy may hold one)";
            let failure = RequestFailure {
                class: AttemptClass::Local,
                told: told.to_owned(),
                local: Some(LocalTrouble::Proxy),
            };
            return (self.unanswered(failure), Some(AttemptClass::Local));
        }
        self.troubles.passed();
        let header = |name| trace.headers.get(name).and_then(|value| value.to_str().ok());
        let wait = header(RETRY_AFTER);
        let retry_after = wait.and_then(|value| retry_after(value, crate::clock::now()));
        let told =
            told_of(code, trace.headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes())));
        (HttpExchange { answer: EndpointAnswer::Status { code, retry_after }, told }, None)
    }

    fn unanswered(&self, failure: RequestFailure) -> HttpExchange {
        let RequestFailure { told, local, .. } = failure;
        match local {
            None => failed(told),
            Some(trouble) => {
                let wait = self.troubles.met(trouble, &told, rand::random());
                HttpExchange { answer: EndpointAnswer::Local { wait }, told }
            }
        }
    }

    /// What the guard says before anything is sent. An address in the hook itself is refused for good; where a name
    /// leads may change, so that failure may pass.
    async fn refusal(&self, url: &Url) -> Option<HttpExchange> {
        let name = match self.guard.check_url(url) {
            Err(refusal) => {
                return Some(HttpExchange { answer: EndpointAnswer::Refused, told: refused(&refusal) });
            }
            Ok(TargetHost::Address) => return None,
            Ok(TargetHost::Name(name)) => name,
        };
        // Without a proxy the connection itself is made to vetted addresses only. A name that cannot be resolved
        // here may well be known to the proxy.
        let found = self.before_proxy.as_ref()?.resolve(name).await.ok()?;
        self.guard.vet_all(name, &found).err().map(|refusal| failed(refused(&refusal)))
    }
}

fn failed(told: String) -> HttpExchange {
    HttpExchange { answer: EndpointAnswer::ClientError, told }
}

/// A status in words. Where an answer points is said, as it is not gone to.
fn told_of(code: u16, location: Option<std::borrow::Cow<'_, str>>) -> String {
    match (code, location) {
        (300..400, Some(location)) => {
            let shown = mask::address(&location);
            let shown: String = shown.chars().take(LOCATION_SHOWN).collect();
            format!("status {code}: redirects are not followed, it points to {shown:?}")
        }
        (301 | 302 | 303 | 307 | 308, None) => {
            format!("status {code}: redirects are not followed, and it does not say where it points to")
        }
        _ => format!("status {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_told_with_where_it_points_to_and_that_it_is_not_followed() {
        let told = |code, location: Option<&str>| told_of(code, location.map(Into::into));
        assert_eq!(told(200, Some("/x")), "status 200");
        assert_eq!(told(304, None), "status 304");
        assert_eq!(
            told(302, Some("https://new.example/in")),
            "status 302: redirects are not followed, it points to \"https://new.example/in\""
        );
        assert!(told(301, Some("http://u:opensesame@h/")).contains("u:***@h"));
        assert!(told(308, None).contains("does not say where"));
        assert!(told(302, Some(&"x".repeat(9000))).len() < 500);
    }
}
