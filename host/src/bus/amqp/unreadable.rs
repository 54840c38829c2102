//! A message that breaks every connection it is sent over: how it is dead-lettered without being read.
//!
//! The broker does not cut a message's properties into frames, and they grow with each dead-lettering. So a message that
//! was taken under its `frame_max` may no longer fit into a frame, and no client takes it. It can be rejected all the
//! same: the first message of a fresh channel has the delivery tag 1, and the broker reads our rejection before it
//! learns that we did not understand what it sent.

use super::AmqpBus;
use super::connecting::{CLOSE_LIMIT, connect};
use super::names::name;
use super::session_end::is_unreadable;
use super::topology::words_of;
use crate::bus::BusTally;
use futures_util::StreamExt as _;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions, ConfirmSelectOptions};
use lapin::{Channel, Connection, Event};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

/// How long the broker may take to hand out one message.
const GET_LIMIT: Duration = Duration::from_secs(10);

/// The broker needs a moment to take back what a broken connection had; so long we wait before each look.
const LOOKS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// The tag of the first message that a channel is given.
const FIRST: u64 = 1;

/// Dead-letters the message at the head of the queue, if it is one that cannot be read; says whether it was.
pub(super) async fn bury(bus: &AmqpBus, reason: &str) -> Result<bool, String> {
    let queue = bus.options.queue.as_str();
    if !is_at_the_head(bus).await? {
        return Ok(false);
    }
    let (connection, channel) = open(bus).await?;
    let (looked, ()) = tokio::join!(get(&connection, &channel, queue), reject(&channel, FIRST, false));
    close(&connection).await;
    match looked {
        DeadLetterLook::Unreadable => {
            BusTally::add(&bus.tally.unreadable, 1);
            error!(
                queue,
                reason,
                "a message that cannot be read was dead-lettered unread; a larger frame_max of the broker would let it through"
            );
            Ok(true)
        }
        DeadLetterLook::Read(message) => {
            // Another host had the one that was meant: this one goes back, and its copy with the dead ones is one too many.
            warn!(queue, "a message was dead-lettered in place of one that cannot be read, and is put back");
            put_back(bus, message).await.map(|()| false)
        }
        DeadLetterLook::Empty | DeadLetterLook::Failed => Ok(false),
    }
}

/// Whether the first message of the queue cannot be read. Somebody else may have it, or have dealt with it.
async fn is_at_the_head(bus: &AmqpBus) -> Result<bool, String> {
    for wait in LOOKS {
        sleep(wait).await;
        let (connection, channel) = open(bus).await?;
        let looked = get(&connection, &channel, &bus.options.queue).await;
        if let DeadLetterLook::Read(message) = &looked {
            reject(&channel, message.delivery.delivery_tag, true).await;
        }
        close(&connection).await;
        match looked {
            DeadLetterLook::Unreadable => return Ok(true),
            DeadLetterLook::Failed => return Ok(false),
            DeadLetterLook::Read(_) | DeadLetterLook::Empty => {}
        }
    }
    Ok(false)
}

/// What came of asking for one message.
enum DeadLetterLook {
    Read(Box<BasicGetMessage>),
    Unreadable,
    Empty,
    Failed,
}

async fn get(connection: &Connection, channel: &Channel, queue: &str) -> DeadLetterLook {
    let getting = timeout(GET_LIMIT, channel.basic_get(name(queue), BasicGetOptions::default()));
    // Who waits for a message that has begun to arrive hears nothing of a connection that breaks over it.
    let breaking = connection.events_listener().filter_map(async |event| match event {
        Event::Error(error) => Some(error),
        _ => None,
    });
    let mut breaking = std::pin::pin!(breaking);
    let error = tokio::select! {
        // Asked before anything else is done.
        biased;
        got = getting => match got {
            Ok(Ok(Some(message))) => return DeadLetterLook::Read(Box::new(message)),
            Ok(Ok(None)) => return DeadLetterLook::Empty,
            Ok(Err(error)) => error,
            Err(_) => return failed("the broker did not answer"),
        },
        Some(error) = breaking.next() => error,
    };
    if is_unreadable(&error) { DeadLetterLook::Unreadable } else { failed(&words_of(&error)) }
}

fn failed(reason: &str) -> DeadLetterLook {
    debug!(reason, "looking for the message that cannot be read failed");
    DeadLetterLook::Failed
}

async fn reject(channel: &Channel, tag: u64, requeue: bool) {
    // Whether it got through shows in what comes next.
    drop(channel.basic_reject(tag, BasicRejectOptions { requeue }).await);
}

async fn open(bus: &AmqpBus) -> Result<(Connection, Channel), String> {
    let connection = connect(bus).await?;
    let channel = connection.create_channel().await.map_err(|error| words_of(&error))?;
    Ok((connection, channel))
}

async fn close(connection: &Connection) {
    if connection.status().connected() {
        drop(timeout(CLOSE_LIMIT, connection.close(200, name("done"))).await);
    }
}

async fn put_back(bus: &AmqpBus, message: Box<BasicGetMessage>) -> Result<(), String> {
    let (connection, channel) = open(bus).await?;
    let put = async {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let delivery = message.delivery;
        let options = BasicPublishOptions::default();
        let queue = name(&bus.options.queue);
        channel.basic_publish(name(""), queue, options, &delivery.data, delivery.properties).await?.await
    };
    let put = put.await.map_err(|error| words_of(&error));
    close(&connection).await;
    put.map(drop)
}
