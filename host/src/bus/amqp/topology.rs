//! What has to stand on the broker: which exchanges and queues, and how each is declared.
//!
//! A refusal closes the channel that asked, so none of this happens on the channel that consumes.

use super::QueueType;
use super::names::name;
use crate::bus::{Binding, BusError};
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use std::collections::BTreeSet;

/// The exchanges whose properties KAZOO fixes (`kapi_*:declare_exchanges`).
const TOPIC_EXCHANGES: &[&str] = &["callevt", "callmgr", "configuration", "notifications", "im"];
const DIRECT_EXCHANGES: &[&str] = &["targeted"];

/// Why something could not be set up.
#[derive(Debug)]
pub(super) enum SetupError {
    /// The broker says no; asking again without a change would not help.
    Refused(BusError),
    /// The connection is not usable; a new one may be.
    Lost(lapin::Error),
}

impl From<lapin::Error> for SetupError {
    fn from(error: lapin::Error) -> Self {
        Self::Lost(error)
    }
}

/// How an exchange is to be declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeclaredTopology {
    Topic,
    Direct,
    /// Not one of KAZOO's: taken as it stands, made as KAZOO makes one when there is none.
    AsItIs,
}

impl DeclaredTopology {
    fn of(exchange: &str) -> Self {
        if TOPIC_EXCHANGES.contains(&exchange) {
            Self::Topic
        } else if DIRECT_EXCHANGES.contains(&exchange) {
            Self::Direct
        } else {
            Self::AsItIs
        }
    }

    fn kind(self) -> ExchangeKind {
        match self {
            Self::Direct => ExchangeKind::Direct,
            Self::Topic | Self::AsItIs => ExchangeKind::Topic,
        }
    }

    fn right(self) -> &'static str {
        match self {
            Self::Topic => "a topic exchange, not durable, not auto-delete, without arguments",
            Self::Direct => "a direct exchange, not durable, not auto-delete, without arguments",
            Self::AsItIs => "a topic exchange that this user may declare and read",
        }
    }
}

/// Sets things up on a connection, on a channel that is replaced whenever a refusal has closed it.
pub(super) struct QueueSetup<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
}

impl<'a> QueueSetup<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection, channel: None }
    }

    async fn channel(&mut self) -> lapin::Result<Channel> {
        if let Some(open) = self.channel.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(open.clone());
        }
        let fresh = self.connection.create_channel().await?;
        self.channel = Some(fresh.clone());
        Ok(fresh)
    }

    /// Makes sure that an exchange is there and is what KAZOO expects it to be.
    pub(super) async fn exchange(&mut self, exchange: &str) -> Result<(), SetupError> {
        let declared = DeclaredTopology::of(exchange);
        if declared == DeclaredTopology::AsItIs {
            match self.declare(exchange, declared, true).await {
                Err(error) if soft_error(&error) == Some(AMQPSoftError::NOTFOUND) => {}
                found => return found.map_err(|error| refused_exchange(exchange, error)),
            }
        }
        self.declare(exchange, declared, false).await.map_err(|error| refused_exchange(exchange, error))
    }

    async fn declare(
        &mut self,
        exchange: &str,
        declared: DeclaredTopology,
        passive: bool,
    ) -> lapin::Result<()> {
        let options = ExchangeDeclareOptions { passive, ..ExchangeDeclareOptions::default() };
        let channel = self.channel().await?;
        channel.exchange_declare(name(exchange), declared.kind(), options, FieldTable::default()).await
    }

    /// How many messages wait in a queue; nothing where there is no such queue.
    pub(super) async fn messages_in(&mut self, queue: &str) -> lapin::Result<Option<u64>> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let channel = self.channel().await?;
        match channel.queue_declare(name(queue), options, FieldTable::default()).await {
            Ok(queue) => Ok(Some(u64::from(queue.message_count()))),
            Err(error) if soft_error(&error).is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Binds or unbinds one key. An exchange that is not there needs no unbinding.
    pub(super) async fn binding(
        &mut self,
        queue: &str,
        binding: &Binding,
        wanted: bool,
    ) -> Result<(), SetupError> {
        let channel = self.channel().await?;
        let (queue, exchange, key) = (name(queue), name(&binding.exchange), name(&binding.routing_key));
        let done = if wanted {
            channel.queue_bind(queue, exchange, key, Default::default(), FieldTable::default()).await
        } else {
            channel.queue_unbind(queue, exchange, key, FieldTable::default()).await
        };
        done.or_else(|error| match soft_error(&error) {
            Some(AMQPSoftError::NOTFOUND) if !wanted => Ok(()),
            Some(_) => {
                let (binding, reason) = (binding.clone(), words_of(&error));
                Err(SetupError::Refused(BusError::Binding { binding, reason }))
            }
            None => Err(SetupError::Lost(error)),
        })
    }

    /// Declares the exchanges of these bindings and binds the queue; answers what the broker refused.
    pub(super) async fn bindings(
        &mut self,
        queue: &str,
        bindings: &BTreeSet<Binding>,
    ) -> lapin::Result<Vec<BusError>> {
        let mut refused = Vec::new();
        let mut unusable = BTreeSet::new();
        for exchange in exchanges(bindings) {
            match self.exchange(&exchange).await {
                Ok(()) => {}
                Err(SetupError::Refused(error)) => {
                    refused.push(error);
                    unusable.insert(exchange);
                }
                Err(SetupError::Lost(error)) => return Err(error),
            }
        }
        for binding in bindings.iter().filter(|binding| !unusable.contains(&binding.exchange)) {
            match self.binding(queue, binding, true).await {
                Ok(()) => {}
                Err(SetupError::Refused(error)) => refused.push(error),
                Err(SetupError::Lost(error)) => return Err(error),
            }
        }
        Ok(refused)
    }
}

fn refused_exchange(exchange: &str, error: lapin::Error) -> SetupError {
    if soft_error(&error).is_none() {
        return SetupError::Lost(error);
    }
    SetupError::Refused(BusError::Exchange {
        exchange: exchange.to_owned(),
        reason: words_of(&error),
        right: DeclaredTopology::of(exchange).right().to_owned(),
    })
}

/// Our own queue and the one behind it for messages that were refused; `Err` says what would be right.
pub(super) async fn declare_queues(
    connection: &Connection,
    queue: &str,
    queue_type: QueueType,
) -> Result<(), String> {
    let dead = dead_letter_name(queue);
    let what = |thing: &str, right: &str, error: lapin::Error| match soft_error(&error) {
        Some(_) => format!("{thing} cannot be used: {}; right would be: {right}", words_of(&error)),
        None => error.to_string(),
    };
    let channel = connection.create_channel().await.map_err(|error| error.to_string())?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(name(&dead), ExchangeKind::Fanout, durable, FieldTable::default())
        .await
        .map_err(|error| what(&format!("exchange {dead:?}"), "a durable fanout exchange", error))?;
    let right = format!("a durable {queue_type} queue without other arguments, or another bus.queue");
    declare_queue(&channel, &dead, queue_type, None)
        .await
        .map_err(|error| what(&format!("queue {dead:?}"), &right, error))?;
    channel
        .queue_bind(name(&dead), name(&dead), name(""), Default::default(), FieldTable::default())
        .await
        .map_err(|error| what(&format!("queue {dead:?}"), "one that may be bound", error))?;
    let right = format!(
        "a durable {queue_type} queue with dead-letter exchange {dead:?} and no other arguments; \
         delete it, or set another bus.queue or bus.queue_type"
    );
    declare_queue(&channel, queue, queue_type, Some(&dead))
        .await
        .map_err(|error| what(&format!("queue {queue:?}"), &right, error))?;
    // Nothing depends on the end of this channel; the connection closes it at the latest.
    drop(channel);
    Ok(())
}

async fn declare_queue(
    channel: &Channel,
    queue: &str,
    queue_type: QueueType,
    dead_letter_exchange: Option<&str>,
) -> lapin::Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert(name("x-queue-type"), AMQPValue::LongString(queue_type.to_string().into()));
    if let Some(exchange) = dead_letter_exchange {
        arguments.insert(name("x-dead-letter-exchange"), AMQPValue::LongString(exchange.into()));
    }
    channel.queue_declare(name(queue), QueueDeclareOptions::durable(), arguments).await.map(drop)
}

/// Name of the exchange and of the queue that refused messages of `queue` go to.
pub(super) fn dead_letter_name(queue: &str) -> String {
    format!("{queue}.dead")
}

/// The names of the exchanges that these bindings need.
fn exchanges(bindings: &BTreeSet<Binding>) -> BTreeSet<String> {
    bindings.iter().map(|binding| binding.exchange.clone()).collect()
}

/// The broker's own words, where it had any.
pub(super) fn words_of(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        _ => error.to_string(),
    }
}

/// Which refusal closed the channel; `None` for everything that concerns the connection.
fn soft_error(error: &lapin::Error) -> Option<AMQPSoftError> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => Some(soft.clone()),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(exchange: &str, expected: DeclaredTopology) {
        assert_eq!(DeclaredTopology::of(exchange), expected);
    }

    #[test]
    fn the_originals_exchanges_are_declared_as_it_declares_them() {
        check("callevt", DeclaredTopology::Topic);
        check("configuration", DeclaredTopology::Topic);
        check("notifications", DeclaredTopology::Topic);
        check("im", DeclaredTopology::Topic);
        check("targeted", DeclaredTopology::Direct);
        check("other", DeclaredTopology::AsItIs);
    }

    #[test]
    fn each_exchange_is_needed_once() {
        let bindings = ["a.*", "b.*"].map(|key| Binding::new("callevt", key));
        assert_eq!(exchanges(&bindings.into()), BTreeSet::from(["callevt".to_owned()]));
    }
}
