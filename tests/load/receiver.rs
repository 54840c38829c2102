//! An endpoint as cheap as one can be: it reads just enough HTTP/1.1 to count requests and to answer 200.
//!
//! It has one thread, as that costs least, and keeps the books: which deliveries came, and which came twice.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// How long deliveries may take; a run that needs more has lost some.
const PATIENCE: Duration = Duration::from_secs(30);

/// The handle of the receiver's thread; the thread ends with it.
pub(crate) struct Receiver {
    address: SocketAddr,
    questions: mpsc::UnboundedSender<Question>,
}

/// What has come so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Books {
    /// Requests.
    pub(crate) received: u64,
    /// Requests whose `webhook-id` had come before, or that had none.
    pub(crate) duplicates: u64,
}

enum Question {
    /// When the request comes that makes this total.
    Total(u64, oneshot::Sender<Instant>),
    Books(oneshot::Sender<Books>),
}

#[derive(Default)]
struct State {
    books: Books,
    seen: HashSet<Box<[u8]>>,
    awaited: Option<(u64, oneshot::Sender<Instant>)>,
}

impl Receiver {
    /// Listens on a free port.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("listening")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (questions, asked) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || LocalSet::new().block_on(&runtime, serve(listener, asked));
        std::thread::Builder::new().name("receiver".to_owned()).spawn(serve)?;
        Ok(Receiver { address, questions })
    }

    /// An address on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Begins to wait for `more` requests beyond what has come.
    pub(crate) async fn expect(&self, more: u64) -> anyhow::Result<Expected> {
        let total = self.books().await?.received + more;
        let (answer, reached) = oneshot::channel();
        self.ask(Question::Total(total, answer))?;
        Ok(Expected { total, reached })
    }

    /// What has come so far.
    pub(crate) async fn books(&self) -> anyhow::Result<Books> {
        let (answer, books) = oneshot::channel();
        self.ask(Question::Books(answer))?;
        books.await.context("the receiver has ended")
    }

    fn ask(&self, question: Question) -> anyhow::Result<()> {
        self.questions.send(question).ok().context("the receiver has ended")
    }
}

/// Requests that are to come.
pub(crate) struct Expected {
    total: u64,
    reached: oneshot::Receiver<Instant>,
}

impl Expected {
    /// When the last of them came.
    pub(crate) async fn all_came(self, receiver: &Receiver) -> anyhow::Result<Instant> {
        match tokio::time::timeout(PATIENCE, self.reached).await {
            Ok(at) => at.context("the receiver has ended"),
            Err(_) => {
                let received = receiver.books().await?.received;
                bail!("{received} of {} requests came within {} s", self.total, PATIENCE.as_secs())
            }
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    mut asked: mpsc::UnboundedReceiver<Question>,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let state = Rc::new(RefCell::new(State::default()));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            question = asked.recv() => match question {
                Some(question) => state.borrow_mut().hear(question),
                None => return Ok(()),
            },
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn_local(converse(stream, Rc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

impl State {
    fn hear(&mut self, question: Question) {
        match question {
            Question::Total(total, answer) => self.awaited = Some((total, answer)),
            // Who asked and did not wait does not need the answer.
            Question::Books(answer) => _ = answer.send(self.books),
        }
    }

    fn count(&mut self, id: Option<&[u8]>) {
        self.books.received += 1;
        let new = id.is_some_and(|id| self.seen.insert(id.into()));
        self.books.duplicates += u64::from(!new);
        let reached = |(total, _): &mut (u64, _)| *total <= self.books.received;
        if let Some((_, answer)) = self.awaited.take_if(reached) {
            _ = answer.send(Instant::now());
        }
    }
}

/// Requests of one connection, until it breaks or is closed.
async fn converse(mut stream: TcpStream, state: Rc<RefCell<State>>) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    loop {
        let Some((head, length)) = head_of(&bytes) else {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let end = head + length;
        while bytes.len() < end {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
        state.borrow_mut().count(header(&bytes[..head], b"webhook-id"));
        bytes.drain(..end);
        stream.write_all(ANSWER).await?;
    }
}

/// Bytes of the head, and of the body behind it.
fn head_of(bytes: &[u8]) -> Option<(usize, usize)> {
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
