//! The request as it goes over the wire, by the kind of connection.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Request, Uri};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use url::{Host, Position, Url};

use crate::delivery::sending_thread::SendingThread;
use crate::model::OutgoingRequest;
use crate::model::Verb;

/// Whom a connection is to: what requests must have in common to share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EndpointOrigin {
    /// With TLS.
    pub(super) secure: bool,
    /// As the URL has it.
    pub(super) host: Host<Box<str>>,
    pub(super) port: u16,
    /// Each thread has connections of its own: one that another thread waits for would wake both.
    pub(super) thread: SendingThread,
}

impl EndpointOrigin {
    /// Of a URL; nothing where it names nobody.
    pub(super) fn of(url: &Url, thread: SendingThread) -> Option<Arc<Self>> {
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = match url.host()? {
            Host::Domain("") => return None,
            Host::Domain(name) => Host::Domain(name.into()),
            Host::Ipv4(four) => Host::Ipv4(four),
            Host::Ipv6(six) => Host::Ipv6(six),
        };
        Some(Arc::new(EndpointOrigin { secure, host, port: url.port_or_known_default()?, thread }))
    }

    /// The address where it is written as such.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(four) => Some(four.into()),
            Host::Ipv6(six) => Some(six.into()),
        }
    }

    /// Its name, or its address as a name.
    pub(super) fn name(&self) -> String {
        self.host.to_string()
    }
}

/// How a request names its target.
#[derive(Clone, Copy, Debug)]
pub(super) enum TargetForm<'a> {
    /// HTTP/1.1 straight to the endpoint, or through a tunnel.
    Path,
    /// HTTP/1.1 to a proxy that passes it on, with what the proxy wants to see.
    Whole(Option<&'a HeaderValue>),
    /// HTTP/2.
    Stream,
}

/// Why a request cannot be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UnwritableRequest {
    /// This header.
    Header(String),
    /// Its address.
    Address,
}

/// Makes the request.
pub(super) fn written(
    request: &OutgoingRequest,
    url: &Url,
    form: TargetForm<'_>,
) -> Result<Request<Full<Bytes>>, UnwritableRequest> {
    let mut headers = header_map(&request.headers).map_err(UnwritableRequest::Header)?;
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    if let Some(login) = login_of(url) {
        headers.entry(AUTHORIZATION).or_insert(login);
    }
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    let path = &url[Position::BeforePath..Position::AfterQuery];
    let uri = match form {
        TargetForm::Path => Uri::try_from(path),
        TargetForm::Whole(_) | TargetForm::Stream => {
            Uri::try_from(format!("{}://{authority}{path}", url.scheme()))
        }
    };
    match form {
        TargetForm::Stream => {}
        TargetForm::Path | TargetForm::Whole(_) => {
            let host = HeaderValue::from_str(authority).map_err(|_| UnwritableRequest::Address)?;
            headers.entry(HOST).or_insert(host);
        }
    }
    if let TargetForm::Whole(Some(login)) = form {
        headers.insert(PROXY_AUTHORIZATION, login.clone());
    }
    let mut made = Request::new(Full::new(request.body.clone()));
    *made.method_mut() = method(request.method);
    *made.uri_mut() = uri.map_err(|_| UnwritableRequest::Address)?;
    *made.headers_mut() = headers;
    Ok(made)
}

fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
    }
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::with_capacity(headers.len() + 4);
    for (name, value) in headers {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
        let (name, value) = parsed.ok_or_else(|| name.clone())?;
        map.insert(name, value);
    }
    Ok(map)
}

/// The name and password that stand in a URL, as a header says them.
pub(super) fn login_of(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let clear = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = url.password().map(clear).unwrap_or_default();
    let login = STANDARD.encode(format!("{}:{password}", clear(url.username())));
    let mut value = HeaderValue::from_str(&format!("Basic {login}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A query with brackets as the original writes it: percent-encoded, which means the same to a receiver and is
/// what URLs allow.
///
/// # Errors
/// It is no URL.
pub(crate) fn wire_url(text: &str) -> Result<Url, url::ParseError> {
    match text.split_once('?') {
        Some((place, query)) if query.contains(['[', ']']) => {
            Url::parse(&format!("{place}?{}", query.replace('[', "%5B").replace(']', "%5D")))
        }
        _ => Url::parse(text),
    }
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

    fn outgoing(headers: &[(&str, &str)]) -> OutgoingRequest {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        OutgoingRequest { method: Verb::Post, url: String::new(), headers, body: Bytes::from_static(b"{}") }
    }

    #[test]
    fn a_target_is_named_as_its_connection_wants_it() {
        let url = Url::parse("https://us%65r:p%40ss@host.example:8443/p/q?a=b#part").unwrap();
        let login = HeaderValue::from_static("Basic x");
        for (form, uri, host) in [
            (TargetForm::Path, "/p/q?a=b", Some("host.example:8443")),
            (TargetForm::Whole(Some(&login)), "https://host.example:8443/p/q?a=b", Some("host.example:8443")),
            (TargetForm::Stream, "https://host.example:8443/p/q?a=b", None),
        ] {
            let made = written(&outgoing(&[("x-a", "b")]), &url, form).unwrap();
            assert_eq!(made.uri().to_string(), uri);
            let header = |name: HeaderName| made.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header(HOST), host);
            assert_eq!(header(AUTHORIZATION), Some("Basic dXNlcjpwQHNz"));
            assert_eq!(header(ACCEPT), Some("*/*"));
            assert_eq!(header(PROXY_AUTHORIZATION).is_some(), matches!(form, TargetForm::Whole(_)));
        }
        let own = written(&outgoing(&[("authorization", "Bearer t")]), &url, TargetForm::Path).unwrap();
        assert_eq!(own.headers()[AUTHORIZATION], "Bearer t");
        let wrong = written(&outgoing(&[("x-a", "b\nc")]), &url, TargetForm::Path);
        assert_eq!(wrong.err(), Some(UnwritableRequest::Header("x-a".to_owned())));
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let of = |text: &str| EndpointOrigin::of(&Url::parse(text).unwrap(), SendingThread::Scheduler);
        assert_eq!(of("http://a.example/x"), of("http://A.example:80/y?z"));
        assert_ne!(of("http://a.example/x"), of("https://a.example:80/x"));
        let url = Url::parse("http://a.example/x").unwrap();
        assert_ne!(of("http://a.example/x"), EndpointOrigin::of(&url, SendingThread::Bulk));
        assert_eq!(of("http://[::1]:81/").unwrap().address(), Some("::1".parse().unwrap()));
        assert_eq!((of("ftp://a/"), of("mailto:a@b")), (None, None));
    }
}
