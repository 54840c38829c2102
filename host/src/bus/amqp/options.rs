//! What a connection to the broker needs to know.

use std::fmt;
use std::sync::Arc;

use crate::bus::content::DEFAULT_LIMIT;
use crate::memory::EventMemory;

/// How the broker keeps our queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueType {
    /// Replicated and durable; what RabbitMQ recommends.
    Quorum,
    /// On one node.
    Classic,
}

impl fmt::Display for QueueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        })
    }
}

/// What a connection to the broker needs to know.
#[derive(Clone)]
pub struct AmqpOptions {
    /// `amqp://user:password@host:port/vhost`, or `amqps://`.
    pub uri: String,
    /// Name of our queue; refused messages go to an exchange and a queue of this name with `.dead` after it.
    pub queue: String,
    /// How the queue is made when it is not there; must agree with it when it is.
    pub queue_type: QueueType,
    /// How many messages may be with us unacknowledged.
    pub prefetch: u16,
    /// How the broker's listings call this connection.
    pub connection_name: String,
    /// The longest event that is taken, in bytes, unpacked.
    pub event_limit: usize,
    /// Where the memory for events comes from.
    pub memory: Arc<EventMemory>,
}

impl AmqpOptions {
    /// The defaults for everything but the address and the queue.
    pub fn new(uri: impl Into<String>, queue: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            queue: queue.into(),
            queue_type: QueueType::Quorum,
            prefetch: 200,
            connection_name: "hookline".to_owned(),
            event_limit: DEFAULT_LIMIT,
            memory: Arc::new(EventMemory::unbounded()),
        }
    }
}

/// Options that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOptions {
    /// The address is none. It is not repeated, because it may hold a password.
    #[error("bus.uri is not an address like amqp://user:password@host:5672/vhost: {0}")]
    Uri(String),
    /// The queue's name is empty or too long.
    #[error("bus.queue {0:?} must have 1 to 250 bytes")]
    Queue(String),
    /// Without prefetch a broker sends everything at once.
    #[error("bus.prefetch must be above 0")]
    Prefetch,
}
