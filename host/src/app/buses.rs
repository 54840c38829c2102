//! Which bus the host takes events from.

use std::sync::Arc;

use crate::bus::Bus;
use crate::bus::amqp::{AmqpBus, AmqpOptions, QueueType};
use crate::bus::embedded::{EmbeddedBus, EventInlet};
use crate::config::{self, BusKind};
use crate::memory::EventMemory;

pub(super) fn bus(
    config: &config::Bus,
    inlet: &EventInlet,
    memory: &Arc<EventMemory>,
) -> anyhow::Result<Arc<dyn Bus>> {
    match config.kind {
        BusKind::Embedded => Ok(Arc::new(EmbeddedBus::new(inlet.clone()))),
        BusKind::Amqp => {
            let queue_type = match config.queue_type {
                config::QueueType::Quorum => QueueType::Quorum,
                config::QueueType::Classic => QueueType::Classic,
            };
            let options = AmqpOptions {
                queue_type,
                prefetch: config.prefetch,
                event_limit: config.max_event_bytes,
                memory: Arc::clone(memory),
                ..AmqpOptions::new(&config.uri, &config.queue)
            };
            Ok(Arc::new(AmqpBus::new(options)?))
        }
    }
}
