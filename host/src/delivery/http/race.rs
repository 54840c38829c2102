//! Which of a name's addresses is connected to: both families in turn, the next one soon after the last (RFC 8305),
//! and the one that worked first the next time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::time::{Instant, sleep_until};

use super::failure::RequestFailure;
use super::message::EndpointOrigin;

/// When the next address is tried beside the last one (RFC 8305, 8: Connection Attempt Delay).
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// The same where the last one took the connection and is busy with TLS, which takes several ways to and fro.
const NEXT_AFTER_TLS: Duration = Duration::from_secs(1);

/// How long an address that worked goes first.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Origins whose address is remembered.
const ORIGINS: usize = 4096;

/// Addresses of a name that are tried at most.
const ADDRESSES: usize = 16;

/// The addresses in the order in which they are tried: the one that worked, then IPv6 and IPv4 in turn, each in the
/// order of the name server.
fn in_order(addresses: &[IpAddr], worked: Option<IpAddr>) -> Vec<IpAddr> {
    let mut ordered: Vec<IpAddr> = worked.filter(|worked| addresses.contains(worked)).into_iter().collect();
    let (mut six, mut four) = (
        addresses.iter().filter(|address| address.is_ipv6()),
        addresses.iter().filter(|address| address.is_ipv4()),
    );
    loop {
        let pair = (six.next(), four.next());
        if pair == (None, None) {
            break;
        }
        for address in [pair.0, pair.1].into_iter().flatten() {
            if !ordered.contains(address) {
                ordered.push(*address);
            }
        }
    }
    ordered.truncate(ADDRESSES);
    ordered
}

/// The addresses that worked.
#[derive(Default)]
pub(super) struct WorkedAddresses(Mutex<FxHashMap<Arc<EndpointOrigin>, (IpAddr, Instant)>>);

impl WorkedAddresses {
    /// Where to connect to, in this order.
    pub(super) fn in_order(&self, origin: &Arc<EndpointOrigin>, addresses: &[IpAddr]) -> Vec<SocketAddr> {
        let worked =
            self.0.lock().get(origin).filter(|(_, at)| at.elapsed() < REMEMBERED).map(|worked| worked.0);
        in_order(addresses, worked).into_iter().map(|address| SocketAddr::new(address, origin.port)).collect()
    }

    /// This one worked; it is remembered where there was a choice.
    pub(super) fn worked(&self, origin: &Arc<EndpointOrigin>, address: IpAddr, choice: usize) {
        if choice < 2 {
            return;
        }
        let mut worked = self.0.lock();
        if worked.len() >= ORIGINS {
            worked.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        if worked.len() < ORIGINS {
            worked.insert(Arc::clone(origin), (address, Instant::now()));
        }
    }
}

/// How far a connection has got; told to the race by who makes it.
#[derive(Clone, Default)]
pub(super) struct RaceProgress(Arc<AtomicUsize>);

impl RaceProgress {
    /// The other side has taken the connection; what is left is TLS.
    pub(super) fn taken(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The first connection that is there. `make` begins one; each further one only where it `may` begin.
///
/// # Errors
/// None could be made: what failed on this machine, else what the first address said.
pub(super) async fn first_of<T, F: Future<Output = Result<T, RequestFailure>>>(
    addresses: &[SocketAddr],
    progress: &RaceProgress,
    mut make: impl FnMut(SocketAddr, bool) -> Option<F>,
) -> Result<(T, SocketAddr), RequestFailure> {
    let mut left = addresses.iter();
    let mut running = FuturesUnordered::new();
    let mut failed: Option<RequestFailure> = None;
    let mut next_at = Instant::now();
    let mut taken_before = 0;
    let mut begin = |running: &mut FuturesUnordered<_>, beside: bool| {
        let Some(address) = left.as_slice().first().copied() else { return false };
        let Some(making) = make(address, beside) else { return false };
        left.next();
        running.push(async move { (making.await, address) });
        true
    };
    begin(&mut running, false);
    next_at += NEXT_AFTER;
    let mut more = true;
    loop {
        tokio::select! {
            biased;
            ended = running.next() => match ended {
                Some((Ok(made), address)) => return Ok((made, address)),
                Some((Err(failure), _)) => {
                    let worse = failed.as_ref().is_none_or(|before| before.local.is_none() && failure.local.is_some());
                    if worse {
                        failed = Some(failure);
                    }
                    let beside = !running.is_empty();
                    more = begin(&mut running, beside) || more && beside;
                    next_at = Instant::now() + NEXT_AFTER;
                }
                None => return Err(failed.unwrap_or_else(nowhere)),
            },
            () = sleep_until(next_at), if more => {
                let taken = progress.count();
                if taken > taken_before {
                    taken_before = taken;
                    next_at = Instant::now() + NEXT_AFTER_TLS;
                } else {
                    more = begin(&mut running, true);
                    next_at = Instant::now() + NEXT_AFTER;
                }
            }
        }
    }
}

fn nowhere() -> RequestFailure {
    RequestFailure::of(crate::attempts::trace::AttemptClass::Resolve, "the name leads to no address")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempts::trace::AttemptClass;

    #[test]
    fn families_take_turns_and_what_worked_goes_first() {
        let (a4, b4, a6, b6) = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2");
        for (given, worked, expected) in [
            (vec![a4, b4], None, vec![a4, b4]),
            (vec![a4, b4, a6, b6], None, vec![a6, a4, b6, b4]),
            (vec![a4, b4, a6], Some(b4), vec![b4, a6, a4]),
            (vec![a4], Some(b4), vec![a4]),
            (vec![a4, a4], None, vec![a4]),
            (vec![], Some(b4), vec![]),
        ] {
            let parsed =
                |texts: Vec<&str>| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
            let worked = worked.map(|text| text.parse().unwrap());
            assert_eq!(in_order(&parsed(given), worked), parsed(expected));
        }
    }

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|last| SocketAddr::from(([192, 0, 2, last], 80))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_says_nothing_costs_a_quarter_of_a_second() {
        let begun = Instant::now();
        let making = |address: SocketAddr, _| {
            Some(async move {
                if address.ip() != IpAddr::from([192, 0, 2, 3]) {
                    std::future::pending::<()>().await;
                }
                Ok(address.port())
            })
        };
        let made = first_of(&addresses(3), &RaceProgress::default(), making).await.unwrap();
        assert_eq!(made.1, addresses(3)[2]);
        assert_eq!(begun.elapsed().as_millis(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_costs_nothing_and_where_all_do_the_first_one_says_why() {
        let begun = Instant::now();
        let refusing = |address: SocketAddr, _| {
            Some(async move { Err::<(), _>(RequestFailure::of(AttemptClass::Connect, address.to_string())) })
        };
        let failure = first_of(&addresses(3), &RaceProgress::default(), refusing).await.unwrap_err();
        assert_eq!((failure.class, failure.told.as_str()), (AttemptClass::Connect, "192.0.2.1:80"));
        assert!(begun.elapsed() < Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_busy_with_tls_gets_a_second_and_without_room_for_a_second_one_it_is_waited_for() {
        let begun = Instant::now();
        let progress = RaceProgress::default();
        let busy = |address: SocketAddr, _| {
            let progress = progress.clone();
            Some(async move {
                if address == addresses(2)[0] {
                    progress.taken();
                    std::future::pending::<()>().await;
                }
                Ok::<_, RequestFailure>(())
            })
        };
        first_of(&addresses(2), &progress, busy).await.unwrap();
        assert_eq!(begun.elapsed().as_millis(), 1250);

        let alone = |address: SocketAddr, beside: bool| {
            let first = address == addresses(2)[0];
            (!beside).then_some(async move {
                if first {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    return Err(RequestFailure::of(AttemptClass::Connect, "late"));
                }
                Ok(())
            })
        };
        let made = first_of(&addresses(2), &RaceProgress::default(), alone).await.unwrap();
        assert_eq!(made.1, addresses(2)[1]);
    }
}
