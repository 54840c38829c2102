//! The way from a bus to those who turn events into deliveries. There may be several of them, each with a queue of its
//! own: messages that come together go to one, the next ones to another.
//!
//! Where hooks want the events of a call in order only one of them can keep it, and all messages go there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::select_all;
use tokio::sync::mpsc;

use super::IncomingMessage;

/// Messages in a row that go to the same queue: one wake-up serves them all.
const IN_A_ROW: usize = 32;

/// Says whether events have to keep their order.
pub type OrderWish = Arc<dyn Fn() -> bool + Send + Sync>;

/// The queues. Clones lead to the same ones; each takes turns by itself.
#[derive(Clone)]
pub struct EventIntake {
    queues: Arc<[mpsc::Sender<IncomingMessage>]>,
    ordered: OrderWish,
    /// Whose turn it is among those who hand in one by one.
    turn: Arc<AtomicUsize>,
    /// Whose turn it is here, and how many messages it has had in a row.
    current: usize,
    in_a_row: usize,
}

/// Nobody takes events any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakeClosed;

impl EventIntake {
    /// These queues.
    #[must_use]
    pub fn new(queues: Vec<mpsc::Sender<IncomingMessage>>, ordered: OrderWish) -> Self {
        EventIntake { queues: queues.into(), ordered, turn: Arc::default(), current: 0, in_a_row: 0 }
    }

    /// The queue whose turn it is for what is handed in together, such as the events of one post.
    #[must_use]
    pub fn next_queue(&self) -> Option<&mpsc::Sender<IncomingMessage>> {
        let turn = match self.is_divided() {
            true => self.turn.fetch_add(1, Ordering::Relaxed) % self.queues.len(),
            false => 0,
        };
        self.queues.get(turn)
    }

    fn is_divided(&self) -> bool {
        self.queues.len() > 1 && !(self.ordered)()
    }

    /// Hands a message to a queue that has room; gives it back where none has, or nobody takes any.
    ///
    /// # Errors
    /// The message.
    pub fn try_send(&mut self, message: IncomingMessage) -> Result<(), Box<IncomingMessage>> {
        if !self.is_divided() {
            let Some(queue) = self.queues.first() else { return Err(Box::new(message)) };
            return queue.try_send(message).map_err(|error| Box::new(error.into_inner()));
        }
        if self.in_a_row >= IN_A_ROW {
            self.turn_over();
        }
        let mut message = message;
        for _ in 0..self.queues.len() {
            let Some(queue) = self.queues.get(self.current) else { break };
            match queue.try_send(message) {
                Ok(()) => {
                    self.in_a_row += 1;
                    return Ok(());
                }
                Err(error) => message = error.into_inner(),
            }
            self.turn_over();
        }
        Err(Box::new(message))
    }

    fn turn_over(&mut self) {
        self.current = (self.current + 1) % self.queues.len().max(1);
        self.in_a_row = 0;
    }

    /// Waits until there may be room.
    ///
    /// # Errors
    /// Nobody takes events any more.
    pub async fn room(&self) -> Result<(), IntakeClosed> {
        let queues = if self.is_divided() { &self.queues[..] } else { self.queues.get(..1).unwrap_or(&[]) };
        match queues {
            [] => Err(IntakeClosed),
            [only] => only.reserve().await.map(drop).map_err(|_| IntakeClosed),
            several => {
                let room = several.iter().map(|queue| Box::pin(queue.reserve()));
                let (room, ..) = select_all(room).await;
                room.map(drop).map_err(|_| IntakeClosed)
            }
        }
    }

    /// Waits until nobody takes events from one of the queues any more.
    pub async fn closed(&self) {
        let closed = self.queues.iter().map(|queue| Box::pin(queue.closed()));
        if closed.len() > 0 {
            select_all(closed).await;
        }
    }
}

impl std::fmt::Debug for EventIntake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventIntake").field("queues", &self.queues.len()).finish_non_exhaustive()
    }
}

impl From<mpsc::Sender<IncomingMessage>> for EventIntake {
    /// One queue, which keeps every order.
    fn from(queue: mpsc::Sender<IncomingMessage>) -> Self {
        EventIntake::new(vec![queue], Arc::new(|| false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Acker;
    use crate::event::RawEvent;
    use crate::memory::MemoryShare;
    use crate::trail::EventContext;
    use bytes::Bytes;

    fn message() -> IncomingMessage {
        let (acker, _) = Acker::pair();
        let (event, memory) = (RawEvent::from(Bytes::new()).into(), MemoryShare::default());
        IncomingMessage { event, acker, trail: EventContext::default(), memory }
    }

    type Queue = mpsc::Receiver<IncomingMessage>;

    fn intake(queues: usize, ordered: bool) -> (EventIntake, Vec<Queue>) {
        let (senders, receivers) = (0..queues).map(|_| mpsc::channel(100)).unzip();
        (EventIntake::new(senders, Arc::new(move || ordered)), receivers)
    }

    fn lengths(queues: &[Queue]) -> Vec<usize> {
        queues.iter().map(Queue::len).collect()
    }

    #[test]
    fn messages_go_round_in_groups_and_pass_over_a_queue_that_is_full() {
        let (mut intake, queues) = intake(2, false);
        for _ in 0..3 * IN_A_ROW {
            assert!(intake.try_send(message()).is_ok());
        }
        assert_eq!(lengths(&queues), [2 * IN_A_ROW, IN_A_ROW]);
        let mut sent = 3 * IN_A_ROW;
        while intake.try_send(message()).is_ok() {
            sent += 1;
        }
        assert_eq!((sent, lengths(&queues)), (200, vec![100, 100]));
    }

    #[test]
    fn where_order_is_wanted_all_go_to_the_first() {
        let (mut intake, queues) = intake(3, true);
        for _ in 0..3 * IN_A_ROW {
            assert!(intake.try_send(message()).is_ok());
            assert!(intake.next_queue().is_some_and(|queue| queue.same_channel(&intake.queues[0])));
        }
        assert_eq!(lengths(&queues), [96, 0, 0]);
    }

    #[tokio::test]
    async fn whoever_waits_for_room_hears_of_any_and_of_the_end() {
        let (mut intake, mut queues) = intake(2, false);
        while intake.try_send(message()).is_ok() {}
        let taken = async { drop(queues[1].recv().await) };
        assert_eq!(tokio::join!(intake.room(), taken).0, Ok(()));
        assert!(intake.try_send(message()).is_ok());
        drop(queues);
        assert_eq!(intake.room().await, Err(IntakeClosed));
        intake.closed().await;
    }
}
