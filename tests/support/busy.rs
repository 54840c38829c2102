//! An endpoint that counts what it is sent at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A server of a customer that counts how many requests it has; gone when dropped.
pub struct BusyEndpoint {
    address: SocketAddr,
    counts: Arc<BusyCounts>,
    _server: JoinSet<()>,
}

struct BusyCounts {
    takes: usize,
    /// How long it works on each; nothing where it holds them until they are let go.
    works: Option<Duration>,
    open: AtomicUsize,
    most: AtomicUsize,
    answered: AtomicUsize,
    refused: AtomicUsize,
    let_go: watch::Sender<u64>,
}

impl BusyEndpoint {
    /// Takes all, and holds each until [`let_go`](Self::let_go).
    pub async fn holding() -> Self {
        Self::serving(usize::MAX, None).await
    }

    /// Works on so many at once, on each for so long, and answers 503 to any more.
    pub async fn taking(takes: usize, works: Duration) -> Self {
        Self::serving(takes, Some(works)).await
    }

    async fn serving(takes: usize, works: Option<Duration>) -> Self {
        let counts = Arc::new(BusyCounts {
            takes,
            works,
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            let_go: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let app = Router::new().fallback(answer).with_state(Arc::clone(&counts));
        let mut server = JoinSet::new();
        server.spawn(async move {
            axum::serve(listener, app).await.expect("serving");
        });
        BusyEndpoint { address, counts, _server: server }
    }

    /// An address on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers all that it holds now.
    pub fn let_go(&self) {
        self.counts.let_go.send_modify(|times| *times += 1);
    }

    /// Requests that it has.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// The most that it worked on at once.
    #[must_use]
    pub fn most(&self) -> usize {
        self.counts.most.load(Ordering::SeqCst)
    }

    /// How many it has answered with 200, and how many with 503.
    #[must_use]
    pub fn answered(&self) -> (usize, usize) {
        (self.counts.answered.load(Ordering::SeqCst), self.counts.refused.load(Ordering::SeqCst))
    }
}

async fn answer(State(counts): State<Arc<BusyCounts>>, _body: Bytes) -> StatusCode {
    let mut let_go = counts.let_go.subscribe();
    let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
    let takes = open <= counts.takes;
    if takes {
        counts.most.fetch_max(open, Ordering::SeqCst);
        match counts.works {
            Some(works) => tokio::time::sleep(works).await,
            None => {
                // It never ends before this.
                let_go.changed().await.ok();
            }
        }
    }
    counts.open.fetch_sub(1, Ordering::SeqCst);
    let (count, status) = match takes {
        true => (&counts.answered, StatusCode::OK),
        false => (&counts.refused, StatusCode::SERVICE_UNAVAILABLE),
    };
    count.fetch_add(1, Ordering::SeqCst);
    status
}
