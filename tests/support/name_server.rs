//! A name server of a test's own, that answers what it is told to, and a folder that sets a host up to ask it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// What is answered to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameAnswer {
    /// These addresses, valid for so many seconds.
    Addresses(Vec<Ipv4Addr>, u32),
    /// There is no such name.
    None,
    /// The server cannot say (SERVFAIL).
    Failed,
    /// Nothing at all.
    Silence,
}

/// Such a server on a port of its own; gone when dropped.
pub struct NameServer {
    answers: Arc<Mutex<NameAnswers>>,
    folder: TempDir,
    _server: JoinSet<()>,
}

struct NameAnswers {
    of: BTreeMap<String, NameAnswer>,
    others: NameAnswer,
    asked: BTreeMap<String, usize>,
}

impl NameServer {
    /// One that answers this to every name.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn answering(others: NameAnswer) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("its address");
        let answers =
            Arc::new(Mutex::new(NameAnswers { of: BTreeMap::new(), others, asked: BTreeMap::new() }));
        let known = Arc::clone(&answers);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut question = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut question).await {
                if let Some(answer) = answer(&question[..length], &known) {
                    socket.send_to(&answer, client).await.ok();
                }
            }
        });
        let folder = tempfile::tempdir().expect("a folder");
        let file = format!("nameserver {address}\noptions timeout:1 attempts:2\n");
        std::fs::write(folder.path().join("resolv.conf"), file).expect("a file");
        NameServer { answers, folder, _server: server }
    }

    /// Answers this to a name from now on.
    pub fn answer(&self, name: &str, answer: NameAnswer) {
        self.answers.lock().of.insert(name.to_owned(), answer);
    }

    /// Answers this to all names that nothing else was said of.
    pub fn answer_others(&self, answer: NameAnswer) {
        self.answers.lock().others = answer;
    }

    /// How often it was asked for the IPv4 addresses of a name.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        self.answers.lock().asked.get(name).copied().unwrap_or(0)
    }

    /// A folder with `resolv.conf` and whatever else a test puts there.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// RFC 1035, 4: a question answered with A records; of other kinds there are none.
fn answer(question: &[u8], known: &Mutex<NameAnswers>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let asked = question.get(12..at + 4)?;
    let answer = {
        let mut known = known.lock();
        if kind == 1 {
            *known.asked.entry(name.clone()).or_default() += 1;
        }
        known.of.get(&name).unwrap_or(&known.others).clone()
    };
    let (code, addresses, valid) = match answer {
        NameAnswer::Silence => return None,
        NameAnswer::Failed => (2, Vec::new(), 0),
        NameAnswer::None => (3, Vec::new(), 0),
        NameAnswer::Addresses(addresses, valid) => (0, addresses, valid),
    };
    let addresses = if kind == 1 { addresses } else { Vec::new() };
    let mut message = question[..2].to_vec();
    // An answer, recursion wanted and had, with this code; one question and so many answers.
    message.extend([0x81, 0x80 | code, 0, 1]);
    message.extend(u16::try_from(addresses.len()).ok()?.to_be_bytes());
    message.extend([0, 0, 0, 0]);
    message.extend(asked);
    for address in addresses {
        // The name stands in the question; kind A, class IN.
        message.extend([0xc0, 12, 0, 1, 0, 1]);
        message.extend(valid.to_be_bytes());
        message.extend([0, 4]);
        message.extend(address.octets());
    }
    Some(message)
}
