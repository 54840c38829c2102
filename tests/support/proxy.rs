//! A forward proxy that leads every request to one place and keeps what it was asked for.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::PATIENCE;

/// Takes plain requests and CONNECT; stopped when dropped.
pub struct Proxy {
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<String>,
    _server: JoinSet<()>,
}

impl Proxy {
    /// One that leads everything to this address, whatever name was asked for.
    ///
    /// # Panics
    /// It cannot listen.
    pub async fn leading_to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (sender, asked) = mpsc::unbounded_channel();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(pass_on(client, target, sender.clone()));
            }
        });
        Proxy { address, asked, _server: server }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The first line of the next request: `CONNECT name:443 HTTP/1.1`.
    ///
    /// # Panics
    /// None came.
    #[track_caller]
    pub fn asked(&mut self) -> impl Future<Output = String> {
        let place = std::panic::Location::caller();
        async move {
            let next = tokio::time::timeout(PATIENCE, self.asked.recv()).await;
            next.ok().flatten().unwrap_or_else(|| panic!("{place}: the proxy was not asked"))
        }
    }

    /// Whether nobody has asked for anything that was not looked at.
    pub fn is_idle(&mut self) -> bool {
        self.asked.try_recv().is_err()
    }
}

async fn pass_on(
    mut client: TcpStream,
    target: SocketAddr,
    asked: mpsc::UnboundedSender<String>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let first = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let tunnel = first.starts_with("CONNECT ");
    // The test has ended where nobody listens.
    asked.send(first).ok();
    let mut server = TcpStream::connect(target).await?;
    if tunnel {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    } else {
        server.write_all(&head).await?;
    }
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
