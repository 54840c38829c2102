//! What is known of one try beside what it means: how long each part of it took, who answered, and with what; or at
//! which part it failed.

use std::net::SocketAddr;
use std::time::Duration;

use http::Response;
use http::header::HeaderMap;
use hyper::body::Incoming;
use tokio::time::Instant;

/// Bytes of an answer's headers that are kept; what an endpoint sends beyond that is only counted.
const HEADERS: usize = 32 << 10;

/// At which part a try failed, or that it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttemptClass {
    /// The answer is a success.
    Delivered,
    /// The answer is none.
    Status,
    /// The address may not be spoken to.
    Guard,
    /// The name leads nowhere.
    Resolve,
    /// Nobody takes the connection.
    Connect,
    /// The connection was not made in time.
    ConnectTimeout,
    /// The connection cannot be made safe.
    Tls,
    /// The endpoint took no further request on its connections in time.
    Stream,
    /// There was no answer in time.
    Timeout,
    /// The connection was lost, or what came over it was no HTTP.
    Broken,
    /// There is no request that could be sent.
    #[default]
    Unsent,
    /// Something of this machine kept it from being sent; that says nothing of the endpoint.
    Local,
}

impl AttemptClass {
    /// All of them.
    pub const ALL: [AttemptClass; 12] = [
        AttemptClass::Delivered,
        AttemptClass::Status,
        AttemptClass::Guard,
        AttemptClass::Resolve,
        AttemptClass::Connect,
        AttemptClass::ConnectTimeout,
        AttemptClass::Tls,
        AttemptClass::Stream,
        AttemptClass::Timeout,
        AttemptClass::Broken,
        AttemptClass::Unsent,
        AttemptClass::Local,
    ];

    /// As attempts and figures spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptClass::Delivered => "delivered",
            AttemptClass::Status => "status",
            AttemptClass::Guard => "guard",
            AttemptClass::Resolve => "resolve",
            AttemptClass::Connect => "connect",
            AttemptClass::ConnectTimeout => "connect_timeout",
            AttemptClass::Tls => "tls",
            AttemptClass::Stream => "stream",
            AttemptClass::Timeout => "timeout",
            AttemptClass::Broken => "broken",
            AttemptClass::Unsent => "unsent",
            AttemptClass::Local => "local",
        }
    }
}

/// What is known of one try. What it did not come to is not known.
#[derive(Debug)]
pub struct ExchangeTrace {
    begun: Instant,
    resolve: Option<Duration>,
    connect: Option<Duration>,
    stream: Option<Duration>,
    /// How often the request was sent again at once, as nobody can have answered it before.
    pub repeats: u32,
    /// How it ended; [`AttemptClass::Status`] of any answer.
    pub class: AttemptClass,
    /// When the answer's headers were there.
    pub first_byte: Option<Duration>,
    /// When all was over.
    pub total: Duration,
    /// Who was spoken to.
    pub address: Option<SocketAddr>,
    /// The answer's status.
    pub status: Option<u16>,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// Bytes of headers that were left out, as there were too many.
    pub headers_left_out: usize,
    /// The answer's body, as far as it was read.
    pub body: Vec<u8>,
    /// What became of the rest of the body, where it was lost.
    pub body_lost: Option<String>,
}

impl Default for ExchangeTrace {
    fn default() -> Self {
        ExchangeTrace {
            begun: Instant::now(),
            resolve: None,
            connect: None,
            stream: None,
            repeats: 0,
            class: AttemptClass::default(),
            first_byte: None,
            total: Duration::ZERO,
            address: None,
            status: None,
            headers: HeaderMap::new(),
            headers_left_out: 0,
            body: Vec::new(),
            body_lost: None,
        }
    }
}

impl ExchangeTrace {
    /// How long the name took to look up; nothing where the connection was there, or the address is written as one.
    #[must_use]
    pub fn resolve(&self) -> Option<Duration> {
        self.resolve
    }

    /// How long the connection took from then on, with TLS where the address has it; nothing where it was there.
    #[must_use]
    pub fn connect(&self) -> Option<Duration> {
        self.connect
    }

    /// How long a free stream of a connection (HTTP/2) was waited for.
    #[must_use]
    pub fn stream(&self) -> Option<Duration> {
        self.stream
    }

    /// A name was looked up so long.
    pub fn add_resolve(&mut self, took: Duration) {
        self.resolve = Some(self.resolve.unwrap_or_default() + took);
    }

    /// A connection was made so long.
    pub fn add_connect(&mut self, took: Duration) {
        self.connect = Some(self.connect.unwrap_or_default() + took);
    }

    /// A stream was waited for so long.
    pub fn add_stream(&mut self, took: Duration) {
        self.stream = Some(self.stream.unwrap_or_default() + took);
    }

    /// The head of an answer has come.
    pub fn answered(&mut self, answer: Response<Incoming>, address: Option<SocketAddr>) -> Incoming {
        let (head, body) = answer.into_parts();
        self.first_byte = Some(self.begun.elapsed());
        self.class = AttemptClass::Status;
        self.address = address;
        self.status = Some(head.status.as_u16());
        (self.headers, self.headers_left_out) = kept(head.headers);
        body
    }

    /// The head of an answer has come, and only its status can be read; `why` it is no more.
    pub fn answered_oddly(&mut self, status: u16, address: Option<SocketAddr>, why: &str) {
        self.first_byte = Some(self.begun.elapsed());
        self.class = AttemptClass::Status;
        self.address = address;
        self.status = Some(status);
        self.body_lost = Some(format!("only the status of its head can be read: {why}"));
    }

    /// All is over, and failed at this part where it failed.
    pub fn over_as(&mut self, class: Option<AttemptClass>) {
        self.total = self.begun.elapsed();
        self.class = class.unwrap_or(self.class);
    }
}

/// The headers up to the limit, and the bytes of the others.
fn kept(headers: HeaderMap) -> (HeaderMap, usize) {
    let size = |name: &str, value: &[u8]| name.len() + value.len() + 4;
    let total: usize = headers.iter().map(|(name, value)| size(name.as_str(), value.as_bytes())).sum();
    if total <= HEADERS {
        return (headers, 0);
    }
    let (mut kept, mut length) = (HeaderMap::new(), 0);
    for (name, value) in &headers {
        let more = size(name.as_str(), value.as_bytes());
        if length + more <= HEADERS {
            length += more;
            kept.append(name.clone(), value.clone());
        }
    }
    (kept, total - length)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_are_kept_up_to_a_limit_and_the_rest_is_counted() {
        let of = |count: usize| {
            let value = HeaderValue::from_str(&"v".repeat(1016)).unwrap();
            kept((0..count).map(|_| (http::header::SET_COOKIE, value.clone())).collect())
        };
        let (all, left_out) = of(30);
        assert_eq!((all.len(), left_out), (30, 0));
        let (some, left_out) = of(100);
        assert_eq!((some.len(), left_out), (31, 69 * 1030));
    }
}
