//! A besieged host's own name server, which may fall silent; and how the host comes to ask it and nobody else.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::task::JoinSet;

/// It leads every name to 127.0.0.1, for a second. Stopped when dropped.
pub(super) struct OwnNames {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
    _serving: JoinSet<()>,
}

/// The port that resolvers ask at; a file of theirs cannot name another.
const PORT: u16 = 53;

/// How long an answer may be kept, in seconds.
const KEPT: u32 = 1;

impl OwnNames {
    /// One at an address of its own that begins with 127, or why there cannot be one: the port is the superuser's.
    ///
    /// # Errors
    /// What the system said.
    pub(super) async fn start() -> io::Result<Self> {
        let own = || Ipv4Addr::new(127, rand::random_range(1..255), rand::random_range(0..255), 53);
        let socket = UdpSocket::bind((own(), PORT)).await?;
        let (address, silent) = (socket.local_addr()?, Arc::<AtomicBool>::default());
        let mut serving = JoinSet::new();
        serving.spawn(serve(socket, Arc::clone(&silent)));
        Ok(OwnNames { address, silent, _serving: serving })
    }

    /// From now on it answers nothing, or everything.
    pub(super) fn silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// The same command with a file `resolv.conf` of its own, written to this path, that names this server; or why a
    /// process cannot have one.
    ///
    /// # Errors
    /// What `unshare` or `mount` said.
    pub(super) async fn asked_by(&self, command: Command, file: &Path) -> Result<Command, String> {
        let text = format!("nameserver {}\noptions timeout:2 attempts:2\n", self.address.ip());
        std::fs::write(file, text).map_err(|error| error.to_string())?;
        let mut trial = Command::new("unshare");
        trial.args(["--mount", "sh", "-ec", BOUND]).arg(file).arg("true").stdin(Stdio::null());
        match trial.output().await {
            Ok(said) if said.status.success() => {}
            Ok(said) => return Err(String::from_utf8_lossy(&said.stderr).trim().to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        let file = file.display().to_string();
        Ok(run_by(&["unshare", "--mount", "sh", "-ec", BOUND, &file], command))
    }
}

/// What a shell does that has a view of its own of what is mounted.
const BOUND: &str = r#"mount --bind "$0" /etc/resolv.conf; exec "$@""#;

/// The same command, run by these words, which end in the command's process.
///
/// # Panics
/// There are no words.
#[must_use]
pub(super) fn run_by(words: &[&str], command: Command) -> Command {
    let (command, (first, rest)) = (command.into_std(), words.split_first().expect("words"));
    let mut wrapped = Command::new(first);
    wrapped.args(rest).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped.stdin(Stdio::null()).kill_on_drop(true);
    wrapped
}

async fn serve(socket: UdpSocket, silent: Arc<AtomicBool>) {
    let mut asked = [0; 512];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut asked).await else { continue };
        if silent.load(Ordering::Relaxed) {
            continue;
        }
        if let Some(answer) = asked.get(..length).and_then(answer) {
            // Whoever asks again will be told.
            socket.send_to(&answer, client).await.ok();
        }
    }
}

/// The answer to a question of one name (RFC 1035, 4.1): an address where one is asked for, else nothing.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    const A: [u8; 2] = [0, 1];
    const HEADER: usize = 12;
    let mut end = HEADER;
    loop {
        match *question.get(end)? {
            0 => break,
            length => end += 1 + usize::from(length),
        }
    }
    let name_and_kind = question.get(HEADER..end + 5)?;
    let kind = question.get(end + 1..end + 3)?;
    let answers = u8::from(kind == A);
    let mut answer = question.get(..2)?.to_vec();
    // A response, authoritative where recursion is wished and had; one question, nothing but answers behind it.
    answer.extend([0x85, 0x80, 0, 1, 0, answers, 0, 0, 0, 0]);
    answer.extend(name_and_kind);
    if answers == 1 {
        // The name is the one at the header's end; of the internet.
        answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1]);
        answer.extend(KEPT.to_be_bytes());
        answer.extend([0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_this_machine_by_the_one_protocol_and_nowhere_by_the_other() {
        let ask = |kind: u8| {
            let mut question = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
            question.extend(b"\x01a\x04test\x00");
            question.extend([0, kind, 0, 1]);
            question.extend([0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0]);
            answer(&question).unwrap()
        };
        let (four, six) = (ask(1), ask(28));
        assert_eq!((&four[..2], four[7], &four[four.len() - 4..]), (&[7, 7][..], 1, &[127, 0, 0, 1][..]));
        assert_eq!((six[7], six.len()), (0, 12 + 8 + 4));
        assert_eq!(answer(&[7; 11]), None);
        assert_eq!(answer(&[7; 40]), None);
    }
}
