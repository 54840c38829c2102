//! Endpoints that do what endpoints should not.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It reads it and never answers.
    Hangs,
    /// It answers at once with headers, then a byte now and then, without end.
    Drips,
    /// It breaks the connection.
    Resets,
    /// It answers 500.
    Fails,
    /// It answers 200 with a body without end, as fast as it is read.
    Floods,
    /// It writes what is no HTTP.
    Babbles,
}

impl Manner {
    /// All of them.
    pub const ALL: [Manner; 6] =
        [Manner::Hangs, Manner::Drips, Manner::Resets, Manner::Fails, Manner::Floods, Manner::Babbles];
}

/// One such endpoint on a port of its own; gone when dropped.
pub struct Hostile {
    address: SocketAddr,
    _server: JoinSet<()>,
}

impl Hostile {
    /// Takes connections from now on.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn endpoint(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((connection, _)) = listener.accept() => {
                        open.spawn(behave(connection, manner));
                    }
                    Some(_) = open.join_next() => {}
                }
            }
        });
        Hostile { address, _server: server }
    }

    /// An address on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn behave(mut connection: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut asked = [0; 16 * 1024];
    // Whoever asks has written all of it before it waits; one read is the begin of a request at least.
    while connection.read(&mut asked).await? > 0 {
        match manner {
            Manner::Hangs => {}
            Manner::Drips => {
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
                loop {
                    connection.write_all(b".").await?;
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            }
            Manner::Resets => return connection.set_zero_linger(),
            Manner::Fails => {
                connection
                    .write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await?;
                return Ok(());
            }
            Manner::Floods => {
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await?;
                loop {
                    connection.write_all(&[b'.'; 8192]).await?;
                }
            }
            Manner::Babbles => {
                connection.write_all(b"HTTP/9.9 ?? \x00\xff\r\n\r\n").await?;
                return Ok(());
            }
        }
    }
    Ok(())
}
