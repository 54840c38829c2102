//! How many events may be sent to a process before the first of them is answered.

use std::sync::Arc;

use crate::event::Event;
use crate::module::isolated::protocol::ToChild;

/// Events that are sent before the first of them is answered.
const AHEAD: usize = 32;

/// Bytes of such events. While it answers, the process does not read: what is sent ahead has to fit into the
/// socket's buffer (some 200 KiB), or both sides would wait for each other.
const AHEAD_BYTES: usize = 96 * 1024;

/// How many events were sent, and how many may be.
#[derive(Default)]
pub(super) struct EventsAhead {
    pub(super) sent: usize,
    pub(super) done: usize,
    pub(super) bytes: usize,
    pub(super) alone: usize,
}

impl EventsAhead {
    pub(super) fn under_way(&self) -> usize {
        self.sent - self.done
    }

    /// Sends what may be sent: all at once, and not before it is worth it.
    pub(super) fn send_more(&mut self, events: &[Arc<Event>], outbox: &mut Vec<u8>) {
        if self.under_way() > AHEAD / 2 {
            return;
        }
        while let Some(event) = events.get(self.sent).filter(|event| self.takes(event.json().len())) {
            ToChild::Event(event.json()).write(outbox);
            self.sent += 1;
            self.bytes += event.json().len();
        }
    }

    /// Room for one more. A large one goes alone: then the process is reading.
    fn takes(&self, bytes: usize) -> bool {
        let room = self.under_way() < AHEAD && self.bytes + bytes <= AHEAD_BYTES && self.sent >= self.alone;
        self.under_way() == 0 || room
    }
}
