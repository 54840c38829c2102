//! A body with events while it arrives: it takes memory as it grows, and none that it has only announced.

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::{Duration, timeout};

use crate::api::body::{late, too_large, unread};
use crate::api::error::Failure;
use crate::memory::{MemoryPool, MemoryShare};

/// Bytes that are asked for at once.
const STEP: usize = 64 * 1024;

/// How long a body waits for memory. It holds what it has meanwhile, so this is short.
const PATIENCE: Duration = Duration::from_secs(1);

/// The whole body, of at most `limit` bytes, with the memory that it takes.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    within: Duration,
    pool: &MemoryPool,
) -> Result<(Bytes, MemoryShare), Failure> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    match timeout(within, arrive(body, limit, pool)).await {
        Ok(arrived) => arrived,
        Err(_) => Err(late(within)),
    }
}

async fn arrive(body: Body, limit: usize, pool: &MemoryPool) -> Result<(Bytes, MemoryShare), Failure> {
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
            match timeout(PATIENCE, pool.take(more)).await {
                Ok(more) => share.add(more),
                Err(_) => {
                    drop((text, share));
                    pass_over(parts, limit - length).await;
                    return Err(no_memory(pool.size()));
                }
            }
        }
        text.extend_from_slice(&part);
    }
    Ok((text.into(), share))
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
        "the bodies of requests under way take all of the {size} bytes that they may have (a part of memory.events_bytes)"
    );
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "out_of_memory", sentence).retry_soon()
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
        let slow = read(&headers, endless(vec![vec![b' '; 100_000]]), limit, within, pool);
        let mut slow = Box::pin(slow);
        assert!(futures_util::poll!(&mut slow).is_pending());
        assert!((100_000..102_400).contains(&pool.in_use()), "{}", pool.in_use());

        let (_, share) = read(&headers, Body::from(vec![b' '; 100_000]), limit, within, pool).await.unwrap();
        let refused = read(&headers, Body::from(vec![b' '; 100_000]), limit, within, pool).await.unwrap_err();
        assert_eq!((refused.status, &*refused.message), (StatusCode::SERVICE_UNAVAILABLE, "out_of_memory"));
        drop(share);
        drop(read(&headers, Body::from(vec![b' '; 100_000]), limit, within, pool).await.unwrap());

        assert_eq!(slow.await.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(pool.in_use(), 0);
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_whatever_it_announced() {
        let pool = &EventMemory::unbounded().bodies;
        let headers = HeaderMap::new();
        let read = |body| read(&headers, body, 10, Duration::from_secs(30), pool);
        let refused = read(endless(vec![vec![b' '; 6], vec![b' '; 6]])).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(read(Body::from("0123456789")).await.unwrap().0.len(), 10);
    }
}
