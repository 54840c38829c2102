//! An endpoint that records what it is sent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::serve::Listener;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use super::tls::self_signed_listener;
use super::{Authority, PATIENCE};

/// A server of a customer, on a free port; stopped when dropped.
pub struct Receiver {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<Request>,
    server: JoinSet<()>,
    gate: Option<watch::Sender<bool>>,
}

/// A server of a customer that is not up yet; its port is its own already.
pub struct ClosedReceiver(TcpSocket);

impl ClosedReceiver {
    /// An address on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0.local_addr().expect("its address"))
    }

    /// Comes up, and answers everything with this status.
    #[must_use]
    pub fn open(self, status: u16) -> Receiver {
        let (sender, requests) = mpsc::unbounded_channel();
        let script = Arc::new(Script {
            statuses: Statuses::new(&[status]),
            headers: HeaderMap::new(),
            requests: sender,
            gate: None,
        });
        let listener = self.0.listen(128).expect("its port");
        Receiver::serving(listener, script, requests, None)
    }
}

/// One request that it got.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Behind the `?`.
    pub query: Option<String>,
    /// Header names in lower case.
    pub headers: HeaderMap,
    /// As it came.
    pub body: Bytes,
}

impl Request {
    /// The text of a header; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body should be JSON")
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body should be text")
    }
}

struct Script {
    statuses: Statuses,
    /// Sent with every answer.
    headers: HeaderMap,
    gate: Option<watch::Receiver<bool>>,
    requests: mpsc::UnboundedSender<Request>,
}

/// Statuses to answer with; the last one for ever.
struct Statuses(Mutex<VecDeque<StatusCode>>);

impl Statuses {
    fn new(statuses: &[u16]) -> Self {
        let parse = |code: &u16| StatusCode::from_u16(*code).expect("a status code");
        Statuses(Mutex::new(statuses.iter().map(parse).collect()))
    }

    async fn next(&self) -> StatusCode {
        let mut statuses = self.0.lock().await;
        let next = statuses.front().copied().unwrap_or(StatusCode::OK);
        if statuses.len() > 1 {
            statuses.pop_front();
        }
        next
    }
}

impl Receiver {
    /// Answers everything with this status.
    pub async fn answering(status: u16) -> Self {
        Self::answering_in_turn(&[status]).await
    }

    /// Answers with these statuses in turn, the last one for ever.
    pub async fn answering_in_turn(statuses: &[u16]) -> Self {
        Self::scripted(statuses, HeaderMap::new(), None).await
    }

    /// Answers with these statuses in turn, the last one for ever, and with this header.
    ///
    /// # Panics
    /// It is no header.
    pub async fn answering_with(statuses: &[u16], name: &'static str, value: &str) -> Self {
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().expect("a value"))]);
        Self::scripted(statuses, headers, None).await
    }

    /// Answers everything with this status over TLS, with a certificate for this name or address.
    ///
    /// # Panics
    /// It cannot be made.
    pub async fn with_certificate(authority: &Authority, name: &str, status: u16) -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let script = Arc::new(Script {
            statuses: Statuses::new(&[status]),
            headers: HeaderMap::new(),
            requests: sender,
            gate: None,
        });
        Self::serving(authority.listener(name).await, script, requests, None)
    }

    /// Answers 200 over TLS, with a certificate for this name or address that is an authority's own, and that
    /// certificate as PEM.
    ///
    /// # Panics
    /// It cannot be made.
    pub async fn with_certificate_of_an_authority(name: &str) -> (Self, String) {
        let (sender, requests) = mpsc::unbounded_channel();
        let (statuses, headers) = (Statuses::new(&[200]), HeaderMap::new());
        let script = Arc::new(Script { statuses, headers, requests: sender, gate: None });
        let (listener, certificate) = self_signed_listener(name).await;
        (Self::serving(listener, script, requests, None), certificate)
    }

    async fn scripted(statuses: &[u16], headers: HeaderMap, gate: Option<watch::Sender<bool>>) -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let script = Arc::new(Script {
            statuses: Statuses::new(statuses),
            headers,
            requests: sender,
            gate: gate.as_ref().map(watch::Sender::subscribe),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::serving(listener, script, requests, gate)
    }

    /// Has a port, where connections are refused until it is opened.
    #[must_use]
    pub fn closed() -> ClosedReceiver {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        ClosedReceiver(socket)
    }

    fn serving(
        listener: impl Listener<Addr = SocketAddr>,
        script: Arc<Script>,
        requests: mpsc::UnboundedReceiver<Request>,
        gate: Option<watch::Sender<bool>>,
    ) -> Self {
        let app = Router::new().fallback(record).with_state(script);
        let address = listener.local_addr().expect("its address");
        let mut server = JoinSet::new();
        server.spawn(async move {
            axum::serve(listener, app).await.expect("serving");
        });
        Receiver { address, requests, server, gate }
    }

    /// Takes connections and never answers.
    pub async fn hanging() -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _requests = sender;
            let mut open = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                open.push(connection);
            }
        });
        Receiver { address, requests, server, gate: None }
    }

    /// Answers at once with headers, then one byte of body after another, without end.
    pub async fn dripping() -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _requests = sender;
            let mut dripping = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                dripping.spawn(drip(connection));
            }
        });
        Receiver { address, requests, server, gate: None }
    }

    /// Records at once and answers with this status once [`release`](Self::release) was called.
    pub async fn answering_after_release(status: u16) -> Self {
        let (gate, _) = watch::channel(false);
        Self::scripted(&[status], HeaderMap::new(), Some(gate)).await
    }

    /// Lets held requests, and all later ones, be answered.
    ///
    /// # Panics
    /// It does not hold any.
    pub fn release(&self) {
        self.gate.as_ref().expect("a receiver that holds requests").send_replace(true);
    }

    /// An address on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request.
    ///
    /// # Panics
    /// None came within [`PATIENCE`].
    #[track_caller]
    pub fn next_request(&mut self) -> impl Future<Output = Request> {
        let place = std::panic::Location::caller();
        async move {
            let next = tokio::time::timeout(PATIENCE, self.requests.recv()).await;
            next.unwrap_or_else(|_| panic!("{place}: no request came")).expect("the receiver has stopped")
        }
    }

    /// Requests that have come and were not looked at.
    pub fn waiting(&mut self) -> Vec<Request> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }

    /// Whether its server still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.server.is_empty()
    }
}

async fn record(
    State(script): State<Arc<Script>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap) {
    let request = Request {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().map(str::to_owned),
        headers,
        body,
    };
    // The test has ended where nobody listens.
    script.requests.send(request).ok();
    if let Some(mut gate) = script.gate.clone() {
        gate.wait_for(|open| *open).await.ok();
    }
    (script.statuses.next().await, script.headers.clone())
}

async fn drip(mut connection: TcpStream) -> std::io::Result<()> {
    let mut asked = [0; 1024];
    while connection.read(&mut asked).await? == 0 {}
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
    loop {
        connection.write_all(b".").await?;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
