//! An endpoint that speaks HTTP/2 by hand, frame by frame, as no library would let it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Authority;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const REFUSED: u32 = 7;

/// What a connection does next.
#[derive(Clone, Copy, Debug)]
pub enum FrameStep {
    /// Says how many streams it takes.
    Settings(u32),
    /// Waits for a request, whole, on a stream of its own.
    Await,
    /// Answers 200 on the stream that came last.
    Answer,
    /// Answers 103 on it.
    Interim,
    /// Refuses it: nothing was done.
    Refuse,
    /// Says that streams up to the one before the last are the last ones that it works on.
    GoAway,
    /// Says that the one that came last is the last one that it works on.
    GoAwayAfter,
    /// Answers no ping from now on.
    IgnorePings,
    /// Waits, answering pings unless it ignores them.
    Pause(Duration),
    /// Ends the connection.
    Close,
    /// Reads for ever and writes nothing but answers to pings.
    Hang,
    /// Goes back to the first await.
    Again,
}

/// Such an endpoint on a port of its own; gone when dropped.
pub struct Framed {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<usize>,
    connections: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Framed {
    /// Its first connection follows the first of these scripts, and so on, all further ones the last.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn following(authority: &Authority, scripts: Vec<Vec<FrameStep>>) -> Self {
        let acceptor = authority.acceptor("127.0.0.1", &[b"h2"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (sender, requests) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let script = scripts[number.min(scripts.len() - 1)].clone();
                open.spawn(follow(acceptor.clone(), connection, script, number, sender.clone()));
            }
        });
        Framed { address, requests, connections, _server: server }
    }

    /// An address on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// How many connections it has taken.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests that have come and were not looked at, by their connection's number.
    pub fn waiting(&mut self) -> Vec<usize> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }
}

/// One connection as it is now.
struct Talk {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
    pings: bool,
    last: u32,
    /// A whole request has come and was not waited for yet.
    asked: std::collections::VecDeque<u32>,
}

async fn follow(
    acceptor: TlsAcceptor,
    connection: TcpStream,
    script: Vec<FrameStep>,
    number: usize,
    requests: mpsc::UnboundedSender<usize>,
) -> std::io::Result<()> {
    let stream = acceptor.accept(connection).await?;
    let asked = std::collections::VecDeque::new();
    let mut talk = Talk { stream, read: Vec::new(), pings: true, last: 0, asked };
    let mut preface = [0; 24];
    talk.stream.read_exact(&mut preface).await?;
    let first_await = script.iter().position(|step| matches!(step, FrameStep::Await)).unwrap_or(0);
    let mut before = 0;
    let mut at = 0;
    while let Some(step) = script.get(at) {
        at += 1;
        match *step {
            FrameStep::Settings(streams) => {
                let mut payload = MAX_CONCURRENT_STREAMS.to_be_bytes().to_vec();
                payload.extend(streams.to_be_bytes());
                talk.write(SETTINGS, 0, 0, &payload).await?;
            }
            FrameStep::Await => {
                while talk.asked.is_empty() {
                    talk.frame().await?;
                }
                before = talk.last;
                talk.last = talk.asked.pop_front().unwrap_or_default();
                requests.send(number).ok();
            }
            // `:status: 200` stands in the table that both sides know (RFC 7541, appendix A).
            FrameStep::Answer => talk.write(HEADERS, END_STREAM | END_HEADERS, talk.last, &[0x88]).await?,
            FrameStep::Interim => {
                // The name from the table, the value as text.
                talk.write(HEADERS, END_HEADERS, talk.last, &[0x08, 3, b'1', b'0', b'3']).await?;
            }
            FrameStep::Refuse => talk.write(RST_STREAM, 0, talk.last, &REFUSED.to_be_bytes()).await?,
            FrameStep::GoAway => talk.go_away(before).await?,
            FrameStep::GoAwayAfter => talk.go_away(talk.last).await?,
            FrameStep::IgnorePings => talk.pings = false,
            FrameStep::Pause(pause) => {
                let reading = async {
                    loop {
                        talk.frame().await?;
                    }
                };
                match tokio::time::timeout(pause, reading).await {
                    Ok(ended) => return ended,
                    Err(_) => continue,
                }
            }
            FrameStep::Close => return talk.stream.shutdown().await,
            FrameStep::Hang => loop {
                talk.frame().await?;
            },
            FrameStep::Again => at = first_await,
        }
    }
    Ok(())
}

impl Talk {
    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).await?;
        self.stream.flush().await
    }

    async fn go_away(&mut self, last: u32) -> std::io::Result<()> {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend(0_u32.to_be_bytes());
        self.write(GOAWAY, 0, 0, &payload).await
    }

    /// Reads one frame, which may take several reads: nothing of it is lost when this is dropped between them.
    async fn frame(&mut self) -> std::io::Result<()> {
        let length = loop {
            if let Some(head) = self.read.first_chunk::<9>() {
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if self.read.len() >= 9 + length {
                    break length;
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        };
        let frame: Vec<u8> = self.read.drain(..9 + length).collect();
        let (kind, flags, payload) = (frame[3], frame[4], &frame[9..]);
        let stream = u32::from_be_bytes([frame[5] & 0x7f, frame[6], frame[7], frame[8]]);
        match kind {
            SETTINGS if flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await?,
            PING if flags & ACK == 0 && self.pings => self.write(PING, ACK, 0, payload).await?,
            DATA | HEADERS if flags & END_STREAM != 0 => self.asked.push_back(stream),
            _ => {}
        }
        Ok(())
    }
}
