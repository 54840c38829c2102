//! Which messages are events; large ones are parsed on a thread that nobody waits for.

use std::sync::Arc;

use crate::background::spawn_background;
use crate::bus::{Acker, IncomingMessage};
use crate::event::{BadEvent, Event};
use crate::trail::EventContext;

/// Bytes from which on a message is parsed beside: it may take a millisecond. It may be overtaken by what comes later.
const LARGE: usize = 128 * 1024;

/// An event with the way to answer it.
pub(super) type PendingEvent = (Arc<Event>, Acker);

/// A message that is no event.
pub(super) struct NoEvent {
    pub(super) acker: Acker,
    pub(super) trail: EventContext,
    pub(super) error: BadEvent,
}

pub(super) fn is_large(incoming: &IncomingMessage) -> bool {
    incoming.event.text().len() >= LARGE
}

pub(super) fn parse(incoming: IncomingMessage) -> Result<PendingEvent, Box<NoEvent>> {
    let IncomingMessage { event, acker, trail, memory } = incoming;
    match event.read() {
        Ok(event) => {
            let event = event.followed_by(trail).holding(memory);
            Ok((Arc::new(event), acker))
        }
        Err(error) => Err(Box::new(NoEvent { acker, trail, error })),
    }
}

/// Nothing where the thread panicked: the message was put off then.
pub(super) async fn parse_beside(incoming: IncomingMessage) -> Option<Result<PendingEvent, Box<NoEvent>>> {
    let parsing = move || {
        let parsed = parse(incoming);
        if let Ok((event, _)) = &parsed {
            // A digest over all of it, which nobody should wait for either.
            std::hint::black_box(event.identity());
        }
        parsed
    };
    spawn_background(parsing).await.ok()
}
