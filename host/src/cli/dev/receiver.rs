//! What the private host's requests arrive at: it answers 200 and remembers of each request what tells it from others.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use foldhash::HashMap;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::hiding::shown_header;

/// Requests that are remembered at once: an event causes at most a thousand for each of a few hooks.
const REMEMBERED: usize = 20_000;

/// Bytes of one header that are remembered.
const LONGEST_HEADER: usize = 1_000;

/// Which request it is: its hook, and a digest of its body. Whoever knows the digest knows the body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestKey {
    hook: String,
    body: [u8; 32],
}

impl RequestKey {
    /// The request of this hook with this body.
    pub(super) fn of(hook: &str, body: &[u8]) -> Self {
        RequestKey { hook: hook.to_owned(), body: Sha256::digest(body).into() }
    }
}

/// A request that arrived, without its body.
#[derive(Clone, Debug)]
pub(super) struct ArrivedRequest {
    /// `POST`
    pub(super) method: String,
    /// With the query, if there is one.
    pub(super) path: String,
    /// By name, in lower case, without what is left out, and what changes each time hidden.
    pub(super) headers: Vec<(String, String)>,
}

/// Requests by what they are; those that are the same, in the order of their arrival.
pub(super) type ArrivedRequests = HashMap<RequestKey, VecDeque<ArrivedRequest>>;

/// A server on this machine. It ends when it is dropped.
pub(super) struct DevReceiver {
    /// Where it listens.
    pub(super) address: SocketAddr,
    memory: Arc<RequestMemory>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct RequestMemory {
    arrived: Mutex<(ArrivedRequests, usize)>,
    changed: Notify,
}

impl DevReceiver {
    /// Listens on a free port.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn start() -> anyhow::Result<Self> {
        let starting = "starting the receiver on 127.0.0.1";
        let listener = TcpListener::bind("127.0.0.1:0").context(starting)?;
        listener.set_nonblocking(true).context(starting)?;
        let address = listener.local_addr().context(starting)?;
        let listener = tokio::net::TcpListener::from_std(listener).context(starting)?;
        let memory = Arc::<RequestMemory>::default();
        let routes = Router::new().fallback(remember).with_state(Arc::clone(&memory));
        let mut server = JoinSet::new();
        server.spawn(async move {
            // It ends with the program, and not before.
            _ = axum::serve(listener, routes).await;
        });
        Ok(DevReceiver { address, memory, _server: server })
    }

    /// Forgets what arrived so far.
    pub(super) fn forget(&self) {
        *self.memory.arrived.lock() = Default::default();
    }

    /// Waits until all of these have arrived, so many of each, and takes whatever has arrived by then.
    pub(super) async fn take(
        &self,
        wanted: &HashMap<RequestKey, usize>,
        within: Duration,
    ) -> ArrivedRequests {
        let until = Instant::now() + within;
        loop {
            let changed = self.memory.changed.notified();
            {
                let mut arrived = self.memory.arrived.lock();
                let has = |(key, count): (&RequestKey, &usize)| {
                    arrived.0.get(key).is_some_and(|arrived| arrived.len() >= *count)
                };
                if wanted.iter().all(has) || Instant::now() >= until {
                    return std::mem::take(&mut *arrived).0;
                }
            }
            _ = tokio::time::timeout_at(until, changed).await;
        }
    }
}

async fn remember(State(memory): State<Arc<RequestMemory>>, request: Request) -> StatusCode {
    let (head, body) = request.into_parts();
    let mut digest = Sha256::new();
    let mut body = body.into_data_stream();
    while let Some(piece) = body.next().await {
        let Ok(piece) = piece else { return StatusCode::BAD_REQUEST };
        digest.update(&piece);
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in &head.headers {
        let value =
            String::from_utf8_lossy(value.as_bytes()).chars().take(LONGEST_HEADER).collect::<String>();
        headers.extend(shown_header(name.as_str(), &value).map(|value| (name.to_string(), value)));
    }
    headers.sort();
    let hook = head.headers.get("x-hook-id").and_then(|hook| hook.to_str().ok()).unwrap_or_default();
    let key = RequestKey { hook: hook.to_owned(), body: digest.finalize().into() };
    let request = ArrivedRequest { method: head.method.to_string(), path: head.uri.to_string(), headers };
    let mut arrived = memory.arrived.lock();
    if arrived.1 < REMEMBERED {
        arrived.1 += 1;
        arrived.0.entry(key).or_default().push_back(request);
    }
    drop(arrived);
    memory.changed.notify_one();
    StatusCode::OK
}
