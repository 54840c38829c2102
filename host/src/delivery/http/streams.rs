//! One connection of HTTP/2, shared by requests: never more at a time than the other side takes.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::wire::{ByteCount, ByteStream, CountedWire};

/// Bytes of an answer's headers, as they count without compression.
const HEADER_LIST: u32 = 512 << 10;

/// Bytes of a body that are sent to us before we have read any. Little more than what is kept of one.
const STREAM_WINDOW: u32 = 128 << 10;

/// The same for all bodies of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Bytes that may come without an answer getting any further: windows, and frames that nobody asked for.
const WITHOUT_PROGRESS: u64 = 4 << 20;

/// The other side's first frame says how many streams it takes. Who does not send it is taken to take one.
const FIRST_FRAME: Duration = Duration::from_millis(250);

/// No sign of life is waited for so long that the library gives a connection up by itself: that is decided by request.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// What sends requests of a connection. It is gone once it has ended: as long as it is there, requests that came at the
/// same moment wait in it, and nobody would ever answer them.
type StreamDriver =
    Mutex<Option<Pin<Box<http2::Connection<TokioIo<CountedWire>, Full<Bytes>, ConnectionTasks>>>>>;

/// A connection that takes several requests at a time.
pub(super) struct SharedConnection {
    sender: http2::SendRequest<Full<Bytes>>,
    driver: Arc<StreamDriver>,
    pub(super) count: Arc<ByteCount>,
    /// The other end.
    pub(super) peer: Option<SocketAddr>,
    /// Streams that the other side takes at the moment.
    streams: AtomicUsize,
    /// Requests under way; changed by the pool only, under its lock.
    pub(super) in_use: AtomicUsize,
    /// Where it stands among the idle ones; 0 while it is used. Changed by the pool only, under its lock.
    pub(super) idle_key: AtomicUsize,
    retired: AtomicBool,
    /// Told when `streams` changes or the connection ends.
    pub(super) changed: Arc<Notify>,
    _place: OwnedSemaphorePermit,
}

impl SharedConnection {
    /// Speaks HTTP/2 over these bytes; `tasks` move them until the connection ends. Pings go out while requests wait
    /// and nothing has come for `quiet`.
    pub(super) async fn over(
        io: Box<dyn ByteStream>,
        peer: Option<SocketAddr>,
        place: OwnedSemaphorePermit,
        tasks: &TaskTracker,
        quiet: Duration,
        changed: Arc<Notify>,
    ) -> hyper::Result<Arc<Self>> {
        let (wire, count) = CountedWire::new(io);
        count.allow(WITHOUT_PROGRESS, false);
        let tasks = ConnectionTasks { tasks: tasks.clone(), shared: Arc::default() };
        let (sender, driver) = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .initial_max_send_streams(1)
            .max_header_list_size(HEADER_LIST)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(quiet)
            .keep_alive_timeout(NEVER)
            .handshake(TokioIo::new(wire))
            .await?;
        let driver: Arc<StreamDriver> = Arc::new(Mutex::new(Some(Box::pin(driver))));
        let shared = Arc::new(SharedConnection {
            sender,
            driver: Arc::clone(&driver),
            count,
            peer,
            streams: AtomicUsize::new(1),
            in_use: AtomicUsize::new(0),
            idle_key: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            changed,
            _place: place,
        });
        tasks.shared.get_or_init(|| Arc::downgrade(&shared));
        // Its error reaches the requests.
        tasks.execute(poll_fn(move |context| drive(&driver, context)));
        Ok(shared)
    }

    /// Waits until the other side has said how many streams it takes, for a moment.
    pub(super) async fn introduced(&self) {
        let heard = async {
            loop {
                let changed = self.changed.notified();
                if self.count.read() > 0 || self.is_over() {
                    return;
                }
                changed.await;
            }
        };
        timeout(FIRST_FRAME, heard).await.ok();
    }

    /// Streams that the other side takes at the moment.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// No request is sent over it any more; those under way go on.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether no request can be sent over it.
    pub(super) fn is_over(&self) -> bool {
        self.retired.load(Ordering::Relaxed) || self.sender.is_closed()
    }

    /// Sends a request and waits for the head of its answer. Who asks holds one of its streams.
    pub(super) async fn ask(&self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let answer = self.sender.clone().send_request(request).await;
        self.progressed();
        answer
    }

    fn look(&self) {
        let streams = self.driver.lock().as_ref().map_or(0, |driver| driver.current_max_send_streams());
        let changed = self.streams.swap(streams, Ordering::Relaxed) != streams;
        if changed || self.count.is_first() || self.sender.is_closed() {
            self.changed.notify_waiters();
        }
    }

    /// An answer has got further, so more may come.
    pub(super) fn progressed(&self) {
        self.count.allow(WITHOUT_PROGRESS, false);
    }
}

fn drive(driver: &StreamDriver, context: &mut Context<'_>) -> Poll<()> {
    let mut driver = driver.lock();
    let Some(driving) = driver.as_mut() else { return Poll::Ready(()) };
    let polled = driving.as_mut().poll(context).map(|_| ());
    let ended = if polled.is_ready() { driver.take() } else { None };
    // Requests that are answered by its end may ask for the lock.
    drop(driver);
    drop(ended);
    polled
}

/// Runs what moves the bytes of a connection, and looks how many streams the other side takes after each move.
#[derive(Clone)]
struct ConnectionTasks {
    tasks: TaskTracker,
    shared: Arc<OnceLock<Weak<SharedConnection>>>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for ConnectionTasks {
    fn execute(&self, moving: F) {
        let shared = Arc::clone(&self.shared);
        let mut moving = Box::pin(moving);
        self.tasks.spawn(poll_fn(move |context| {
            let polled = moving.as_mut().poll(context);
            if let Some(shared) = shared.get().and_then(Weak::upgrade) {
                shared.look();
            }
            polled
        }));
    }
}
