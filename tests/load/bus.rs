//! Events from RabbitMQ: a quorum queue, published with confirms.

use std::collections::VecDeque;

use anyhow::ensure;
use lapin::options::{BasicPublishOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use tests::Broker;

use crate::host::Host;
use crate::plan::HostVersion;

/// Messages that may be unconfirmed.
const WINDOW: usize = 200;

/// A host with a queue of its own.
pub(crate) struct BusHost {
    pub(crate) host: Host,
    channel: Channel,
    queue: String,
}

impl BusHost {
    /// Starts one with these settings besides.
    pub(crate) async fn start(
        version: &HostVersion,
        broker: &Broker,
        settings: &str,
    ) -> anyhow::Result<Self> {
        let queue = Broker::queue_of_its_own();
        let uri = broker.uri();
        // No table: `settings` may hold some of the bus, too.
        let settings = format!(
            "{settings}bus.kind = 'amqp'\nbus.uri = '{uri}'\nbus.queue = '{queue}'\nbus.queue_type = 'quorum'\n"
        );
        let host = Host::start(version, &settings).await?;
        Ok(BusHost { host, channel: broker.channel().await, queue })
    }

    /// Publishes events and waits until the broker has them.
    pub(crate) async fn publish(&self, events: &[String]) -> anyhow::Result<()> {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_headers(FieldTable::default());
        let mut unconfirmed = VecDeque::with_capacity(WINDOW);
        for event in events {
            if unconfirmed.len() == WINDOW
                && let Some(oldest) = unconfirmed.pop_front()
            {
                confirmed(oldest).await?;
            }
            let options = BasicPublishOptions::default();
            let key = "call.CHANNEL_CREATE.7c1e-52d0-9b3f%40198%2E51%2E100%2E17";
            let sent = self.channel.basic_publish(
                "callevt".into(),
                key.into(),
                options,
                event.as_bytes(),
                properties.clone(),
            );
            unconfirmed.push_back(sent.await?);
        }
        for rest in unconfirmed {
            confirmed(rest).await?;
        }
        Ok(())
    }

    /// Ends the host, and sees to it that nothing is left in its queues, which go.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.host.stop().await?;
        for name in [self.queue.clone(), format!("{}.dead", self.queue)] {
            let left = self.channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await?;
            ensure!(left == 0, "{left} messages are left in the queue {name}");
        }
        Ok(())
    }
}

async fn confirmed(confirm: lapin::PublisherConfirm) -> anyhow::Result<()> {
    ensure!(confirm.await?.is_ack(), "the broker did not take a message");
    Ok(())
}
