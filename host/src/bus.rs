//! Where events come from: what every bus promises.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::event::RawEvent;
use crate::trail::Origin;

pub mod routing_key;
pub mod content;
pub mod embedded;
pub mod amqp;
mod binding;
mod error;
mod incoming;
pub mod intake;
mod refusal;
mod state;

pub use binding::Binding;
pub use error::{BusError, PublishError};
pub(crate) use incoming::SessionAnswer;
pub use incoming::{Acker, Answer, IncomingMessage, Unhandled};
pub use intake::EventIntake;
pub use refusal::Refusal;
pub(crate) use state::BusTally;
pub use state::{BusCounters, BusState};

/// The messages that the rest of the host works on come from here.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Wants these bindings from now on; they are kept and restored after a reconnect.
    ///
    /// Without a connection the wish is noted and `Ok`. With one, an error names the exchange that cannot be
    /// used; none of the bindings that this call added is wanted then.
    async fn bind(&self, bindings: &[Binding]) -> Result<(), BusError>;

    /// Does not want these bindings any longer. Unknown ones are no error.
    async fn unbind(&self, bindings: &[Binding]) -> Result<(), BusError>;

    /// The consuming child: sends every message to `intake` until `stop`; reconnects inside; only returns
    /// `Err` for a bug.
    ///
    /// `ready` is told as soon as the first attempt to connect has ended, well or not: a lost broker is a
    /// state of the host, not a reason for it not to start.
    async fn run(
        &self,
        intake: EventIntake,
        ready: oneshot::Sender<()>,
        stop: CancellationToken,
    ) -> anyhow::Result<()>;

    /// How the bus is now.
    fn state(&self) -> BusState;

    /// Puts one JSON message on an exchange under a routing key; `Ok` once it is safe with those who take it.
    async fn publish(&self, exchange: &str, routing_key: &str, body: Bytes) -> Result<(), PublishError> {
        self.publish_from(&Origin::default(), exchange, routing_key, body.into()).await
    }

    /// As [`publish`](Bus::publish), with where the message comes from: whoever gets it goes on from there. The name of
    /// a CloudEvent goes along.
    async fn publish_from(
        &self,
        origin: &Origin,
        exchange: &str,
        routing_key: &str,
        event: RawEvent,
    ) -> Result<(), PublishError>;

    /// What has happened since the start.
    fn counters(&self) -> BusCounters;

    /// Messages in the broker's dead-letter queue, whoever put them there; nothing where it is not known, or there is
    /// no broker.
    fn dead_letters(&self) -> Option<u64> {
        None
    }

    /// What does not work although the bus is connected, one sentence each (an exchange that cannot be used).
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }
}
