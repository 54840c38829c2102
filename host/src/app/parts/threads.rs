//! Which threads of their own those have who hand each other work all the time.

use std::io;
use std::sync::Arc;

use crate::config::Config;
use crate::supervision::RuntimeThread;

/// The threads of those who take events and of those who send deliveries, one for each shard.
pub(super) struct PipelineThreads {
    /// From the bus to durable deliveries.
    pub(super) taking: Vec<Arc<RuntimeThread>>,
    /// From durable deliveries to their outcomes.
    pub(super) sending: Vec<Arc<RuntimeThread>>,
    /// Where the API is served, if not on the threads that everything shares.
    pub(super) serving: Option<Arc<RuntimeThread>>,
    /// Each sends for accounts of its shard that have much in flight, of whatever number of cores: the system shares
    /// them out, and the others' turns stay short.
    pub(super) bulk: Vec<RuntimeThread>,
}

impl PipelineThreads {
    /// Where the machine has no more cores than there are shards that send, these take events, too: what a wake-up of another
    /// thread costs is more than what it would bring. Where one thread does all that, it serves the API as well: then what is
    /// ready on it makes larger groups.
    ///
    /// # Errors
    /// The system has no thread or no event queue to give.
    pub(super) fn start(config: &Config) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (taking, sending) = (shards(config.bus.shards, cores), shards(config.delivery.shards, cores));
        let threads = |name: &str, count: usize| -> io::Result<Vec<RuntimeThread>> {
            (0..count).map(|nth| RuntimeThread::start(&thread_name(name, nth, count))).collect()
        };
        let bulk = threads("sending-bulk", sending)?;
        let sending: Vec<Arc<RuntimeThread>> = shared(threads("sending", sending)?);
        let has_room = has_room_for(taking, sending.len(), cores);
        let taking = match has_room {
            true => shared(threads("taking", taking)?),
            false => sending.iter().cycle().take(taking).cloned().collect(),
        };
        let serving = match sending.as_slice() {
            [only] if !has_room => Some(Arc::clone(only)),
            _ => None,
        };
        Ok(PipelineThreads { taking, sending, serving, bulk })
    }
}

fn shared(threads: Vec<RuntimeThread>) -> Vec<Arc<RuntimeThread>> {
    threads.into_iter().map(Arc::new).collect()
}

/// How many shards a setting means: 0 stands for half of the cores.
fn shards(set: usize, cores: usize) -> usize {
    if set > 0 { set } else { (cores / 2).max(1) }
}

/// Whether those who take events have threads of their own.
fn has_room_for(taking: usize, sending: usize, cores: usize) -> bool {
    cores > 2 && cores >= taking + sending
}

/// The only one of its kind has no number.
fn thread_name(name: &str, nth: usize, count: usize) -> String {
    if count > 1 { format!("{name}-{nth}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_cores_take_events_and_half_send() {
        for (set, cores, expected) in
            [(0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 2), (0, 16, 8), (1, 16, 1), (4, 2, 4)]
        {
            assert_eq!(shards(set, cores), expected, "{set} of {cores}");
        }
    }

    #[test]
    fn threads_are_shared_where_cores_are_few() {
        for (taking, sending, cores, expected) in
            [(1, 1, 2, false), (1, 1, 3, true), (2, 2, 4, true), (2, 2, 2, false), (4, 4, 4, false)]
        {
            assert_eq!(has_room_for(taking, sending, cores), expected, "{taking} {sending} {cores}");
        }
    }

    #[test]
    fn threads_are_told_apart() {
        assert_eq!(thread_name("sending", 0, 1), "sending");
        assert_eq!(thread_name("sending", 1, 2), "sending-1");
    }
}
