//! Messages between the broker and the intake: decoded, and with the memory that their events take.
//!
//! What is small is decoded at once and goes on in its order. What is large, or becomes large when it is unpacked, is
//! decoded beside, one after the other: small messages overtake it.

use crate::background::spawn_background;
use crate::bus::{Acker, EventIntake, IncomingMessage, Refusal, content};
use crate::event::RawEvent;
use crate::event::identity::CloudEventId;
use crate::memory::{EventMemory, MemoryShare, bytes_of_event};
use crate::trail::EventContext;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;
use tracing::debug;

/// A body of more bytes, packed or not, is decoded on a thread that nobody waits for: it may take a millisecond.
const SMALL: usize = 128 * 1024;

/// A message whose body is not decoded.
pub(super) struct PackedMessage {
    pub(super) content_type: Option<String>,
    pub(super) encoding: Option<String>,
    pub(super) body: Bytes,
    pub(super) cloud_event: Option<CloudEventId>,
    pub(super) acker: Acker,
    pub(super) trail: EventContext,
}

/// What has arrived and is not handed on.
pub(super) struct ArrivingMessage {
    memory: Arc<EventMemory>,
    /// Bytes of an event.
    limit: usize,
    held: VecDeque<IncomingMessage>,
    /// The share of the first one that is held is asked for.
    asked: Option<BoxFuture<'static, MemoryShare>>,
    large: VecDeque<PackedMessage>,
    unpacking: Option<BoxFuture<'static, Option<IncomingMessage>>>,
}

impl ArrivingMessage {
    pub(super) fn new(memory: Arc<EventMemory>, limit: usize) -> Self {
        let (held, large) = (VecDeque::new(), VecDeque::new());
        ArrivingMessage { memory, limit, held, asked: None, large, unpacking: None }
    }

    /// Decoded messages that are not handed on.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes a message; one that cannot be read is refused.
    pub(super) fn add(&mut self, packed: PackedMessage) {
        let inline = SMALL.min(self.limit);
        if packed.body.len() > inline && inline < self.limit {
            return self.add_large(packed);
        }
        match packed.decoded(inline) {
            Err(Refusal::TooLarge { .. }) if inline < self.limit => self.add_large(packed),
            Ok(body) => self.held.push_back(packed.with(body, MemoryShare::default())),
            Err(reason) => packed.refuse(reason),
        }
    }

    fn add_large(&mut self, packed: PackedMessage) {
        self.large.push_back(packed);
        self.unpack_next();
    }

    fn unpack_next(&mut self) {
        if self.unpacking.is_none()
            && let Some(packed) = self.large.pop_front()
        {
            self.unpacking = Some(unpack(packed, Arc::clone(&self.memory), self.limit).boxed());
        }
    }

    /// Whether [`progress`](ArrivingMessage::progress) has something to wait for.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked.is_some() || self.unpacking.is_some()
    }

    /// Waits until there is memory for the first message that is held, or until a large one is decoded.
    pub(super) async fn progress(&mut self) {
        let memory = async {
            match &mut self.asked {
                Some(asked) => asked.await,
                None => std::future::pending().await,
            }
        };
        let unpacked = async {
            match &mut self.unpacking {
                Some(unpacking) => unpacking.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            share = memory => {
                self.asked = None;
                if let Some(first) = self.held.front_mut() {
                    first.memory = share;
                }
            }
            message = unpacked => {
                self.unpacking = None;
                self.held.extend(message);
                self.unpack_next();
            }
        }
    }

    /// Hands on what there is memory for and what the intake has room for. An intake that is closed shows when its room
    /// is waited for.
    pub(super) fn hand_on(&mut self, intake: &mut EventIntake) {
        while self.first_has_memory()
            && let Some(message) = self.held.pop_front()
        {
            if let Err(message) = intake.try_send(message) {
                self.held.push_front(*message);
                return;
            }
        }
    }

    /// Whether the first one that is held only waits for the intake.
    pub(super) fn waits_for_room(&self) -> bool {
        !self.held.is_empty() && self.asked.is_none()
    }

    fn first_has_memory(&mut self) -> bool {
        if self.asked.is_some() {
            return false;
        }
        let Some(first) = self.held.front_mut() else { return false };
        if first.memory.bytes() > 0 {
            return true;
        }
        let bytes = bytes_of_event(first.event.text());
        match self.memory.events.try_take(bytes) {
            Some(share) => first.memory = share,
            None => {
                let memory = Arc::clone(&self.memory);
                self.asked = Some(async move { memory.events.take(bytes).await }.boxed());
            }
        }
        self.asked.is_none()
    }

    /// Forgets everything; it goes back to the broker.
    pub(super) fn clear(&mut self) {
        *self = ArrivingMessage::new(Arc::clone(&self.memory), self.limit);
    }
}

impl PackedMessage {
    fn decoded(&self, limit: usize) -> Result<Bytes, Refusal> {
        content::decode(self.content_type.as_deref(), self.encoding.as_deref(), self.body.clone(), limit)
    }

    fn with(self, body: Bytes, memory: MemoryShare) -> IncomingMessage {
        let event = RawEvent { body, cloud_event: self.cloud_event }.into();
        IncomingMessage { event, acker: self.acker, trail: self.trail, memory }
    }

    pub(super) fn refuse(self, reason: Refusal) {
        self.trail.failed();
        self.trail.lines().in_scope(|| debug!(%reason, "message cannot be read"));
        self.acker.refuse(reason);
    }
}

/// Only one is unpacked at a time, so what it takes before its share is known is bounded, too.
async fn unpack(packed: PackedMessage, memory: Arc<EventMemory>, limit: usize) -> Option<IncomingMessage> {
    let decode = move || {
        let decoded = packed.decoded(limit).map(|body| (bytes_of_event(&body), body));
        (packed, decoded)
    };
    // Should the thread panic, the acker was dropped there and the broker has the message again.
    let (packed, decoded) = spawn_background(decode).await.ok()?;
    match decoded {
        Ok((bytes, body)) => {
            let share = memory.events.take(bytes).await;
            Some(packed.with(body, share))
        }
        Err(reason) => {
            packed.refuse(reason);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Answer;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;
    use tokio::sync::{mpsc, oneshot};

    fn packed(text: &[u8], gzip: bool) -> (PackedMessage, oneshot::Receiver<Answer>) {
        let (acker, answer) = Acker::pair();
        let mut body = text.to_vec();
        if gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            body = encoder.finish().unwrap();
        }
        let encoding = gzip.then(|| "gzip".to_owned());
        let (cloud_event, trail) = (None, EventContext::default());
        (PackedMessage { content_type: None, encoding, body: body.into(), cloud_event, acker, trail }, answer)
    }

    /// 64 KiB of memory for events.
    fn arriving() -> ArrivingMessage {
        ArrivingMessage::new(Arc::new(EventMemory::new(128 * 1024)), 1024 * 1024)
    }

    #[tokio::test]
    async fn small_messages_overtake_a_large_one_and_all_wait_for_memory() {
        let mut arriving = arriving();
        let (intake, mut incoming) = mpsc::channel(8);
        let mut intake = EventIntake::from(intake);
        let (large, _large) = packed(&[b' '; 600_000], true);
        let (first, _first) = packed(&[b'1'; 40_000], false);
        let (second, _second) = packed(&[b'2'; 40_000], true);
        arriving.add(large);
        arriving.add(first);
        arriving.add(second);
        arriving.hand_on(&mut intake);
        let first = incoming.try_recv().unwrap();
        assert_eq!(first.event.text()[0], b'1');
        assert!(incoming.try_recv().is_err(), "there is memory for one of them");
        drop(first);
        let mut sizes = Vec::new();
        while sizes.len() < 2 {
            arriving.progress().await;
            arriving.hand_on(&mut intake);
            while let Ok(message) = incoming.try_recv() {
                sizes.push(message.event.text().len());
            }
        }
        assert_eq!(sizes, [40_000, 600_000]);
        assert_eq!((arriving.held(), arriving.is_waiting()), (0, false));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_whatever_its_size() {
        let mut arriving = arriving();
        let (bomb, mut answer) = packed(&vec![b' '; 2 << 20], true);
        arriving.add(bomb);
        arriving.progress().await;
        assert_eq!(answer.try_recv(), Ok(Answer::Refused(Refusal::TooLarge { limit: 1024 * 1024 })));
        let (mut broken, mut answer) = packed(b"{}", false);
        broken.encoding = Some("br".to_owned());
        arriving.add(broken);
        assert!(matches!(answer.try_recv(), Ok(Answer::Refused(Refusal::ContentEncoding(_)))));
        assert_eq!((arriving.held(), arriving.is_waiting()), (0, false));
    }
}
