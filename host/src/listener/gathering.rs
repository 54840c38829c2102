//! How many events are taken together: at once what is there, and under load what comes in the next moment, too.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::bus::IncomingMessage;

/// Events taken together at most.
const TOGETHER: usize = 256;

/// Events in a row from which on there is load. Below it waiting for more would only be latency.
const BUSY: usize = 4;

/// How long events gather under load: what is taken together wakes a module, the store and the disk once.
const GATHER: Duration = Duration::from_millis(2);

/// Events on their way out of the intake.
#[derive(Default)]
pub(super) struct EventGathering {
    arrived: Vec<IncomingMessage>,
    until: Option<Instant>,
    busy: bool,
}

impl EventGathering {
    /// The events to take now, `room` at most; `None` once nobody can bring any more. Nothing is lost when it is
    /// not awaited to its end.
    pub(super) async fn next(
        &mut self,
        intake: &mut mpsc::Receiver<IncomingMessage>,
        room: usize,
    ) -> Option<Vec<IncomingMessage>> {
        let limit = room.min(TOGETHER);
        if self.arrived.is_empty() {
            if intake.recv_many(&mut self.arrived, limit).await == 0 {
                return None;
            }
            self.until = (self.busy && self.arrived.len() < limit).then(|| Instant::now() + GATHER);
        }
        if let Some(until) = self.until {
            sleep_until(until).await;
            while self.arrived.len() < limit
                && let Ok(next) = intake.try_recv()
            {
                self.arrived.push(next);
            }
        }
        self.busy = self.arrived.len() >= BUSY;
        Some(std::mem::take(&mut self.arrived))
    }

    /// What was on its way when the listener stopped.
    pub(super) fn into_rest(self) -> Vec<IncomingMessage> {
        self.arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Acker;
    use crate::memory::MemoryShare;
    use crate::trail::EventContext;
    use bytes::Bytes;

    async fn bring(sender: &mpsc::Sender<IncomingMessage>, count: usize) {
        for _ in 0..count {
            let (acker, _) = Acker::pair();
            sender
                .send(IncomingMessage {
                    event: Bytes::new().into(),
                    acker,
                    trail: EventContext::default(),
                    memory: MemoryShare::default(),
                })
                .await
                .unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_taken_at_once_and_under_load_what_comes_soon() {
        let (sender, mut intake) = mpsc::channel(300);
        let mut gathering = EventGathering::default();
        let begun = Instant::now();
        bring(&sender, 1).await;
        assert_eq!(gathering.next(&mut intake, 500).await.map(|events| events.len()), Some(1));
        bring(&sender, BUSY).await;
        assert_eq!(gathering.next(&mut intake, 500).await.map(|events| events.len()), Some(BUSY));
        assert_eq!(begun.elapsed(), Duration::ZERO);

        bring(&sender, 1).await;
        let more = async {
            tokio::time::sleep(GATHER / 2).await;
            bring(&sender, 1).await;
        };
        let (events, ()) = tokio::join!(gathering.next(&mut intake, 500), more);
        assert_eq!(events.map(|events| events.len()), Some(2));
        let gathered = begun.elapsed();
        assert!(gathered >= GATHER);

        bring(&sender, 1).await;
        assert_eq!(gathering.next(&mut intake, 500).await.map(|events| events.len()), Some(1));
        assert_eq!(begun.elapsed(), gathered);
    }

    #[tokio::test(start_paused = true)]
    async fn room_and_size_are_bounded_and_nothing_is_lost_to_a_wait_that_is_broken_off() {
        let (sender, mut intake) = mpsc::channel(300);
        let mut gathering = EventGathering::default();
        bring(&sender, 300).await;
        assert_eq!(gathering.next(&mut intake, 500).await.map(|events| events.len()), Some(TOGETHER));
        assert_eq!(gathering.next(&mut intake, 10).await.map(|events| events.len()), Some(10));
        let broken_off = tokio::time::timeout(GATHER / 2, gathering.next(&mut intake, 500));
        assert!(broken_off.await.is_err());
        assert_eq!(
            gathering.next(&mut intake, 500).await.map(|events| events.len()),
            Some(300 - TOGETHER - 10)
        );

        drop(sender);
        assert!(gathering.next(&mut intake, 500).await.is_none());
        assert!(gathering.into_rest().is_empty());
    }
}
