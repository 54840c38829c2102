//! How one message gets onto an exchange, and when it counts as published.

use super::message_headers;
use super::names::name;
use super::topology::{QueueSetup, SetupError, words_of};
use crate::bus::PublishError;
use crate::clock;
use crate::event::RawEvent;
use crate::event::identity::CloudEventId;
use crate::trail::Origin;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A broker that is short of memory or disk takes messages without confirming them.
const CONFIRM_LIMIT: Duration = Duration::from_secs(10);
const PERSISTENT: u8 = 2;

/// What publishers need of a connection, as long as it lives.
pub(super) struct BrokerLink {
    connection: Arc<Connection>,
    channel: Mutex<Option<Channel>>,
    declared: Mutex<HashSet<String>>,
}

impl BrokerLink {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, channel: Mutex::default(), declared: Mutex::default() }
    }

    pub(super) async fn publish(
        &self,
        origin: &Origin,
        exchange: &str,
        routing_key: &str,
        event: &RawEvent,
    ) -> Result<(), PublishError> {
        let properties = properties(origin, event.cloud_event.as_ref());
        let publishing = self.publish_now(properties, exchange, routing_key, &event.body);
        within_limit(publishing).await
    }

    async fn publish_now(
        &self,
        properties: BasicProperties,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
    ) -> Result<(), PublishError> {
        self.declare(exchange).await?;
        self.confirmed(properties, exchange, routing_key, body).await
    }

    async fn confirmed(
        &self,
        properties: BasicProperties,
        exchange: &str,
        routing_key: &str,
        body: &[u8],
    ) -> Result<(), PublishError> {
        let channel = self.channel().await.map_err(unavailable)?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirmation = channel
            .basic_publish(name(exchange), name(routing_key), options, body, properties)
            .await
            .map_err(unavailable)?
            .await
            .map_err(|error| {
                // The exchange may have been deleted since; the next message declares it again.
                self.declared.lock().remove(exchange);
                unavailable(error)
            })?;
        match confirmation {
            Confirmation::Ack(None) | Confirmation::NotRequested => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Err(PublishError::Unroutable {
                exchange: exchange.to_owned(),
                routing_key: routing_key.to_owned(),
            }),
            Confirmation::Nack(None) => {
                Err(PublishError::Refused("the broker did not take responsibility for it".to_owned()))
            }
        }
    }

    /// An exchange that does not exist would close the channel with every message that is under way on it.
    async fn declare(&self, exchange: &str) -> Result<(), PublishError> {
        if exchange.is_empty() || self.declared.lock().contains(exchange) {
            return Ok(());
        }
        match QueueSetup::new(&self.connection).exchange(exchange).await {
            Ok(()) => {
                self.declared.lock().insert(exchange.to_owned());
                Ok(())
            }
            Err(SetupError::Refused(error)) => Err(PublishError::Exchange(error)),
            Err(SetupError::Lost(error)) => Err(unavailable(error)),
        }
    }

    async fn channel(&self) -> lapin::Result<Channel> {
        let open = self.channel.lock().clone().filter(|channel| channel.status().connected());
        if let Some(channel) = open {
            return Ok(channel);
        }
        let fresh = self.connection.create_channel().await?;
        fresh.confirm_select(ConfirmSelectOptions::default()).await?;
        *self.channel.lock() = Some(fresh.clone());
        Ok(fresh)
    }
}

async fn within_limit(
    publishing: impl Future<Output = Result<(), PublishError>>,
) -> Result<(), PublishError> {
    match tokio::time::timeout(CONFIRM_LIMIT, publishing).await {
        Ok(done) => done,
        Err(_) => Err(PublishError::Unavailable(format!(
            "the broker did not confirm the message within {} s",
            CONFIRM_LIMIT.as_secs()
        ))),
    }
}

fn unavailable(error: lapin::Error) -> PublishError {
    PublishError::Unavailable(words_of(&error))
}

/// As KAZOO's publishers set them, its clock in microseconds since the year 0 included; but persistent, since
/// whoever publishes here has been told that the message is safe. Headers only where there is an origin to tell of.
fn properties(origin: &Origin, cloud_event: Option<&CloudEventId>) -> BasicProperties {
    let micros = clock::now().unix_timestamp_nanos() / 1000 + i128::from(clock::GREGORIAN) * 1_000_000;
    let properties = BasicProperties::default()
        .with_content_type(name("application/json"))
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(u64::try_from(micros).unwrap_or_default());
    match message_headers::written(origin, cloud_event) {
        Some(headers) => properties.with_headers(headers),
        None => properties,
    }
}
