//! Whoever posts events, as cheap as one can be: connections that write a request and read an answer, all on one thread.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::host::Host;
use crate::receiver::head_of;

/// The media type of one event.
pub(crate) const SINGLE: &str = "application/json";

/// That of several, one a line.
pub(crate) const LINES: &str = "application/x-ndjson";

/// A connection to a host's `POST /events`.
pub(crate) struct PostingClient {
    stream: TcpStream,
    head: String,
    bytes: Vec<u8>,
}

impl PostingClient {
    /// Connects.
    pub(crate) async fn connect(host: &Host) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host.authority()).await.context("connecting to the host")?;
        stream.set_nodelay(true)?;
        let head = format!(
            "POST /events HTTP/1.1\r\nhost: {}\r\nx-auth-token: {}\r\n",
            host.authority(),
            host.token()
        );
        Ok(PostingClient { stream, head, bytes: Vec::with_capacity(16 * 1024) })
    }

    /// So many.
    pub(crate) async fn several(host: &Host, clients: usize) -> anyhow::Result<Vec<Self>> {
        try_join_all((0..clients).map(|_| Self::connect(host))).await
    }

    /// Posts one event, or several as lines, and waits until they are accepted.
    pub(crate) async fn post(&mut self, body: &str, media_type: &str) -> anyhow::Result<()> {
        let length = body.len();
        let head = format!("{}content-type: {media_type}\r\ncontent-length: {length}\r\n\r\n", self.head);
        self.bytes.clear();
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(body.as_bytes());
        self.stream.write_all(&self.bytes).await.context("posting an event")?;
        self.bytes.clear();
        loop {
            if let Some((head, length)) = head_of(&self.bytes)
                && self.bytes.len() >= head + length
            {
                break;
            }
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                bail!("the host has closed a connection");
            }
        }
        let accepted = self.bytes.starts_with(b"HTTP/1.1 202 ");
        ensure!(accepted, "POST /events answered {}", String::from_utf8_lossy(&self.bytes));
        Ok(())
    }
}

/// Each client posts the next event once its last one is accepted, until there is none. Answers what each post took, in
/// milliseconds.
pub(crate) async fn post_all(
    clients: &mut [PostingClient],
    media_type: &str,
    next: impl FnMut() -> Option<String>,
) -> anyhow::Result<Vec<f64>> {
    let (next, took) = (RefCell::new(next), RefCell::new(Vec::new()));
    let posts = clients.iter_mut().map(async |client| {
        loop {
            let body = (next.borrow_mut())();
            let Some(body) = body else { return anyhow::Ok(()) };
            let begun = Instant::now();
            client.post(&body, media_type).await?;
            took.borrow_mut().push(begun.elapsed().as_secs_f64() * 1e3);
        }
    });
    try_join_all(posts).await?;
    Ok(took.into_inner())
}

/// How events are spread over a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostingPace {
    /// Each by itself, at equal distances.
    Even,
    /// Those of a millisecond together.
    Bursts,
}

/// Posts so many events at so many a second, whatever the answers take, as long as a client is free.
pub(crate) async fn post_paced(
    clients: &mut [PostingClient],
    pace: PostingPace,
    rate: u32,
    count: u32,
    next: impl FnMut() -> String,
) -> anyhow::Result<()> {
    let turns = Semaphore::new(0);
    let left = Cell::new(count);
    let next = RefCell::new(next);
    let posts = clients.iter_mut().map(async |client| {
        loop {
            // Closed when all were posted.
            let Ok(turn) = turns.acquire().await else { return anyhow::Ok(()) };
            turn.forget();
            let body = (next.borrow_mut())();
            client.post(&body, SINGLE).await?;
            left.set(left.get() - 1);
            if left.get() == 0 {
                turns.close();
            }
        }
    });
    let giving = async {
        match pace {
            PostingPace::Even => give_evenly(&turns, rate, count).await,
            PostingPace::Bursts => give_in_bursts(&turns, rate, count).await,
        }
    };
    let (posted, ()) = tokio::join!(try_join_all(posts), giving);
    posted.map(|_| ())
}

async fn give_in_bursts(turns: &Semaphore, rate: u32, count: u32) {
    let burst = (rate / 1000).max(1);
    let mut ticks = interval(Duration::from_secs(1) * burst / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..count / burst {
        ticks.tick().await;
        turns.add_permits(burst as usize);
    }
    turns.add_permits((count % burst) as usize);
}

/// The runtime's clock knows milliseconds only, so a thread of its own gives the turns.
async fn give_evenly(turns: &Semaphore, rate: u32, count: u32) {
    let (give, mut given) = tokio::sync::mpsc::unbounded_channel();
    let distance = Duration::from_secs(1) / rate;
    let thread = std::thread::spawn(move || {
        let begun = Instant::now();
        for turn in 0..count {
            let at = begun + distance * turn;
            while let Some(rest) = at.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
                std::thread::park_timeout(rest);
            }
            if give.send(()).is_err() {
                return;
            }
        }
    });
    while given.recv().await.is_some() {
        turns.add_permits(1);
    }
    // Its sender is gone, so it has ended.
    thread.join().ok();
}
