//! How many clients may be connected, and who has to make room: sockets are accepted here, and given a limit for
//! everything that a client could leave undone.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::reading_client::ReadingClient;

/// How much of a request is held before it is understood: its line and its headers. Beyond it, 431.
const HEAD_BYTES: usize = 64 << 10;

/// The pause after a socket could not be accepted, for lack of what others have.
const BREATH: Duration = Duration::from_millis(50);

/// At a stop, how often connections look whether their last answer is still under way.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// The connections of clients.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    header_timeout: Duration,
    open: Mutex<OpenConnections>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct OpenConnections {
    connections: FxHashMap<u64, Arc<ClientConnection>>,
    /// Those whose request is not worked on, in the order in which they make room: by their rank, then the oldest.
    dispensable: BTreeSet<(Rank, u64)>,
    next: u64,
    evicted: u64,
}

/// Who makes room before whom. A body that is still to come gives no right to a place: whoever sends one slowly could
/// keep it for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    IdleStranger,
    SendingStranger,
    IdleKnown,
    SendingKnown,
}

/// One client's connection, as an extension of each of its requests.
#[derive(Debug)]
pub(super) struct ClientConnection {
    /// A lower one is older.
    number: u64,
    requests: AtomicUsize,
    known: AtomicBool,
    /// Where it stands among those that may make room, if it does; changed under the lock of all.
    rank: Mutex<Option<Rank>>,
    all: Weak<Connections>,
    evict: CancellationToken,
}

impl Connections {
    /// At most so many, each with so much time for the headers of a request.
    pub fn new(most: usize, header_timeout: Duration) -> Self {
        Self { most, header_timeout, open: Mutex::default(), freed: Notify::new() }
    }

    /// How many there are.
    pub fn open(&self) -> usize {
        self.open.lock().connections.len()
    }

    /// How many may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// How many had to make room for others.
    pub fn evicted(&self) -> u64 {
        self.open.lock().evicted
    }

    /// A place, where there is one or somebody can make room.
    fn place(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let mut open = self.open.lock();
        if open.connections.len() >= self.most && !open.make_room() {
            return None;
        }
        let number = open.next;
        open.next += 1;
        let connection = Arc::new(ClientConnection {
            number,
            requests: AtomicUsize::new(0),
            known: AtomicBool::new(false),
            rank: Mutex::default(),
            all: Arc::downgrade(self),
            evict: CancellationToken::new(),
        });
        open.connections.insert(number, Arc::clone(&connection));
        open.place(&connection, Some(Rank::IdleStranger));
        Some(ConnectionPermit { connections: Arc::clone(self), connection })
    }

    async fn wait_for_place(self: &Arc<Self>) -> ConnectionPermit {
        loop {
            let freed = self.freed.notified();
            if let Some(place) = self.place() {
                return place;
            }
            freed.await;
        }
    }
}

/// The place of one connection; it is free again when this is dropped.
struct ConnectionPermit {
    connections: Arc<Connections>,
    connection: Arc<ClientConnection>,
}

impl ConnectionPermit {
    /// A request is under way until this is dropped; `sending` as long as its body is to come.
    fn busy(&self, sending: bool) -> BusyConnection {
        let mut open = self.connections.open.lock();
        self.connection.requests.fetch_add(1, Ordering::Relaxed);
        open.place(&self.connection, sending.then(|| self.connection.sending()));
        BusyConnection {
            connections: Arc::clone(&self.connections),
            connection: Arc::clone(&self.connection),
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.connections.remove(&self.connection.number);
        open.place(&self.connection, None);
        drop(open);
        self.connections.freed.notify_one();
    }
}

/// A request under way.
#[derive(Debug)]
struct BusyConnection {
    connections: Arc<Connections>,
    connection: Arc<ClientConnection>,
}

impl BusyConnection {
    /// Its body has come: it is worked on, and makes room for nobody.
    fn is_worked_on(&self) {
        self.connections.open.lock().place(&self.connection, None);
    }
}

impl Drop for BusyConnection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        let left = self.connection.requests.fetch_sub(1, Ordering::Relaxed) - 1;
        if left == 0 && open.connections.contains_key(&self.connection.number) {
            open.place(&self.connection, Some(self.connection.idle()));
            drop(open);
            // Whoever waits for a place may have this one.
            self.connections.freed.notify_one();
        }
    }
}

impl OpenConnections {
    /// Puts a connection among those that may make room, or takes it out.
    fn place(&mut self, connection: &ClientConnection, rank: Option<Rank>) {
        let mut placed = connection.rank.lock();
        if let Some(before) = placed.take() {
            self.dispensable.remove(&(before, connection.number));
        }
        if let Some(rank) = rank.filter(|_| self.connections.contains_key(&connection.number)) {
            self.dispensable.insert((rank, connection.number));
            *placed = Some(rank);
        }
    }

    fn make_room(&mut self) -> bool {
        let gone = self.dispensable.pop_first().and_then(|(_, number)| self.connections.remove(&number));
        gone.inspect(|gone| {
            gone.rank.lock().take();
            gone.evict.cancel();
            self.evicted += 1;
        })
        .is_some()
    }
}

impl ClientConnection {
    /// Its client has sent a known token.
    pub(super) fn is_known(&self) {
        if self.known.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(all) = self.all.upgrade() {
            let mut open = all.open.lock();
            let sending = *self.rank.lock() == Some(Rank::SendingStranger);
            if sending {
                open.place(self, Some(Rank::SendingKnown));
            }
        }
    }

    fn idle(&self) -> Rank {
        if self.known.load(Ordering::Relaxed) { Rank::IdleKnown } else { Rank::IdleStranger }
    }

    fn sending(&self) -> Rank {
        if self.known.load(Ordering::Relaxed) { Rank::SendingKnown } else { Rank::SendingStranger }
    }
}

/// A request's body that says when it has come.
struct ComingBody {
    inner: Incoming,
    busy: Arc<BusyConnection>,
}

impl HttpBody for ComingBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || polled.is_ready() && self.inner.is_end_stream() {
            self.busy.is_worked_on();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Serves until it is told to stop, then lets requests under way end.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    connections: Arc<Connections>,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let router = TowerToHyperService::new(router);
    let tasks = TaskTracker::new();
    // Connections do not outlive whoever accepted them, should that crash.
    let stop = stop.child_token();
    let _crash = stop.clone().drop_guard();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                // Most likely there are too many files open; one of ours can be spared.
                connections.open.lock().make_room();
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = connections.wait_for_place() => place,
        };
        tasks.spawn(attend(stream, peer, router.clone(), place, stop.clone()));
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn attend(
    stream: TcpStream,
    peer: SocketAddr,
    router: TowerToHyperService<Router>,
    place: ConnectionPermit,
    stop: CancellationToken,
) {
    let connection = &place.connection;
    // Answers are small and whole; to wait for more would only delay them.
    drop(stream.set_nodelay(true));
    let service = service_fn(|mut request: Request<Incoming>| {
        super::asked::settle(&mut request);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Arc::clone(connection));
        let sending = !request.body().is_end_stream();
        let busy = Arc::new(place.busy(sending));
        let of_body = Arc::clone(&busy);
        let answer = router.call(request.map(|inner| ComingBody { inner, busy: of_body }));
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(place.connections.header_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(
            TokioIo::new(ReadingClient::new(stream, place.connections.header_timeout)),
            service,
        );
    tokio::pin!(served);
    // However it ends is the client's affair.
    tokio::select! {
        _ = served.as_mut() => return,
        () = connection.evict.cancelled() => return,
        () = stop.cancelled() => {}
    }
    served.as_mut().graceful_shutdown();
    tokio::select! {
        _ = served.as_mut() => {}
        () = silent(connection) => {}
    }
}

/// Half a request keeps nobody from stopping.
async fn silent(connection: &ClientConnection) {
    loop {
        tokio::time::sleep(LAST_LOOK).await;
        if connection.requests.load(Ordering::Relaxed) == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(most: usize) -> Arc<Connections> {
        Arc::new(Connections::new(most, Duration::from_secs(1)))
    }

    /// Who has gone, of places in the order of their numbers.
    fn gone(places: &[&ConnectionPermit]) -> Vec<bool> {
        places.iter().map(|place| place.connection.evict.is_cancelled()).collect()
    }

    #[test]
    fn the_oldest_stranger_without_a_request_makes_room() {
        let connections = room(3);
        let [first, second, third] = [(); 3].map(|()| connections.place().unwrap());
        let busy = first.busy(false);

        let _fourth = connections.place().unwrap();
        assert_eq!(gone(&[&first, &second, &third]), [false, true, false]);
        drop(busy);
        let _fifth = connections.place().unwrap();
        assert_eq!(gone(&[&first, &second, &third]), [true, true, false]);
    }

    #[test]
    fn somebody_with_a_token_makes_room_only_when_no_stranger_can() {
        let connections = room(2);
        let known = connections.place().unwrap();
        let stranger = connections.place().unwrap();
        let busy = known.busy(false);
        known.connection.is_known();
        drop(busy);

        let third = connections.place().unwrap();
        assert_eq!(gone(&[&known, &stranger, &third]), [false, true, false]);
        let _busy = third.busy(false);
        let _fourth = connections.place().unwrap();
        assert_eq!(gone(&[&known, &stranger, &third]), [true, true, false]);
    }

    #[test]
    fn a_body_that_is_still_to_come_keeps_no_place_and_one_that_has_come_does() {
        let connections = room(3);
        let [slow, worked_on, idle] = [(); 3].map(|()| connections.place().unwrap());
        let _slow = slow.busy(true);
        let busy = worked_on.busy(true);
        busy.is_worked_on();

        let _fourth = connections.place().unwrap();
        assert_eq!(gone(&[&slow, &worked_on, &idle]), [false, false, true]);
        let fifth = connections.place().unwrap();
        let _fifth = fifth.busy(true);
        fifth.connection.is_known();
        assert_eq!(gone(&[&slow, &worked_on, &fifth]), [false, false, false]);
        let _sixth = connections.place().unwrap();
        assert_eq!(gone(&[&slow, &worked_on, &fifth]), [true, false, false]);
    }

    #[test]
    fn one_more_than_the_most_takes_the_place_of_an_idle_one() {
        let connections = room(2);
        let first = connections.place().unwrap();
        let second = connections.place().unwrap();
        let third = connections.place().unwrap();

        assert!(first.connection.evict.is_cancelled());
        assert_eq!((connections.open(), connections.evicted()), (2, 1));
        drop((first, second));
        assert_eq!(connections.open(), 1);
        drop(third);
        let rest = connections.open.lock();
        assert!(rest.connections.is_empty() && rest.dispensable.is_empty());
    }

    #[tokio::test]
    async fn whoever_finds_all_busy_waits_for_one_that_is_not() {
        let connections = room(1);
        let only = connections.place().unwrap();
        let busy = only.busy(false);

        let waiting = connections.wait_for_place();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert!(!only.connection.evict.is_cancelled());
        drop(busy);

        waiting.await;
        assert!(only.connection.evict.is_cancelled());
    }
}
