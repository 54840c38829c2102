//! Servers of customers that note what comes: those that behave, and those that behave oddly at the byte and yet do
//! nothing that the protocol forbids, or nothing that hides whether they took it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::books::{Ledger, Owed, Promise, said};

/// Endpoints on a port of their own; gone when dropped.
pub(super) struct Endpoints {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

/// How an odd server answers what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    /// It keeps a connection for three requests and breaks it at the first byte of the fourth.
    ResetsKept,
    /// It closes each connection after an answer, without having said so.
    ClosesUnsaid,
    /// It announces a hundred bytes of body, sends ten and closes.
    CutsBody,
    /// It answers once it has read the head, and reads the body after that.
    AnswersEarly,
    /// Its heads have a hundred and fifty cookies, a blank before a colon, a folded line and a control character.
    OddHead,
    /// Each answer comes after three others that are none yet.
    Interim,
    /// It speaks HTTP/1.0: the end of the connection is that of the answer.
    OldVersion,
    /// Its heads come in pieces of a few bytes.
    InPieces,
    /// It announces a long body, sends a byte of it now and then, and gives up.
    Drips,
    /// It closes in the middle of a head: nobody can know that it took it.
    HalfHead,
    /// It writes interim answers without end, as fast as they are read.
    Endless,
}

impl Oddity {
    /// All but the one that costs as much as whoever reads it lets it.
    pub(super) const CHEAP: [Oddity; 10] = [
        Oddity::ResetsKept,
        Oddity::ClosesUnsaid,
        Oddity::CutsBody,
        Oddity::AnswersEarly,
        Oddity::OddHead,
        Oddity::Interim,
        Oddity::OldVersion,
        Oddity::InPieces,
        Oddity::Drips,
        Oddity::HalfHead,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Oddity::ResetsKept => "breaks kept connections",
            Oddity::ClosesUnsaid => "closes unsaid",
            Oddity::CutsBody => "cuts its body",
            Oddity::AnswersEarly => "answers before the body",
            Oddity::OddHead => "odd head",
            Oddity::Interim => "100 and 103 before 200",
            Oddity::OldVersion => "HTTP/1.0",
            Oddity::InPieces => "head in pieces",
            Oddity::Drips => "body in drops",
            Oddity::HalfHead => "half a head",
            Oddity::Endless => "103 without end",
        }
    }

    /// Whether the head of an answer, a success, reaches whoever reads well.
    fn succeeds(self) -> bool {
        !matches!(self, Oddity::HalfHead | Oddity::Endless)
    }

    /// What a host that reads well keeps towards it.
    pub(super) fn promise(self) -> Promise {
        if self.succeeds() { Promise::Prompt } else { Promise::Kept }
    }
}

impl Endpoints {
    /// `/good` takes everything, `/flaky` every third event at its second try only. They listen at every address of the
    /// machine, such as all those that begin with 127.
    ///
    /// # Panics
    /// There is no free port.
    pub(super) async fn behaving(ledger: Arc<Ledger>) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().expect("its address").port()));
        let router = Router::new().route("/{manner}", post(note)).with_state(ledger);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            axum::serve(listener, router).await.expect("serving");
        });
        Endpoints { address, _serving: serving }
    }

    /// A server that is odd in this way.
    ///
    /// # Panics
    /// There is no free port.
    pub(super) async fn odd(oddity: Oddity, ledger: Arc<Ledger>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((connection, _)) = listener.accept() => {
                        let ledger = Arc::clone(&ledger);
                        open.spawn(async move { behave(connection, oddity, &ledger).await });
                    }
                    Some(_) = open.join_next() => {}
                }
            }
        });
        Endpoints { address, _serving: serving }
    }

    /// An address on it.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// An address on it by another name or number of this machine.
    pub(super) fn url_at(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.address.port())
    }
}

async fn note(
    State(ledger): State<Arc<Ledger>>,
    Path(manner): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (Some(event), Ok(hook)) = (said(&body), header("x-hook-id").parse()) else {
        return StatusCode::BAD_REQUEST;
    };
    let owed: Owed = (hook, event);
    let refuses = manner == "flaky" && event.number.is_multiple_of(3) && !ledger.knows(&owed);
    ledger.note(owed, header("webhook-id"), !refuses);
    if refuses { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

/// What is asked for, as far as the books need it.
#[derive(Default)]
struct Head {
    hook: String,
    webhook_id: String,
    length: usize,
}

/// The head of the next request; nothing where none follows.
async fn head(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Head>> {
    let mut head = Head::default();
    let mut line = String::new();
    if reader.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    loop {
        line.clear();
        reader.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(Some(head)) };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "x-hook-id" => value.clone_into(&mut head.hook),
            "webhook-id" => value.clone_into(&mut head.webhook_id),
            "content-length" => head.length = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
}

async fn behave(connection: TcpStream, oddity: Oddity, ledger: &Ledger) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    let mut answered = 0;
    loop {
        if oddity == Oddity::ResetsKept && answered == 3 {
            let one = reader.fill_buf().await?.len();
            return if one == 0 { Ok(()) } else { reader.get_ref().set_zero_linger() };
        }
        let Some(head) = head(&mut reader).await? else { return Ok(()) };
        if oddity == Oddity::AnswersEarly {
            reader.get_mut().write_all(PLAIN).await?;
        }
        let mut body = vec![0; head.length];
        reader.read_exact(&mut body).await?;
        if let (Some(event), Ok(hook)) = (said(&body), head.hook.parse()) {
            ledger.note((hook, event), &head.webhook_id, oddity.succeeds());
        }
        answered += 1;
        if !answer(reader.get_mut(), oddity).await? {
            return Ok(());
        }
    }
}

const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Whether the connection goes on.
async fn answer(connection: &mut TcpStream, oddity: Oddity) -> std::io::Result<bool> {
    match oddity {
        Oddity::ResetsKept => connection.write_all(PLAIN).await?,
        // It has been answered.
        Oddity::AnswersEarly => {}
        Oddity::ClosesUnsaid => {
            connection.write_all(PLAIN).await?;
            return Ok(false);
        }
        Oddity::CutsBody => {
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes.").await?;
            return Ok(false);
        }
        Oddity::OddHead => {
            let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
            for n in 0..150 {
                head.extend_from_slice(format!("Set-Cookie: c{n}=v; Path=/\r\n").as_bytes());
            }
            head.extend_from_slice(b"X-A : a\r\nX-B: b\x01b\r\nX-C: c\r\n c\r\ncontent-length: 2\r\n\r\nok");
            connection.write_all(&head).await?;
        }
        Oddity::Interim => {
            connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            for _ in 0..2 {
                connection.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await?;
            }
            connection.write_all(PLAIN).await?;
        }
        Oddity::OldVersion => {
            connection.write_all(b"HTTP/1.0 200 OK\r\n\r\nok").await?;
            return Ok(false);
        }
        Oddity::InPieces => {
            for piece in PLAIN.chunks(8) {
                connection.write_all(piece).await?;
                sleep(Duration::from_millis(2)).await;
            }
        }
        Oddity::Drips => {
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
            // No longer, so that it gets done with what comes.
            for _ in 0..8 {
                connection.write_all(b".").await?;
                sleep(Duration::from_millis(25)).await;
            }
            return Ok(false);
        }
        Oddity::HalfHead => {
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await?;
            return Ok(false);
        }
        Oddity::Endless => {
            let hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(100);
            loop {
                connection.write_all(&hints).await?;
            }
        }
    }
    Ok(true)
}
