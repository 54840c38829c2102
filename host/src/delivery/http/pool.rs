//! The connections that are open: how many there may be, which are kept for the next request, and which leave.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::message::EndpointOrigin;
use super::one::OneByOne;
use super::streams::SharedConnection;

/// How long a connection is kept without a request. Servers close theirs after a time of their own, the common one with
/// the shortest (Node.js) after five seconds; who leaves before them is never in doubt whether a request was taken.
const IDLE: Duration = Duration::from_secs(4);

/// Kept connections in total, however many may be open.
const MOST_IDLE: usize = 4096;

/// What a request goes out over.
pub(super) enum HttpConversation {
    /// A connection of its own for as long as it takes.
    One(OneByOne),
    /// A stream of a shared one.
    Stream(StreamPlace),
}

/// What a request finds.
pub(super) enum FoundConnection {
    /// A connection that is there.
    Kept(HttpConversation),
    /// A new connection is to be made.
    Dial(DialTicket),
    /// Others are at it, or nothing is free; something has changed then.
    Wait(OwnedNotified),
}

/// All connections to endpoints.
pub(super) struct ConnectionPool {
    shelves: Mutex<IdleShelves>,
    places: Arc<Semaphore>,
    most_open: usize,
    most_idle: usize,
    waiting: AtomicUsize,
    sweeping: AtomicBool,
    pub(super) tasks: TaskTracker,
}

#[derive(Default)]
struct IdleShelves {
    /// In the order in which they became idle.
    idle: BTreeMap<usize, IdleConnection>,
    of: FxHashMap<Arc<EndpointOrigin>, IdleShelf>,
    last_key: usize,
}

struct IdleConnection {
    origin: Arc<EndpointOrigin>,
    since: Instant,
    kept: Kept,
}

enum Kept {
    One(OneByOne),
    Shared(Arc<SharedConnection>),
}

/// What there is of one origin.
#[derive(Default)]
struct IdleShelf {
    /// Keys of idle connections that take one request at a time, the newest last.
    ones: Vec<usize>,
    shared: Vec<Arc<SharedConnection>>,
    dialing: usize,
    waiting: usize,
    /// What a connection of it took last, where it speaks HTTP/2.
    streams: Option<usize>,
    changed: Arc<Notify>,
}

impl IdleShelf {
    fn is_empty(&self) -> bool {
        self.ones.is_empty() && self.shared.is_empty() && self.dialing == 0 && self.waiting == 0
    }
}

/// Whether one more connection is made for a request that waits, where `dialing` are being made already, each for so
/// many `streams`.
fn may_dial(dialing: usize, waiting: usize, streams: Option<usize>) -> bool {
    // Of an endpoint that nothing is known of it is not known either that connections could be shared.
    streams.is_none_or(|streams| dialing.saturating_mul(streams.max(1)) < waiting)
}

impl ConnectionPool {
    /// At most so many connections open at once.
    pub(super) fn new(most_open: usize) -> Arc<Self> {
        Arc::new(ConnectionPool {
            shelves: Mutex::default(),
            places: Arc::new(Semaphore::new(most_open)),
            most_open,
            most_idle: MOST_IDLE.min(most_open.div_ceil(2)),
            waiting: AtomicUsize::new(0),
            sweeping: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        })
    }

    /// Connections that are open or being made, and of them those that wait for a request.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.most_open - self.places.available_permits(), self.shelves.lock().idle.len())
    }

    /// How a request gets a connection; with `fresh` none that was there before.
    /// `waits` is what it holds where it has waited already.
    pub(super) fn find(
        self: &Arc<Self>,
        origin: &Arc<EndpointOrigin>,
        fresh: bool,
        waits: Option<&WaitTicket>,
    ) -> FoundConnection {
        while !fresh && let Some(mut one) = self.take_one(origin) {
            // The other side may have gone meanwhile; that costs nobody anything here.
            if one.is_ready() {
                one.reused = true;
                return FoundConnection::Kept(HttpConversation::One(one));
            }
        }
        let mut shelves = self.shelves.lock();
        if !fresh && let Some(shared) = shelves.stream(origin) {
            drop(shelves);
            return FoundConnection::Kept(HttpConversation::Stream(self.place_on(origin, shared, true)));
        }
        let shelf = shelves.of.entry(Arc::clone(origin)).or_default();
        if fresh || may_dial(shelf.dialing, shelf.waiting + usize::from(waits.is_none()), shelf.streams) {
            shelf.dialing += 1;
            let changed = Arc::clone(&shelf.changed);
            drop(shelves);
            return FoundConnection::Dial(DialTicket {
                pool: Arc::clone(self),
                origin: Arc::clone(origin),
                changed,
            });
        }
        FoundConnection::Wait(Arc::clone(&shelf.changed).notified_owned())
    }

    /// Counts who waits for a stream; until it is dropped.
    pub(super) fn wait_at(self: &Arc<Self>, origin: &Arc<EndpointOrigin>) -> WaitTicket {
        self.shelves.lock().of.entry(Arc::clone(origin)).or_default().waiting += 1;
        WaitTicket { pool: Arc::clone(self), origin: Arc::clone(origin) }
    }

    fn take_one(&self, origin: &Arc<EndpointOrigin>) -> Option<OneByOne> {
        let mut shelves = self.shelves.lock();
        let key = shelves.of.get_mut(origin)?.ones.pop()?;
        match shelves.idle.remove(&key)?.kept {
            Kept::One(one) => Some(one),
            Kept::Shared(_) => None,
        }
    }

    /// A place for one more connection. Where none is free the one that has been idle for longest makes room; where
    /// none is idle this waits until one is closed.
    pub(super) async fn open_place(self: &Arc<Self>) -> Option<OwnedSemaphorePermit> {
        if let Some(place) = self.spare_place() {
            return Some(place);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = OriginWaiters(&self.waiting);
        loop {
            let oldest = self.shelves.lock().oldest(None);
            let none_left = oldest.is_none();
            // It is closed here, so that its place is free.
            drop(oldest);
            if let Some(place) = self.spare_place() {
                return Some(place);
            }
            if none_left {
                break;
            }
        }
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// A place for one more connection, where one is free.
    pub(super) fn spare_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Keeps a connection for the next request, where it can be used again.
    pub(super) fn keep(self: &Arc<Self>, origin: &Arc<EndpointOrigin>, mut one: OneByOne) {
        // Others have nowhere to go.
        if self.waiting.load(Ordering::Relaxed) > 0 || !one.is_ready() {
            return;
        }
        let evicted = {
            let mut shelves = self.shelves.lock();
            let key = shelves.idle(origin, Kept::One(one));
            shelves.of.entry(Arc::clone(origin)).or_default().ones.push(key);
            if shelves.idle.len() > self.most_idle { shelves.oldest(None) } else { None }
        };
        drop(evicted);
        self.sweep_later();
    }

    /// Others may use it, too; answers the stream of who made it.
    pub(super) fn share(
        self: &Arc<Self>,
        origin: &Arc<EndpointOrigin>,
        shared: Arc<SharedConnection>,
    ) -> StreamPlace {
        shared.in_use.fetch_add(1, Ordering::Relaxed);
        {
            let mut shelves = self.shelves.lock();
            let shelf = shelves.of.entry(Arc::clone(origin)).or_default();
            shelf.streams = Some(shared.streams());
            shelf.shared.push(Arc::clone(&shared));
        }
        self.place_on(origin, shared, false)
    }

    /// The origin does not share connections, whatever it did before.
    pub(super) fn speaks_one(&self, origin: &Arc<EndpointOrigin>) {
        if let Some(shelf) = self.shelves.lock().of.get_mut(origin) {
            shelf.streams = None;
        }
    }

    fn place_on(
        self: &Arc<Self>,
        origin: &Arc<EndpointOrigin>,
        shared: Arc<SharedConnection>,
        reused: bool,
    ) -> StreamPlace {
        StreamPlace { pool: Arc::clone(self), origin: Arc::clone(origin), shared, reused }
    }

    /// A stream is over.
    fn release(self: &Arc<Self>, origin: &Arc<EndpointOrigin>, shared: &Arc<SharedConnection>) {
        let mut shelves = self.shelves.lock();
        let left = shared.in_use.fetch_sub(1, Ordering::Relaxed) - 1;
        let over = shared.is_over() || (left == 0 && self.waiting.load(Ordering::Relaxed) > 0);
        let mut evicted = None;
        if over {
            shared.retire();
            shelves.forget(origin, shared);
        } else if left == 0 {
            let key = shelves.idle(origin, Kept::Shared(Arc::clone(shared)));
            shared.idle_key.store(key, Ordering::Relaxed);
            if shelves.idle.len() > self.most_idle {
                evicted = shelves.oldest(None);
            }
        }
        drop(shelves);
        drop(evicted);
        shared.changed.notify_waiters();
        if left == 0 && !over {
            self.sweep_later();
        }
    }

    /// Connections that nobody uses leave in time, also where no request comes any more.
    fn sweep_later(self: &Arc<Self>) {
        if self.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let sweeping = PoolSweep(Arc::downgrade(self));
        self.tasks.spawn(async move {
            while let Some(next) = sweeping.sweep() {
                tokio::time::sleep_until(next).await;
            }
            let pool = sweeping.0.clone();
            drop(sweeping);
            // One that was put there just now has seen that somebody sweeps.
            if let Some(pool) = pool.upgrade()
                && !pool.shelves.lock().idle.is_empty()
            {
                pool.sweep_later();
            }
        });
    }

    /// Lets go what is idle for too long; answers when the next one is.
    fn sweep(&self) -> Option<Instant> {
        let now = Instant::now();
        loop {
            let mut shelves = self.shelves.lock();
            let (_, oldest) = shelves.idle.first_key_value()?;
            let leaves = oldest.since + IDLE;
            if leaves > now {
                return Some(leaves);
            }
            let gone = shelves.oldest(Some(now));
            // Closing it is nothing that others wait for.
            drop(shelves);
            drop(gone);
        }
    }
}

impl IdleShelves {
    fn idle(&mut self, origin: &Arc<EndpointOrigin>, kept: Kept) -> usize {
        self.last_key += 1;
        let idle = IdleConnection { origin: Arc::clone(origin), since: Instant::now(), kept };
        self.idle.insert(self.last_key, idle);
        self.last_key
    }

    /// A free stream of a connection that is there.
    fn stream(&mut self, origin: &Arc<EndpointOrigin>) -> Option<Arc<SharedConnection>> {
        let shelf = self.of.get_mut(origin)?;
        shelf.shared.retain(|shared| !shared.is_over());
        let free = |shared: &&Arc<SharedConnection>| shared.in_use.load(Ordering::Relaxed) < shared.streams();
        let shared = Arc::clone(shelf.shared.iter().find(free)?);
        shelf.streams = Some(shared.streams());
        shared.in_use.fetch_add(1, Ordering::Relaxed);
        self.idle.remove(&shared.idle_key.swap(0, Ordering::Relaxed));
        Some(shared)
    }

    /// Takes out the one that has been idle for longest, or since before `IDLE`.
    fn oldest(&mut self, now: Option<Instant>) -> Option<IdleConnection> {
        let entry = self.idle.first_entry()?;
        if now.is_some_and(|now| entry.get().since + IDLE > now) {
            return None;
        }
        let (key, idle) = entry.remove_entry();
        match &idle.kept {
            Kept::One(_) => {
                if let Some(shelf) = self.of.get_mut(&idle.origin) {
                    shelf.ones.retain(|one| *one != key);
                }
            }
            Kept::Shared(shared) => {
                shared.retire();
                let (origin, shared) = (Arc::clone(&idle.origin), Arc::clone(shared));
                self.forget(&origin, &shared);
            }
        }
        self.clear(&idle.origin);
        Some(idle)
    }

    fn forget(&mut self, origin: &Arc<EndpointOrigin>, shared: &Arc<SharedConnection>) {
        if let Some(shelf) = self.of.get_mut(origin) {
            shelf.shared.retain(|other| !Arc::ptr_eq(other, shared));
        }
        self.clear(origin);
    }

    fn clear(&mut self, origin: &Arc<EndpointOrigin>) {
        if self.of.get(origin).is_some_and(IdleShelf::is_empty) {
            self.of.remove(origin);
        }
    }
}

/// Somebody waits for a place.
struct OriginWaiters<'a>(&'a AtomicUsize);

impl Drop for OriginWaiters<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The one task that lets idle connections go. Where its runtime ends, another may take over.
struct PoolSweep(Weak<ConnectionPool>);

impl PoolSweep {
    fn sweep(&self) -> Option<Instant> {
        self.0.upgrade()?.sweep()
    }
}

impl Drop for PoolSweep {
    fn drop(&mut self) {
        let Some(pool) = self.0.upgrade() else { return };
        pool.sweeping.store(false, Ordering::Release);
    }
}

/// A connection is being made; until it is dropped.
pub(super) struct DialTicket {
    pool: Arc<ConnectionPool>,
    origin: Arc<EndpointOrigin>,
    /// Told of what changes at this origin.
    pub(super) changed: Arc<Notify>,
}

impl Drop for DialTicket {
    fn drop(&mut self) {
        let mut shelves = self.pool.shelves.lock();
        if let Some(shelf) = shelves.of.get_mut(&self.origin) {
            shelf.dialing = shelf.dialing.saturating_sub(1);
        }
        shelves.clear(&self.origin);
        drop(shelves);
        self.changed.notify_waiters();
    }
}

/// A request waits for a stream; until it is dropped.
pub(super) struct WaitTicket {
    pool: Arc<ConnectionPool>,
    origin: Arc<EndpointOrigin>,
}

impl Drop for WaitTicket {
    fn drop(&mut self) {
        let mut shelves = self.pool.shelves.lock();
        if let Some(shelf) = shelves.of.get_mut(&self.origin) {
            shelf.waiting = shelf.waiting.saturating_sub(1);
        }
        shelves.clear(&self.origin);
    }
}

/// One stream of a shared connection; free again when this is dropped.
pub(super) struct StreamPlace {
    pool: Arc<ConnectionPool>,
    origin: Arc<EndpointOrigin>,
    pub(super) shared: Arc<SharedConnection>,
    /// Whether the connection was made for another request.
    pub(super) reused: bool,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.pool.release(&self.origin, &self.shared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_made_until_those_that_wait_could_have_a_stream_each() {
        for (dialing, waiting, streams, expected) in [
            (0, 1, None, true),
            (15, 1, None, true),
            (0, 1, Some(1), true),
            (1, 1, Some(1), false),
            (1, 2, Some(1), true),
            (1, 16, Some(100), false),
            (1, 101, Some(100), true),
            (0, 1, Some(0), true),
            (1, 9, Some(usize::MAX), false),
        ] {
            assert_eq!(may_dial(dialing, waiting, streams), expected, "{dialing} {waiting} {streams:?}");
        }
    }
}
