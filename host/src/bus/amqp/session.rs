//! One connection, from its set-up to its end: in which order things are done, and what ends it.

use super::AmqpBus;
use super::broker::BindingChange;
use super::connecting::{CLOSE_LIMIT, connect};
use super::consuming::BusConsumer;
use super::names::name;
use super::publisher::BrokerLink;
use super::session_end::{SessionEnd, ended_by};
use super::topology::{QueueSetup, SetupError, dead_letter_name, declare_queues, words_of};
use crate::bus::{Binding, BusError, EventIntake};
use lapin::Connection;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

const SETUP_LIMIT: Duration = Duration::from_secs(30);
/// How soon something that the broker refused is tried again; somebody may have put it right.
const RETRY_REFUSED: Duration = Duration::from_secs(30);
/// How often the dead-letter queue is looked at: whatever puts messages there, somebody should know.
const COUNT_DEAD: Duration = Duration::from_secs(5);

/// Connects, sets everything up and consumes until the connection or the host ends.
pub(super) async fn run(
    bus: &AmqpBus,
    intake: &EventIntake,
    ready: &mut Option<oneshot::Sender<()>>,
    stop: &CancellationToken,
) -> SessionEnd {
    let connection = tokio::select! {
        () = stop.cancelled() => return SessionEnd::Stopped,
        connected = connect(bus) => match connected {
            Ok(connection) => Arc::new(connection),
            Err(reason) => return SessionEnd::Lost(reason),
        }
    };
    let end = {
        let _attached = AttachedConsumer { bus };
        let (wanted, changes) = bus.open_wishes();
        let opened = tokio::select! {
            () = stop.cancelled() => return SessionEnd::Stopped,
            opened = timeout(SETUP_LIMIT, open(bus, &connection, &wanted)) => opened,
        };
        match opened {
            Ok(Ok(consuming)) => {
                *bus.link.lock() = Some(Arc::new(BrokerLink::new(connection.clone())));
                bus.connected();
                tell(ready);
                tokio::select! {
                    end = consume(bus, &connection, consuming, intake, stop) => end,
                    error = serve_changes(bus, &connection, changes) => ended_by(&error),
                }
            }
            Ok(Err(reason)) => SessionEnd::Lost(reason),
            Err(_) => SessionEnd::Lost(format!("the set-up took more than {} s", SETUP_LIMIT.as_secs())),
        }
    };
    if connection.status().connected() {
        // Whether the broker hears our farewell changes nothing: it keeps what was not acknowledged.
        drop(timeout(CLOSE_LIMIT, connection.close(200, name("done"))).await);
    }
    end
}

/// Says that the first attempt has ended, to whoever still wants to know.
pub(super) fn tell(ready: &mut Option<oneshot::Sender<()>>) {
    if let Some(ready) = ready.take() {
        ready.send(()).ok();
    }
}

/// Consumes, and begins anew whenever the window is to have another size.
async fn consume(
    bus: &AmqpBus,
    connection: &Connection,
    mut consuming: BusConsumer,
    intake: &EventIntake,
    stop: &CancellationToken,
) -> SessionEnd {
    loop {
        match consuming.run(bus, intake, stop).await {
            SessionEnd::Resized => {}
            end => return end,
        }
        consuming = match BusConsumer::begin(bus, connection).await {
            Ok(consuming) => consuming,
            Err(error) => return ended_by(&error),
        };
    }
}

/// Whatever ends the session, publishers and binders are told that there is none.
struct AttachedConsumer<'a> {
    bus: &'a AmqpBus,
}

impl Drop for AttachedConsumer<'_> {
    fn drop(&mut self) {
        self.bus.wishes.lock().session = None;
        *self.bus.link.lock() = None;
    }
}

/// Everything that has to stand before the first message may come.
async fn open(
    bus: &AmqpBus,
    connection: &Connection,
    wanted: &BTreeSet<Binding>,
) -> Result<BusConsumer, String> {
    let options = &bus.options;
    declare_queues(connection, &options.queue, options.queue_type).await?;
    let refused = QueueSetup::new(connection).bindings(&options.queue, wanted).await;
    bus.trouble(refused.map_err(|error| words_of(&error))?);
    BusConsumer::begin(bus, connection).await.map_err(|error| words_of(&error))
}

/// Carries out changes of the bindings, one after the other, until the connection fails.
async fn serve_changes(
    bus: &AmqpBus,
    connection: &Connection,
    mut changes: mpsc::UnboundedReceiver<BindingChange>,
) -> lapin::Error {
    let mut setup = QueueSetup::new(connection);
    let mut retry = tokio::time::interval_at(Instant::now() + RETRY_REFUSED, RETRY_REFUSED);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = tokio::time::interval(COUNT_DEAD);
    count.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            Some(change) = changes.recv() => carry_out(bus, &mut setup, change).await,
            _ = retry.tick() => retry_refused(bus, &mut setup).await,
            _ = count.tick() => count_dead(bus, &mut setup).await,
        };
        if let Err(error) = done {
            return error;
        }
    }
}

async fn carry_out(bus: &AmqpBus, setup: &mut QueueSetup<'_>, change: BindingChange) -> lapin::Result<()> {
    let queue = &bus.options.queue;
    let (done, result) = if change.wanted {
        let bindings = change.bindings.into_iter().collect();
        match setup.bindings(queue, &bindings).await {
            Ok(refused) => (refused.into_iter().next().map_or(Ok(()), Err), Ok(())),
            Err(error) => (Ok(()), Err(error)),
        }
    } else {
        unbind(setup, queue, &change.bindings).await
    };
    // Where the connection failed the next one restores what is wanted, so the wish counts as fulfilled.
    drop(change.done.send(done));
    result
}

async fn unbind(
    setup: &mut QueueSetup<'_>,
    queue: &str,
    bindings: &[Binding],
) -> (Result<(), BusError>, lapin::Result<()>) {
    let mut first = Ok(());
    for binding in bindings {
        match setup.binding(queue, binding, false).await {
            Ok(()) => {}
            Err(SetupError::Refused(error)) => first = first.and(Err(error)),
            Err(SetupError::Lost(error)) => return (first, Err(error)),
        }
    }
    (first, Ok(()))
}

async fn count_dead(bus: &AmqpBus, setup: &mut QueueSetup<'_>) -> lapin::Result<()> {
    let count = setup.messages_in(&dead_letter_name(&bus.options.queue)).await?;
    bus.note_dead_letters(count);
    Ok(())
}

async fn retry_refused(bus: &AmqpBus, setup: &mut QueueSetup<'_>) -> lapin::Result<()> {
    if bus.problems.lock().is_empty() {
        return Ok(());
    }
    let refused = setup.bindings(&bus.options.queue, &bus.wanted()).await?;
    bus.trouble(refused);
    Ok(())
}
