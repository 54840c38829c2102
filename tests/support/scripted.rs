//! An endpoint that misbehaves at the byte: each connection follows a list of steps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::PATIENCE;

/// What a connection does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads a request up to the end of its head.
    ReadHead,
    /// Reads the rest of the request.
    ReadBody,
    /// Waits for one more byte.
    ReadByte,
    /// Writes this.
    Write(Vec<u8>),
    /// Writes this byte by byte.
    Drip(Vec<u8>),
    /// Writes this again and again, as fast as it is taken, until nobody takes it.
    Flood(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Breaks the connection.
    Reset,
    /// Ends the connection in order.
    Close,
    /// Does nothing more and keeps the connection.
    Hang,
    /// Goes back to the first step.
    Again,
}

impl Step {
    /// Writes this text.
    #[must_use]
    pub fn write(text: &str) -> Self {
        Step::Write(text.as_bytes().to_vec())
    }
}

/// One request that it got, up to what its steps have read.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The how manieth connection it came over, from 0.
    pub connection: usize,
    /// Its head.
    pub head: String,
}

/// Such an endpoint on a port of its own; gone when dropped.
pub struct Scripted {
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Heard>,
    connections: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Scripted {
    /// Its first connection follows the first of these scripts, and so on, all further ones the last.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn following(scripts: Vec<Vec<Step>>) -> Self {
        Self::at("127.0.0.1:0", scripts).await
    }

    /// The same at this address.
    ///
    /// # Panics
    /// It is not free.
    pub async fn at(address: &str, scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (sender, heard) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let script = scripts[number.min(scripts.len() - 1)].clone();
                open.spawn(follow(connection, script, number, sender.clone()));
            }
        });
        Scripted { address, heard, connections, _server: server }
    }

    /// All connections follow this script.
    pub async fn always(script: &[Step]) -> Self {
        Self::following(vec![script.to_vec()]).await
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An address on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections it has taken.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The next request.
    ///
    /// # Panics
    /// None comes.
    #[track_caller]
    pub fn next_request(&mut self) -> impl Future<Output = Heard> {
        let place = std::panic::Location::caller();
        async move {
            let next = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
            next.ok().flatten().unwrap_or_else(|| panic!("{place}: no request came"))
        }
    }

    /// Requests that have come and were not looked at.
    pub fn waiting(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }
}

async fn follow(
    mut connection: TcpStream,
    script: Vec<Step>,
    number: usize,
    heard: mpsc::UnboundedSender<Heard>,
) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut read = Vec::new();
    let mut length = 0;
    let mut at = 0;
    while let Some(step) = script.get(at) {
        at += 1;
        match step {
            Step::ReadHead => {
                let head = read_head(&mut connection, &mut read).await?;
                length = length_of(&head);
                heard.send(Heard { connection: number, head }).ok();
            }
            Step::ReadBody => {
                while read.len() < length {
                    more(&mut connection, &mut read).await?;
                }
                read.drain(..length);
            }
            Step::ReadByte => {
                while read.is_empty() {
                    more(&mut connection, &mut read).await?;
                }
            }
            Step::Write(bytes) => connection.write_all(bytes).await?,
            Step::Drip(bytes) => {
                for byte in bytes {
                    connection.write_all(&[*byte]).await?;
                    tokio::task::yield_now().await;
                }
            }
            Step::Flood(bytes) => loop {
                connection.write_all(bytes).await?;
            },
            Step::Pause(duration) => tokio::time::sleep(*duration).await,
            Step::Reset => return connection.set_zero_linger(),
            Step::Close => return connection.shutdown().await,
            Step::Hang => std::future::pending().await,
            Step::Again => at = 0,
        }
    }
    Ok(())
}

async fn more(connection: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> std::io::Result<()> {
    match connection.read_buf(read).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn read_head(
    connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    read: &mut Vec<u8>,
) -> std::io::Result<String> {
    loop {
        if let Some(end) = read.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = read.drain(..end + 4).collect::<Vec<u8>>();
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
        more(connection, read).await?;
    }
}

fn length_of(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}
