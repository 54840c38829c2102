//! An endpoint as cheap as one can be: it reads just enough HTTP/1.1 to count requests and to answer them, at once or as
//! late as a server far away, all of them or only so many at a time.
//!
//! It has one thread, as that costs least, and keeps the books: which deliveries came, and which came twice. An answer
//! that waits is an entry of a queue that is looked at each millisecond, and no timer of its own.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// How long deliveries may take; a run that needs more has lost some.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often answers that wait are looked at. Those are sent whose time is nearer to this look than to the next.
const LOOK: Duration = Duration::from_millis(1);

/// How an endpoint answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AnswerManner {
    /// So long after the request.
    pub(crate) after: Duration,
    /// It does so many requests at a time.
    pub(crate) at_once: Option<usize>,
    /// What it does with those beyond.
    pub(crate) beyond: BeyondManner,
}

impl AnswerManner {
    /// It takes what comes and answers after this time.
    pub(crate) fn after(after: Duration) -> Self {
        AnswerManner { after, ..Self::default() }
    }
}

/// What an endpoint does with requests that are too many.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum BeyondManner {
    /// It answers 503.
    #[default]
    Refuses,
    /// It breaks the connection.
    Resets,
}

/// The handle of the receiver's thread; the thread ends with it.
pub(crate) struct LoadReceiver {
    addresses: Vec<SocketAddr>,
    questions: mpsc::UnboundedSender<ReceiverQuestion>,
    counts: Arc<ReceivedCounts>,
    /// Deliveries that were announced.
    owed: AtomicU64,
}

/// What has come so far.
#[derive(Default)]
struct ReceivedCounts {
    /// Requests that were answered with success, or will be.
    taken: AtomicU64,
    /// Requests beyond what the endpoint does at a time.
    refused: AtomicU64,
    /// Of those that were taken, the ones whose `webhook-id` had come before, or that had none.
    duplicates: AtomicU64,
}

/// When the request comes that makes this total.
struct ReceiverQuestion(u64, oneshot::Sender<Instant>);

struct ReceiverState {
    manner: AnswerManner,
    counts: Arc<ReceivedCounts>,
    seen: HashSet<Box<[u8]>>,
    awaited: Option<ReceiverQuestion>,
    /// Answers that wait, the oldest first.
    waiting: VecDeque<(Instant, Rc<TcpStream>)>,
}

struct SharedReceiver {
    state: RefCell<ReceiverState>,
    /// An answer has begun to wait.
    begun: Notify,
}

impl LoadReceiver {
    /// One endpoint that answers at once.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::answering(AnswerManner::default(), 1)
    }

    /// So many endpoints of one kind, each on a free port of its own.
    pub(crate) fn answering(manner: AnswerManner, endpoints: usize) -> anyhow::Result<Self> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for _ in 0..endpoints {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").context("listening")?;
            listener.set_nonblocking(true)?;
            addresses.push(listener.local_addr()?);
            listeners.push(listener);
        }
        let (questions, asked) = mpsc::unbounded_channel();
        let counts = Arc::new(ReceivedCounts::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let books = Arc::clone(&counts);
        let serve = move || {
            let state = RefCell::new(ReceiverState::new(manner, books));
            let shared = Rc::new(SharedReceiver { state, begun: Notify::new() });
            LocalSet::new().block_on(&runtime, serve(listeners, asked, shared))
        };
        std::thread::Builder::new().name("receiver".to_owned()).spawn(serve)?;
        Ok(LoadReceiver { addresses, questions, counts, owed: AtomicU64::new(0) })
    }

    /// An address on its first endpoint.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses[0])
    }

    /// An address on each of its endpoints.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("http://{address}/hook")).collect()
    }

    /// Deliveries that it has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.counts.taken.load(Ordering::Relaxed)
    }

    /// Requests that were beyond what it does at a time.
    pub(crate) fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Announces `more` deliveries, and waits for the last of all that were announced.
    pub(crate) fn expect(&self, more: u64) -> anyhow::Result<ExpectedDeliveries> {
        let total = self.owed.fetch_add(more, Ordering::Relaxed) + more;
        let (answer, reached) = oneshot::channel();
        self.questions.send(ReceiverQuestion(total, answer)).ok().context("the receiver has ended")?;
        Ok(ExpectedDeliveries { total, reached })
    }

    /// Nothing is missing and nothing came twice.
    pub(crate) fn balance(&self) -> anyhow::Result<()> {
        let (taken, owed) = (self.taken(), self.owed.load(Ordering::Relaxed));
        let duplicates = self.counts.duplicates.load(Ordering::Relaxed);
        ensure!(taken == owed, "{taken} deliveries came where {owed} were owed");
        ensure!(duplicates == 0, "{duplicates} deliveries came twice");
        Ok(())
    }
}

/// Deliveries that are to come.
pub(crate) struct ExpectedDeliveries {
    total: u64,
    reached: oneshot::Receiver<Instant>,
}

impl ExpectedDeliveries {
    /// When the last of them came.
    pub(crate) async fn all_came(self, receiver: &LoadReceiver) -> anyhow::Result<Instant> {
        match tokio::time::timeout(PATIENCE, self.reached).await {
            Ok(at) => at.context("the receiver has ended"),
            Err(_) => {
                let taken = receiver.taken();
                bail!("{taken} of {} deliveries came within {} s", self.total, PATIENCE.as_secs())
            }
        }
    }
}

async fn serve(
    listeners: Vec<std::net::TcpListener>,
    mut asked: mpsc::UnboundedReceiver<ReceiverQuestion>,
    shared: Rc<SharedReceiver>,
) -> anyhow::Result<()> {
    // They end with the thread.
    let mut endpoints = JoinSet::new();
    for listener in listeners {
        endpoints.spawn_local(accept(TcpListener::from_std(listener)?, Rc::clone(&shared)));
    }
    endpoints.spawn_local(answer_in_time(Rc::clone(&shared)));
    while let Some(question) = asked.recv().await {
        shared.state.borrow_mut().hear(question);
    }
    Ok(())
}

async fn accept(listener: TcpListener, shared: Rc<SharedReceiver>) -> std::io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn_local(converse(Rc::new(stream), Rc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer_in_time(shared: Rc<SharedReceiver>) -> std::io::Result<()> {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if shared.state.borrow().waiting.is_empty() {
            shared.begun.notified().await;
        }
        let now = looks.tick().await;
        let due = |(at, _): &mut (Instant, _)| *at <= now + LOOK / 2;
        while let Some((_, stream)) = shared.state.borrow_mut().waiting.pop_front_if(due) {
            answer(&stream, TAKEN);
        }
    }
}

impl ReceiverState {
    fn new(manner: AnswerManner, counts: Arc<ReceivedCounts>) -> Self {
        ReceiverState { manner, counts, seen: HashSet::new(), awaited: None, waiting: VecDeque::new() }
    }

    fn hear(&mut self, question: ReceiverQuestion) {
        self.awaited = Some(question);
        self.tell();
    }

    fn tell(&mut self) {
        let taken = self.counts.taken.load(Ordering::Relaxed);
        if let Some(ReceiverQuestion(_, answer)) =
            self.awaited.take_if(|ReceiverQuestion(total, _)| *total <= taken)
        {
            // Who asked and did not wait does not need the answer.
            _ = answer.send(Instant::now());
        }
    }

    /// Whether there is room for one more, which is in the books then.
    fn takes(&mut self, id: Option<&[u8]>) -> bool {
        if self.manner.at_once.is_some_and(|most| self.waiting.len() >= most) {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let is_new = id.is_some_and(|id| self.seen.insert(id.into()));
        self.counts.duplicates.fetch_add(u64::from(!is_new), Ordering::Relaxed);
        self.counts.taken.fetch_add(1, Ordering::Relaxed);
        self.tell();
        true
    }
}

/// Requests of one connection, until it breaks or is closed.
async fn converse(stream: Rc<TcpStream>, shared: Rc<SharedReceiver>) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    loop {
        let Some((head, length)) = head_of(&bytes) else {
            if !read_more(&stream, &mut bytes).await? {
                return Ok(());
            }
            continue;
        };
        let end = head + length;
        while bytes.len() < end {
            if !read_more(&stream, &mut bytes).await? {
                return Ok(());
            }
        }
        let mut state = shared.state.borrow_mut();
        let takes = state.takes(header(&bytes[..head], b"webhook-id"));
        bytes.drain(..end);
        let manner = state.manner;
        match (takes, manner.beyond) {
            (true, _) if manner.after.is_zero() => answer(&stream, TAKEN),
            (true, _) => {
                state.waiting.push_back((Instant::now() + manner.after, Rc::clone(&stream)));
                shared.begun.notify_one();
            }
            (false, BeyondManner::Refuses) => answer(&stream, REFUSED),
            (false, BeyondManner::Resets) => return stream.set_zero_linger(),
        }
    }
}

/// Whoever asked has read all earlier answers, so there is room for a short one; who has gone does not need it.
fn answer(stream: &TcpStream, text: &[u8]) {
    stream.try_write(text).ok();
}

async fn read_more(stream: &TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
    loop {
        stream.readable().await?;
        match stream.try_read_buf(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            read => return Ok(read? > 0),
        }
    }
}

/// Bytes of the head, and of the body behind it.
pub(crate) fn head_of(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = header(&bytes[..head], b"content-length").and_then(|text| std::str::from_utf8(text).ok());
    Some((head, length.and_then(|length| length.parse().ok()).unwrap_or(0)))
}

fn header<'h>(head: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":").filter(|_| found.eq_ignore_ascii_case(name))?;
        Some(value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::yield_now;

    use super::*;

    /// Sends a delivery; the answer is what comes on the connection.
    async fn deliver(receiver: &LoadReceiver, id: &str) -> TcpStream {
        let mut stream = TcpStream::connect(receiver.addresses[0]).await.unwrap();
        let request = format!("POST /hook HTTP/1.1\r\nwebhook-id: {id}\r\nContent-Length: 2\r\n\r\n{{}}");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn status(mut stream: TcpStream) -> std::io::Result<String> {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[9..]).into_owned())
    }

    /// One delivery that is under way for longer than any test.
    async fn busy(beyond: BeyondManner) -> (LoadReceiver, TcpStream) {
        let manner = AnswerManner { after: Duration::from_secs(600), at_once: Some(1), beyond };
        let receiver = LoadReceiver::answering(manner, 1).unwrap();
        let under_way = deliver(&receiver, "first").await;
        while receiver.taken() < 1 {
            yield_now().await;
        }
        (receiver, under_way)
    }

    #[tokio::test]
    async fn an_answer_comes_later_and_the_books_balance() {
        let receiver = LoadReceiver::answering(AnswerManner::after(Duration::from_millis(5)), 2).unwrap();
        let expected = receiver.expect(2).unwrap();

        assert_eq!(status(deliver(&receiver, "first").await).await.unwrap(), "200");
        assert_eq!(status(deliver(&receiver, "second").await).await.unwrap(), "200");

        expected.all_came(&receiver).await.unwrap();
        receiver.balance().unwrap();
        assert_eq!(receiver.urls().len(), 2);
    }

    #[tokio::test]
    async fn what_comes_twice_or_is_missing_is_told() {
        let receiver = LoadReceiver::start().unwrap();
        receiver.expect(3).unwrap();

        for id in ["same", "same"] {
            assert_eq!(status(deliver(&receiver, id).await).await.unwrap(), "200");
        }

        let said = |receiver: &LoadReceiver| receiver.balance().unwrap_err().to_string();
        assert_eq!(said(&receiver), "2 deliveries came where 3 were owed");
        assert_eq!(status(deliver(&receiver, "other").await).await.unwrap(), "200");
        assert_eq!(said(&receiver), "1 deliveries came twice");
    }

    #[tokio::test]
    async fn a_request_beyond_what_is_done_at_a_time_is_refused_or_reset() {
        let (refusing, _under_way) = busy(BeyondManner::Refuses).await;
        assert_eq!(status(deliver(&refusing, "second").await).await.unwrap(), "503");
        assert_eq!((refusing.taken(), refusing.refused()), (1, 1));

        let (resetting, _under_way) = busy(BeyondManner::Resets).await;
        let broken = status(deliver(&resetting, "second").await).await.unwrap_err();
        assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!((resetting.taken(), resetting.refused()), (1, 1));
    }
}
