//! What else the system knows names from (mDNS, LDAP, …): asked through the system itself, on a few threads of their
//! own, as such a call may hold its thread for as long as it likes.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::OnceLock;

use tokio::sync::oneshot;

/// Threads that ask.
const THREADS: usize = 4;

/// Names that wait for one.
const WAITING: usize = 256;

struct NameQuestion {
    name: String,
    answer: oneshot::Sender<Vec<IpAddr>>,
}

/// Asks the system. Its threads start with the first name.
#[derive(Default)]
pub(super) struct OtherSources {
    threads: OnceLock<async_channel::Sender<NameQuestion>>,
}

impl OtherSources {
    /// The addresses of a name; nothing where nobody knows any, or all threads are held.
    pub(super) async fn look_up(&self, name: &str) -> Option<Vec<IpAddr>> {
        let (answer, answered) = oneshot::channel();
        let asked = self.threads.get_or_init(start).try_send(NameQuestion { name: name.to_owned(), answer });
        asked.ok()?;
        answered.await.ok().filter(|addresses| !addresses.is_empty())
    }
}

fn start() -> async_channel::Sender<NameQuestion> {
    let (sender, questions) = async_channel::bounded::<NameQuestion>(WAITING);
    for _ in 0..THREADS {
        let questions = questions.clone();
        let thread = std::thread::Builder::new().name("names".to_owned());
        // Without threads no name is found here.
        thread.spawn(move || answer(&questions)).ok();
    }
    sender
}

fn answer(questions: &async_channel::Receiver<NameQuestion>) {
    while let Ok(NameQuestion { name, answer }) = questions.recv_blocking() {
        // Nobody may be waiting any more.
        if answer.is_closed() {
            continue;
        }
        let found = (name.as_str(), 0).to_socket_addrs();
        let addresses = found.map(|found| found.map(|address| address.ip()).collect());
        answer.send(addresses.unwrap_or_default()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_this_machine_and_nobody_of_a_name_that_cannot_be() {
        let others = OtherSources::default();
        assert!(others.look_up("localhost").await.is_some_and(|found| found.iter().all(IpAddr::is_loopback)));
        assert_eq!(others.look_up("a..b").await, None);
    }
}
