//! A body while it arrives: it takes memory as it grows, and none that it has only announced. No account has more than a
//! part of what there is for all.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::time::Duration;

use super::error::Failure;
use super::unreadable_body::{late, too_large, unread};
use crate::memory::{MemoryPool, MemoryShare};
use crate::stall::timeout;

/// Bytes that are asked for at once.
const STEP: usize = 64 * 1024;

/// How long a body waits for memory. It holds what it has meanwhile, so this is short.
const PATIENCE: Duration = Duration::from_secs(1);

/// One account has at most such a part of the memory.
const PART: usize = 4;

/// What bodies take of the memory, by account; strangers have one share together.
#[derive(Debug, Default)]
pub(super) struct BodiesByAccount(Mutex<FxHashMap<Box<str>, usize>>);

/// What one body takes of its account's part.
#[derive(Debug)]
struct AccountShare {
    all: Arc<BodiesByAccount>,
    account: Box<str>,
    bytes: usize,
    most: usize,
}

impl AccountShare {
    /// Whether there is room for more, which it has then.
    fn add(&mut self, more: usize) -> bool {
        let mut all = self.all.0.lock();
        let of_account = all.entry(self.account.clone()).or_default();
        // A body that is larger than the part goes alone.
        if *of_account > self.bytes && *of_account + more > self.most {
            return false;
        }
        *of_account += more;
        self.bytes += more;
        true
    }
}

impl Drop for AccountShare {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        if let Entry::Occupied(mut of_account) = all.entry(self.account.clone()) {
            *of_account.get_mut() -= self.bytes.min(*of_account.get());
            if *of_account.get() == 0 {
                of_account.remove();
            }
        }
    }
}

/// The memory that a body has.
#[derive(Debug)]
pub(super) struct BodyMemory {
    _of_all: MemoryShare,
    _of_account: Option<AccountShare>,
}

/// Where a body's memory comes from.
pub(super) struct BodyRoom<'a> {
    pool: &'a MemoryPool,
    of_account: Option<AccountShare>,
}

impl<'a> BodyRoom<'a> {
    /// For those who may have all of it.
    pub(super) fn of(pool: &'a MemoryPool) -> Self {
        BodyRoom { pool, of_account: None }
    }

    /// For an account; for strangers with an empty name.
    pub(super) fn part_of(pool: &'a MemoryPool, all: &Arc<BodiesByAccount>, account: &str) -> Self {
        let share = AccountShare {
            all: Arc::clone(all),
            account: account.into(),
            bytes: 0,
            most: pool.size() / PART,
        };
        BodyRoom { pool, of_account: Some(share) }
    }

    /// The whole body, of at most `limit` bytes, with the memory that it takes.
    pub(super) async fn read(
        self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
        within: Duration,
    ) -> Result<(Bytes, BodyMemory), Failure> {
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        match timeout(within, self.arrive(body, limit)).await {
            Ok(arrived) => arrived,
            Err(_) => Err(late(within)),
        }
    }

    async fn arrive(mut self, body: Body, limit: usize) -> Result<(Bytes, BodyMemory), Failure> {
        let mut parts = body.into_data_stream();
        let mut share = MemoryShare::default();
        let mut text = Vec::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| unread(&error, limit))?;
            let length = text.len() + part.len();
            if length > limit {
                return Err(too_large(limit));
            }
            if length > share.bytes() {
                let more = (length - share.bytes()).max(if text.is_empty() { 0 } else { STEP });
                match self.take(more).await {
                    Ok(more) => share.add(more),
                    Err(refused) => {
                        drop((text, share, self));
                        pass_over(parts, limit - length).await;
                        return Err(refused);
                    }
                }
            }
            text.extend_from_slice(&part);
        }
        Ok((text.into(), BodyMemory { _of_all: share, _of_account: self.of_account }))
    }

    async fn take(&mut self, more: usize) -> Result<MemoryShare, Failure> {
        if let Some(part) = &mut self.of_account
            && !part.add(more)
        {
            return Err(no_part(part.most));
        }
        timeout(PATIENCE, self.pool.take(more)).await.map_err(|_| no_memory(self.pool.size()))
    }
}

/// The memory for an answer of so many bytes, where there is some now.
///
/// # Errors
/// All of it is taken, or the account's part.
pub(super) fn memory_for_answer(room: BodyRoom<'_>, bytes: usize) -> Result<BodyMemory, Failure> {
    let BodyRoom { pool, mut of_account } = room;
    if let Some(part) = &mut of_account
        && !part.add(bytes)
    {
        return Err(no_part(part.most));
    }
    let of_all = pool.try_take(bytes).ok_or_else(|| no_memory(pool.size()))?;
    Ok(BodyMemory { _of_all: of_all, _of_account: of_account })
}

/// Reads what is left of a body and forgets it: a client that still sends would not see the answer.
async fn pass_over(mut parts: BodyDataStream, mut left: usize) {
    while let Some(Ok(part)) = parts.next().await {
        match left.checked_sub(part.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

fn no_memory(size: usize) -> Failure {
    let sentence = format!(
        "requests and answers under way take all of the {size} bytes that they may have (a part of memory.events_bytes)"
    );
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "out_of_memory", sentence).retry_soon()
}

fn no_part(most: usize) -> Failure {
    let sentence = format!("an account's requests, or answers, under way may have {most} bytes together");
    Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", sentence).retry_soon()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::EventMemory;

    /// A body that comes in these parts and then never ends.
    fn endless(parts: Vec<Vec<u8>>) -> Body {
        let parts = parts.into_iter().map(|part| Ok::<_, std::convert::Infallible>(Bytes::from(part)));
        Body::from_stream(futures_util::stream::iter(parts).chain(futures_util::stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_take_what_has_come_and_the_one_too_many_is_told_to_come_again() {
        let memory = EventMemory::new(1 << 20);
        let pool = &memory.bodies;
        let limit = 1 << 20;
        let within = Duration::from_secs(30);
        let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, "1000000".parse().unwrap())]);
        let read = |body| BodyRoom::of(pool).read(&headers, body, limit, within);
        let slow = read(endless(vec![vec![b' '; 100_000]]));
        let mut slow = Box::pin(slow);
        assert!(futures_util::poll!(&mut slow).is_pending());
        assert!((100_000..102_400).contains(&pool.in_use()), "{}", pool.in_use());

        let (_, share) = read(Body::from(vec![b' '; 100_000])).await.unwrap();
        let refused = read(Body::from(vec![b' '; 100_000])).await.unwrap_err();
        assert_eq!((refused.status, &*refused.message), (StatusCode::SERVICE_UNAVAILABLE, "out_of_memory"));
        drop(share);
        drop(read(Body::from(vec![b' '; 100_000])).await.unwrap());

        assert_eq!(slow.await.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(pool.in_use(), 0);
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_whatever_it_announced() {
        let pool = &EventMemory::unbounded().bodies;
        let headers = HeaderMap::new();
        let read = |body| BodyRoom::of(pool).read(&headers, body, 10, Duration::from_secs(30));
        let refused = read(endless(vec![vec![b' '; 6], vec![b' '; 6]])).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(read(Body::from("0123456789")).await.unwrap().0.len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_takes_its_part_and_leaves_the_rest_to_others() {
        let (memory, all) = (EventMemory::new(8 << 20), Arc::<BodiesByAccount>::default());
        let (pool, limit, within) = (&memory.requests, 1 << 20, Duration::from_secs(30));
        let headers = HeaderMap::new();
        let in_pieces = |account, pieces: usize| {
            let pieces =
                (0..pieces).map(|_| Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; 100_000])));
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            BodyRoom::part_of(pool, &all, account).read(&headers, body, limit, within)
        };
        let read = |account, bytes| {
            let body = Body::from(vec![b' '; bytes]);
            BodyRoom::part_of(pool, &all, account).read(&headers, body, limit, within)
        };
        assert_eq!(pool.size(), 1 << 20);
        let first = read("a", 200_000).await.unwrap();
        let refused = read("a", 100_000).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let others = (read("b", 200_000).await.unwrap(), read("", 200_000).await.unwrap());
        drop(first);
        drop(read("a", 100_000).await.unwrap());
        drop(read("a", 300_000).await.unwrap());
        drop(in_pieces("a", 4).await.unwrap());
        drop(others);
        assert_eq!((pool.in_use(), all.0.lock().len()), (0, 0));
    }
}
