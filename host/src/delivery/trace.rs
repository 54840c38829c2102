//! What is known of one try beside what it means: how long each part of it took, who answered, and with what; or at
//! which part it failed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;
use tower::{Layer, Service};

tokio::task_local! {
    /// Of the try whose connection is made in this task.
    static LEGS: Arc<Mutex<Legs>>;
}

/// At which part a try failed, or that it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Class {
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
    /// There was no complete answer in time.
    Timeout,
    /// The connection was lost, or what came over it was no HTTP.
    Broken,
    /// There is no request that could be sent.
    #[default]
    Unsent,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 10] = [
        Class::Delivered,
        Class::Status,
        Class::Guard,
        Class::Resolve,
        Class::Connect,
        Class::ConnectTimeout,
        Class::Tls,
        Class::Timeout,
        Class::Broken,
        Class::Unsent,
    ];

    /// As attempts and figures spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Delivered => "delivered",
            Class::Status => "status",
            Class::Guard => "guard",
            Class::Resolve => "resolve",
            Class::Connect => "connect",
            Class::ConnectTimeout => "connect_timeout",
            Class::Tls => "tls",
            Class::Timeout => "timeout",
            Class::Broken => "broken",
            Class::Unsent => "unsent",
        }
    }

    /// Of an error of the HTTP client that is no refusal of the guard.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        match (error.is_connect(), error.is_timeout()) {
            (true, true) => Class::ConnectTimeout,
            (false, true) => Class::Timeout,
            (true, false) => in_connecting(error),
            (false, false) => Class::Broken,
        }
    }
}

/// A name that leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unresolved(pub(super) std::io::Error);

fn in_connecting(error: &reqwest::Error) -> Class {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = next {
        if cause.is::<Unresolved>() {
            return Class::Resolve;
        }
        if cause.downcast_ref::<std::io::Error>().is_some_and(is_of_tls) {
            return Class::Tls;
        }
        next = cause.source();
    }
    Class::Connect
}

/// What the TLS library says comes as data that is wrong, or that ends too soon; sometimes with another error around
/// it, whose source it is not.
fn is_of_tls(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<std::io::Error>());
    matches!(error.kind(), InvalidData | UnexpectedEof) || inner.is_some_and(is_of_tls)
}

/// How long a new connection took. A try over a connection that was there has neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Legs {
    resolve: Option<Duration>,
    connect: Option<Duration>,
}

/// What is known of one try. What it did not come to is not known.
#[derive(Debug)]
pub struct Trace {
    begun: Instant,
    legs: Arc<Mutex<Legs>>,
    /// How it ended; [`Class::Status`] of any answer.
    pub class: Class,
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
    /// The answer's body, as far as it was read.
    pub body: Vec<u8>,
}

impl Default for Trace {
    fn default() -> Self {
        Trace {
            begun: Instant::now(),
            legs: Arc::default(),
            class: Class::default(),
            first_byte: None,
            total: Duration::ZERO,
            address: None,
            status: None,
            headers: HeaderMap::new(),
            body: Vec::new(),
        }
    }
}

impl Trace {
    /// How long the name took to look up.
    #[must_use]
    pub fn resolve(&self) -> Option<Duration> {
        self.legs.lock().resolve
    }

    /// How long the connection took from then on, with TLS where the address has it.
    #[must_use]
    pub fn connect(&self) -> Option<Duration> {
        self.legs.lock().connect
    }

    /// Runs a try with the connections that it makes written down in the trace that this was asked of.
    pub(super) fn timing<F: Future>(
        &self,
    ) -> impl FnOnce(F) -> TaskLocalFuture<Arc<Mutex<Legs>>, F> + use<F> {
        let legs = Arc::clone(&self.legs);
        move |exchange| LEGS.scope(legs, exchange)
    }

    pub(super) fn answered(&mut self, response: &mut reqwest::Response) {
        self.first_byte = Some(self.begun.elapsed());
        self.class = Class::Status;
        self.address = response.remote_addr();
        self.status = Some(response.status().as_u16());
        self.headers = std::mem::take(response.headers_mut());
    }

    pub(super) fn over_as(&mut self, class: Option<Class>) {
        self.total = self.begun.elapsed();
        self.class = class.unwrap_or(self.class);
    }
}

/// Writes down how long a look-up took that is made for a try.
pub(super) async fn looking_up<F: Future>(lookup: F) -> F::Output {
    let begun = Instant::now();
    let found = lookup.await;
    note(|legs| legs.resolve = Some(begun.elapsed()));
    found
}

fn note(write: impl FnOnce(&mut Legs)) {
    // A connection that outlived its try belongs to none.
    LEGS.try_with(|legs| write(&mut legs.lock())).ok();
}

/// Around the making of connections: writes down how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing;

impl<S> Layer<S> for Timing {
    type Service = Timed<S>;

    fn layer(&self, connector: S) -> Timed<S> {
        Timed(connector)
    }
}

/// Makes connections, timed.
#[derive(Clone, Debug)]
pub(super) struct Timed<S>(S);

impl<S, R> Service<R> for Timed<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.0.call(request);
        Box::pin(async move {
            let begun = Instant::now();
            let connected = connecting.await;
            let took = begun.elapsed();
            // The look-up of the name is part of it.
            note(|legs| legs.connect = Some(took.saturating_sub(legs.resolve.unwrap_or_default())));
            connected
        })
    }
}
