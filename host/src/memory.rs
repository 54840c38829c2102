//! How much memory events may take. Bytes are asked for before they are there; who gets none waits, and what it has not
//! taken yet stays where it is: with the broker, or with the one who posts.
//!
//! Pools, so that no one holds what another one waits for: `bodies` of requests from their first byte to their
//! answer, `events` from their parsing to their acknowledgement, and `answers` of modules until their deliveries are
//! durable. Whoever has a body waits for events, whoever has events waits for answers, and an answer waits for none of
//! them. In each pool one asks once for all that is needed; what is larger than the whole pool goes alone.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one place: a semaphore counts 32 bits.
const PLACE: usize = 1024;

/// What the index of an event takes for each of its fields, in bytes.
const BYTES_PER_FIELD: usize = 80;

/// The memory for events.
#[derive(Debug)]
pub struct EventMemory {
    /// Bodies of requests, as far as they have come.
    pub bodies: MemoryPool,
    /// Bodies of requests without events, until these are answered. They come on top: nobody who has events waits for
    /// them.
    pub requests: MemoryPool,
    /// What is answered to requests, until its client has taken it. It comes on top, too.
    pub written: MemoryPool,
    /// Events in hand, with their index.
    pub events: MemoryPool,
    /// What modules answer.
    pub answers: MemoryPool,
}

impl EventMemory {
    /// All of it together has so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        EventMemory {
            bodies: MemoryPool::new(bytes / 4),
            requests: MemoryPool::new(bytes / 8),
            written: MemoryPool::new(bytes / 4),
            events: MemoryPool::new(bytes / 2),
            answers: MemoryPool::new(bytes / 4),
        }
    }

    /// As much as there is: for those who have no budget.
    #[must_use]
    pub fn unbounded() -> Self {
        EventMemory::new(usize::MAX)
    }

    /// Bytes that are taken now, of how many.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, usize, usize); 5] {
        let of = |name, pool: &MemoryPool| (name, pool.in_use(), pool.size());
        [
            of("bodies", &self.bodies),
            of("requests", &self.requests),
            of("written", &self.written),
            of("events", &self.events),
            of("answers", &self.answers),
        ]
    }
}

/// One pool of bytes. Who waits is served in turn.
#[derive(Debug)]
pub struct MemoryPool {
    places: Arc<Semaphore>,
    all: u32,
}

impl MemoryPool {
    fn new(bytes: usize) -> Self {
        let all = (bytes / PLACE).clamp(1, (u32::MAX as usize).min(Semaphore::MAX_PERMITS));
        MemoryPool { places: Arc::new(Semaphore::new(all)), all: u32::try_from(all).unwrap_or(u32::MAX) }
    }

    /// Waits for so many bytes, or for all that there are.
    pub async fn take(&self, bytes: usize) -> MemoryShare {
        // The semaphore is never closed.
        MemoryShare(Arc::clone(&self.places).acquire_many_owned(self.places_of(bytes)).await.ok())
    }

    /// So many bytes, unless somebody has them or waits for them.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> Option<MemoryShare> {
        let taken = Arc::clone(&self.places).try_acquire_many_owned(self.places_of(bytes));
        taken.ok().map(|places| MemoryShare(Some(places)))
    }

    /// Bytes that somebody has.
    #[must_use]
    pub fn in_use(&self) -> usize {
        (self.all as usize).saturating_sub(self.places.available_permits()) * PLACE
    }

    /// Bytes that there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.all as usize * PLACE
    }

    fn places_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(PLACE)).unwrap_or(u32::MAX).min(self.all)
    }
}

/// Bytes of a pool, which go back to it when this is dropped.
#[derive(Debug, Default)]
#[must_use = "the bytes go back at once when it is dropped"]
pub struct MemoryShare(Option<OwnedSemaphorePermit>);

impl MemoryShare {
    /// Adds another share of the same pool.
    pub fn add(&mut self, other: MemoryShare) {
        match (&mut self.0, other.0) {
            (Some(own), Some(other)) => own.merge(other),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) * PLACE
    }
}

/// What an event takes once it is parsed: its text and its index, which has an entry for each field. A field has a colon;
/// a colon in a text counts for one, too, which costs its sender some room and nobody else anything.
#[must_use]
pub fn bytes_of_event(text: &[u8]) -> usize {
    // A loop over chunks that the compiler makes vectors of.
    let colons: usize = text.chunks(255).map(colons_in).sum();
    text.len() + colons * BYTES_PER_FIELD
}

fn colons_in(chunk: &[u8]) -> usize {
    usize::from(chunk.iter().fold(0_u8, |count, byte| count.wrapping_add(u8::from(*byte == b':'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_is_of_whole_places_and_goes_back() {
        let pool = MemoryPool::new(10 * PLACE);
        let mut share = pool.try_take(1).unwrap();
        assert_eq!((share.bytes(), pool.in_use()), (PLACE, PLACE));
        share.add(pool.try_take(2 * PLACE + 1).unwrap());
        assert_eq!((share.bytes(), pool.in_use()), (4 * PLACE, 4 * PLACE));
        assert!(pool.try_take(7 * PLACE).is_none());
        drop(share);
        assert_eq!(pool.in_use(), 0);
        let mut none = MemoryShare::default();
        none.add(pool.take(PLACE).await);
        assert_eq!(none.bytes(), PLACE);
    }

    #[tokio::test]
    async fn what_is_larger_than_the_pool_goes_alone() {
        let pool = MemoryPool::new(4 * PLACE);
        let small = pool.take(PLACE).await;
        let mut large = Box::pin(pool.take(100 * PLACE));
        assert!(futures_util::poll!(&mut large).is_pending());
        // Whoever comes later does not keep it waiting for ever.
        assert!(pool.try_take(PLACE).is_none());
        drop(small);
        assert_eq!(large.await.bytes(), 4 * PLACE);
        assert_eq!(pool.in_use(), 0);
    }

    #[tokio::test]
    async fn without_a_budget_there_is_room_for_everything() {
        let memory = EventMemory::unbounded();
        let shares = [memory.events.take(1 << 30).await, memory.events.take(1 << 34).await];
        assert!(shares.iter().all(|share| share.bytes() >= 1 << 30));
    }

    #[test]
    fn an_event_of_many_fields_takes_more_than_its_text() {
        assert_eq!(bytes_of_event(b"{}"), 2);
        let text = format!("{{{}}}", vec!["\"a\":1"; 1000].join(","));
        assert_eq!(bytes_of_event(text.as_bytes()), text.len() + 1000 * BYTES_PER_FIELD);
        assert_eq!(bytes_of_event(&[b':'; 70_000]), 70_000 * (1 + BYTES_PER_FIELD));
    }
}
