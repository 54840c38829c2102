//! The bus on RabbitMQ: when to connect, and what follows from how a connection ended.
//!
//! One connection at a time is a session (`amqp/session.rs`). What outlives it is in `amqp/broker.rs`.

use async_trait::async_trait;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::backoff::ReconnectBackoff;
use self::names::check_name;
use self::prefetch::NextPrefetch;
use self::session::tell;
use self::session_end::SessionEnd;
use super::{Binding, Bus, BusCounters, BusError, BusState, EventIntake, PublishError};
use crate::event::RawEvent;
use crate::trail::Origin;

mod acks;
mod arriving;
mod backoff;
mod broker;
mod connecting;
mod consuming;
mod message_headers;
mod names;
mod options;
mod prefetch;
mod publisher;
mod session;
mod session_end;
mod topology;
mod unreadable;

pub use broker::AmqpBus;
pub use options::{AmqpOptions, BadOptions, QueueType};

/// A connection that lasted this long was a good one: after it the attempts start close together again.
const LASTING: Duration = Duration::from_secs(10);

#[async_trait]
impl Bus for AmqpBus {
    async fn bind(&self, bindings: &[Binding]) -> Result<(), BusError> {
        for binding in bindings {
            check_name(&binding.exchange)?;
            check_name(&binding.routing_key)?;
        }
        let new: Vec<Binding> = {
            let mut wishes = self.wishes.lock();
            bindings.iter().filter(|binding| wishes.bindings.insert((*binding).clone())).cloned().collect()
        };
        let done = self.change(bindings.to_vec(), true).await;
        if done.is_err() {
            // The first error is the one to report; taking back may well fail for the same reason.
            drop(self.unbind(&new).await);
        }
        done
    }

    async fn unbind(&self, bindings: &[Binding]) -> Result<(), BusError> {
        {
            let mut wishes = self.wishes.lock();
            for binding in bindings {
                wishes.bindings.remove(binding);
            }
        }
        self.change(bindings.to_vec(), false).await
    }

    async fn run(
        &self,
        intake: EventIntake,
        ready: oneshot::Sender<()>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut ready = Some(ready);
        let mut backoff = ReconnectBackoff::default();
        loop {
            let begun = Instant::now();
            let end = session::run(self, &intake, &mut ready, &stop).await;
            match end {
                SessionEnd::Stopped => break,
                SessionEnd::IntakeClosed => anyhow::bail!("the intake was closed while the bus was running"),
                SessionEnd::Resized => continue,
                SessionEnd::Lost(reason) => self.lost(reason),
                SessionEnd::Unreadable(reason) => {
                    let goes_on = tokio::select! {
                        () = stop.cancelled() => break,
                        goes_on = deal_with_unreadable(self, &reason) => goes_on,
                    };
                    if goes_on {
                        continue;
                    }
                    self.lost(reason);
                }
            }
            tell(&mut ready);
            if begun.elapsed() >= LASTING {
                backoff.reset();
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(backoff.next(rand::random())) => {}
            }
        }
        *self.state.lock() = BusState::Stopped;
        Ok(())
    }

    fn state(&self) -> BusState {
        self.state.lock().clone()
    }

    async fn publish_from(
        &self,
        origin: &Origin,
        exchange: &str,
        routing_key: &str,
        event: RawEvent,
    ) -> Result<(), PublishError> {
        check_name(exchange)?;
        check_name(routing_key)?;
        let link = self.link.lock().clone();
        match link {
            Some(link) => link.publish(origin, exchange, routing_key, &event).await,
            None => Err(PublishError::Unavailable("there is no connection to the broker".to_owned())),
        }
    }

    fn counters(&self) -> BusCounters {
        self.tally.snapshot()
    }

    fn dead_letters(&self) -> Option<u64> {
        *self.dead.lock()
    }

    fn problems(&self) -> Vec<String> {
        self.problems.lock().iter().cloned().collect()
    }
}

/// Deals with a message that breaks connections; says whether there is something new to try at once.
async fn deal_with_unreadable(bus: &AmqpBus, reason: &str) -> bool {
    let next = bus.pace.lock().broken();
    warn!(
        broker = bus.broker(),
        error = reason,
        "the connection broke over a message that cannot be read; messages are taken one by one"
    );
    match next {
        NextPrefetch::Search => true,
        NextPrefetch::Bury => match unreadable::bury(bus, reason).await {
            Ok(buried) => buried,
            Err(error) => {
                warn!(broker = bus.broker(), error, "the message that cannot be read is still there");
                false
            }
        },
    }
}

#[cfg(test)]
mod tests;
