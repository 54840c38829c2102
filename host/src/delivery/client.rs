//! Speaks HTTP to endpoints: to addresses that the guard lets through, under one deadline over all of it, without
//! redirects, with bodies read to a limit and certificates verified.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url};
use time::OffsetDateTime;

use super::guard::{Guard, Host, Refusal};
use super::request::Outgoing;
use super::resolve::{Resolver, Vetted};
use super::trace::{Class, Timing, Trace};
use super::verdict::{Answer, retry_after};
use crate::attempts::mask;
use crate::hooks::Verb;

/// Limits of every request.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For resolving and connecting, TLS included.
    pub connect_timeout: Duration,
    /// For everything, from resolution to the last byte of the body.
    pub request_timeout: Duration,
    /// Bytes of a response body beyond which it is read no further.
    pub response_body_limit: usize,
    /// Proxy for all requests; none when empty. The guard does not look at its own address.
    pub proxy: String,
    /// A file of PEM certificates that are trusted besides those of the system.
    pub extra_ca: Option<PathBuf>,
}

/// Sends requests; cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    guard: Arc<Guard>,
    /// Where a proxy resolves names once more: whom to ask before.
    before_proxy: Option<Arc<dyn Resolver>>,
    request_timeout: Duration,
    response_body_limit: usize,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What it means is for `verdict`.
    pub answer: Answer,
    /// The same for people: `status 404`, `connection refused`.
    pub told: String,
}

impl Client {
    /// A client with its own pool of connections.
    ///
    /// # Errors
    /// The proxy's address is not one, the certificates cannot be read, or TLS cannot be set up.
    pub fn new(limits: &Limits, guard: Arc<Guard>, resolver: Arc<dyn Resolver>) -> anyhow::Result<Self> {
        let proxied = !limits.proxy.is_empty();
        let vetted =
            Vetted { resolver: Arc::clone(&resolver), guard: (!proxied).then(|| Arc::clone(&guard)) };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(limits.connect_timeout)
            // An endpoint that redirects could send an account's events to an address nobody vetted.
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(vetted)
            .connector_layer(Timing)
            .no_proxy();
        if let Some(file) = &limits.extra_ca {
            builder = builder.tls_certs_merge(certificates(file)?);
        }
        if proxied {
            let proxy = reqwest::Proxy::all(&limits.proxy)
                .with_context(|| format!("delivery.proxy: {:?} is not a proxy's address", limits.proxy))?;
            builder = builder.proxy(proxy);
        }
        Ok(Client {
            http: builder.build().context("setting up the HTTP client")?,
            guard,
            before_proxy: proxied.then_some(resolver),
            request_timeout: limits.request_timeout,
            response_body_limit: limits.response_body_limit,
        })
    }

    /// Sends one request and writes down what can be known of it. `url` is the request's own, parsed before, where
    /// there is one.
    pub async fn send(&self, request: &Outgoing, url: Option<Url>, trace: &mut Trace) -> Sent {
        let timed = trace.timing();
        let exchange = timed(self.exchange(request, url, trace));
        let (sent, class) = match tokio::time::timeout(self.request_timeout, exchange).await {
            Ok(ended) => ended,
            Err(_) => {
                let told = format!("no complete answer within {} ms", self.request_timeout.as_millis());
                (failed(told), Some(Class::Timeout))
            }
        };
        trace.over_as(class);
        sent
    }

    /// What came back, and at which part it failed where there was no whole answer.
    async fn exchange(
        &self,
        request: &Outgoing,
        url: Option<Url>,
        trace: &mut Trace,
    ) -> (Sent, Option<Class>) {
        let url = match url.map_or_else(|| wire_url(&request.url), Ok) {
            Ok(url) => url,
            Err(error) => {
                let told = format!("{:?} is not an address: {error}", mask::address(&request.url));
                return (failed(told), Some(Class::Unsent));
            }
        };
        if let Some(refused) = self.refusal(&url).await {
            return (refused, Some(Class::Guard));
        }
        let headers = match header_map(&request.headers) {
            Ok(headers) => headers,
            Err(name) => return (failed(format!("the header {name} cannot be sent")), Some(Class::Unsent)),
        };
        let asked =
            self.http.request(method(request.method), url).headers(headers).body(request.body.clone());
        let mut response = match asked.send().await {
            Ok(response) => response,
            Err(error) => {
                let class = if refusal_in(&error).is_some() { Class::Guard } else { Class::of(&error) };
                return (failed(chain(&error)), Some(class));
            }
        };
        let code = response.status().as_u16();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = wait.and_then(|value| retry_after(value, OffsetDateTime::now_utc()));
        trace.answered(&mut response);
        if let Err(error) = self.read_body(&mut response, &mut trace.body).await {
            let class = if error.is_timeout() { Class::Timeout } else { Class::Broken };
            return (failed(format!("status {code}, then {}", chain(&error))), Some(class));
        }
        (Sent { answer: Answer::Status { code, retry_after }, told: format!("status {code}") }, None)
    }

    /// What the guard says before anything is sent. An address in the hook itself is refused for good; where a name
    /// leads may change, so that failure may pass.
    async fn refusal(&self, url: &Url) -> Option<Sent> {
        let name = match self.guard.check_url(url) {
            Err(refusal) => return Some(Sent { answer: Answer::Refused, told: refused(&refusal) }),
            Ok(Host::Address) => return None,
            Ok(Host::Name(name)) => name,
        };
        // Without a proxy the connection itself is made to vetted addresses only. A name that cannot be resolved
        // here may well be known to the proxy.
        let found = self.before_proxy.as_ref()?.resolve(name).await.ok()?;
        self.guard.vet_all(name, &found).err().map(|refusal| failed(refused(&refusal)))
    }

    /// Reads the body to its end, so that the connection can be used again; past the limit the connection is
    /// given up instead.
    async fn read_body(
        &self,
        response: &mut reqwest::Response,
        read: &mut Vec<u8>,
    ) -> Result<(), reqwest::Error> {
        while let Some(chunk) = response.chunk().await? {
            let room = self.response_body_limit - read.len();
            read.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                break;
            }
        }
        Ok(())
    }
}

fn failed(told: String) -> Sent {
    Sent { answer: Answer::ClientError, told }
}

fn refused(refusal: &Refusal) -> String {
    format!("refused by the target guard: {refusal}")
}

/// The certificates of a PEM file.
fn certificates(file: &Path) -> anyhow::Result<Vec<reqwest::Certificate>> {
    let named = || format!("delivery.extra_ca: {}", file.display());
    let pem = std::fs::read(file).with_context(named)?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).with_context(named)?;
    if certificates.is_empty() {
        bail!("{} holds no PEM certificate", named());
    }
    Ok(certificates)
}

fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
    }
}

/// A query with brackets as the original writes it: percent-encoded, which means the same to a receiver and is
/// what URLs allow.
fn wire_url(text: &str) -> Result<Url, url::ParseError> {
    match text.split_once('?') {
        Some((place, query)) if query.contains(['[', ']']) => {
            Url::parse(&format!("{place}?{}", query.replace('[', "%5B").replace(']', "%5D")))
        }
        _ => Url::parse(text),
    }
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
        let (name, value) = parsed.ok_or_else(|| name.clone())?;
        map.insert(name, value);
    }
    Ok(map)
}

/// What the guard said where the connection was to be made.
fn refusal_in(error: &reqwest::Error) -> Option<&Refusal> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(refusal) = cause.downcast_ref() {
            return Some(refusal);
        }
        next = cause.source();
    }
    None
}

/// An error with its causes, without the address: that is logged beside it, and may hold a password.
fn chain(error: &reqwest::Error) -> String {
    if let Some(refusal) = refusal_in(error) {
        return refused(refusal);
    }
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(match cause.to_string() {
            unknown if unknown.ends_with("UnknownIssuer") => {
                format!("{unknown} (delivery.extra_ca can name its authority)")
            }
            known => known,
        });
        next = cause.source();
    }
    let timed_out = error.is_timeout().then(|| "timed out".to_owned());
    let told: Vec<String> = timed_out.into_iter().chain(causes).collect();
    if told.is_empty() { "failed".to_owned() } else { told.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_a_query_are_encoded_and_those_of_an_address_are_not() {
        let url = |text| wire_url(text).unwrap().to_string();
        assert_eq!(url("http://[::1]:80/a?o[k]=v w"), "http://[::1]/a?o%5Bk%5D=v%20w");
        assert_eq!(url("http://a.b/c?d=e?f=g"), "http://a.b/c?d=e?f=g");
        assert!(wire_url("not an address").is_err());
    }
}
