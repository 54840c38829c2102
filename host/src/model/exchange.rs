//! What is sent, what comes back, and what follows.

use std::time::Duration;

use bytes::Bytes;

use super::Verb;

/// One request, as it will be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingRequest {
    /// How it is asked.
    pub method: Verb,
    /// Where; in profile `kazoo` the exact text that the original hands to its client, raw brackets and
    /// spaces included.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Empty for `get`.
    pub body: Bytes,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpExchange {
    /// What it means is for `verdict`.
    pub answer: EndpointAnswer,
    /// The same for people: `status 404`, `connection refused`.
    pub told: String,
}

/// What came back for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointAnswer {
    /// A response.
    Status {
        /// Its status code.
        code: u16,
        /// What its `Retry-After` asks for, see [`retry_after`].
        retry_after: Option<Duration>,
    },
    /// No response: the name, the connection, TLS, a time-out, a broken or impossible message.
    ClientError,
    /// Nothing was sent and nothing ever will be: the hook's address may not be spoken to.
    Refused,
    /// Nothing was sent because of this machine: it says nothing of the endpoint.
    Local {
        /// When to look again.
        wait: Duration,
    },
}

/// What happens to a delivery after a try.
#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryOutcome {
    /// It arrived.
    Delivered,
    /// It is tried again after this time.
    Retry(Duration),
    /// It was not tried, as something of this machine was in the way; it is after this time. No try is used up.
    Postponed(Duration),
    /// It is given up, for this reason.
    Dead(String),
    /// It is given up, and the hook is switched off: its endpoint says that it is gone.
    Gone(String),
}
