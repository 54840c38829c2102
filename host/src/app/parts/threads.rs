//! Which threads of their own those have who hand each other work all the time.

use std::sync::Arc;

use crate::supervision::RuntimeThread;

/// The threads of those who take events and of those who send deliveries.
pub(super) struct PipelineThreads {
    /// From the bus to durable deliveries.
    pub(super) taking: Arc<RuntimeThread>,
    /// From durable deliveries to their outcomes.
    pub(super) sending: Arc<RuntimeThread>,
    /// Sends for accounts that have much in flight, of whatever number of cores: the system shares them out, and the
    /// others' turns stay short.
    pub(super) bulk: RuntimeThread,
}

impl PipelineThreads {
    /// Where the machine has no more than two cores the first two are the same thread: what a wake-up of the other costs is more
    /// than what the second would bring.
    ///
    /// # Errors
    /// The system has no thread or no event queue to give.
    pub(super) fn start() -> std::io::Result<Self> {
        let sending = Arc::new(RuntimeThread::start("sending")?);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let taking = if cores > 2 { Arc::new(RuntimeThread::start("taking")?) } else { Arc::clone(&sending) };
        Ok(PipelineThreads { taking, sending, bulk: RuntimeThread::start("sending-bulk")? })
    }
}
