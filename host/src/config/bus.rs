//! `[bus]`: where events come from.

use super::rules::{self, MOST_SHARDS, SettingsReader};

/// Where events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusKind {
    /// Posted to the API.
    Embedded,
    /// From RabbitMQ.
    Amqp,
}

/// How RabbitMQ keeps our queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueType {
    /// Replicated.
    Quorum,
    /// On one node.
    Classic,
}

impl QueueType {
    /// The value of the queue's `x-queue-type` argument.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        }
    }
}

/// `[bus]`: where events come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Bus {
    /// Which bus.
    pub kind: BusKind,
    /// The broker; an `amqp://` or `amqps://` address.
    pub uri: String,
    /// Name of our durable queue.
    pub queue: String,
    /// How the broker keeps it.
    pub queue_type: QueueType,
    /// Messages handed out before the broker waits for acknowledgements.
    pub prefetch: u16,
    /// Largest event that comes from the broker, unpacked, bytes.
    pub max_event_bytes: usize,
    /// Threads that turn events into deliveries; 0: half of the cores.
    pub shards: usize,
}

pub(super) fn read_bus(reader: &mut SettingsReader<'_>) -> Option<Bus> {
    let kinds = [("embedded", BusKind::Embedded), ("amqp", BusKind::Amqp)];
    let kind = reader.read("bus.kind", |v| rules::one_of(v, &kinds));
    let uri = reader.read("bus.uri", rules::broker);
    let queue = reader.read("bus.queue", |v| rules::text(v, 250));
    let types = [("quorum", QueueType::Quorum), ("classic", QueueType::Classic)];
    let queue_type = reader.read("bus.queue_type", |v| rules::one_of(v, &types));
    let prefetch = reader.read("bus.prefetch", |v| rules::number(v, 1, u16::MAX));
    let max_event_bytes = reader.read("bus.max_event_bytes", |v| rules::size(v, 1024));
    let shards = reader.read("bus.shards", |v| rules::number(v, 0, MOST_SHARDS));
    Some(Bus {
        kind: kind?,
        uri: uri?,
        queue: queue?,
        queue_type: queue_type?,
        prefetch: prefetch?,
        max_event_bytes: max_event_bytes?,
        shards: shards?,
    })
}
