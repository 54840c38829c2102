//! A message of the bus, and how it is answered: exactly once, and never by being forgotten.

use std::fmt;
use tokio::sync::{mpsc, oneshot};

use super::Refusal;
use crate::event::ArrivingEvent;
use crate::memory::MemoryShare;
use crate::trail::EventContext;

/// A message of the bus and the way to answer it.
#[derive(Debug)]
pub struct IncomingMessage {
    /// The event, decoded.
    pub event: ArrivingEvent,
    /// To be answered exactly once.
    pub acker: Acker,
    /// What follows the event from here on.
    pub trail: EventContext,
    /// The memory that it takes, until it is answered.
    pub memory: MemoryShare,
}

/// Answers one message. Dropped without an answer it postpones: a bug or a stop must not lose an event.
#[must_use = "a dropped acker postpones the message"]
pub struct Acker {
    way: Option<ArrivalWay>,
}

enum ArrivalWay {
    /// To the session whose channel delivered the message. A session that has ended does not listen any
    /// longer, so an answer cannot reach a later channel that counts its deliveries anew.
    Session { tag: u64, answers: mpsc::UnboundedSender<SessionAnswer> },
    /// To the one who posted the event.
    Poster(oneshot::Sender<Answer>),
}

/// What a session is answered: the message's tag, and the answer.
pub(crate) type SessionAnswer = (u64, Answer);

/// An event that is one, that a module could not handle, and that cannot be kept for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unhandled {
    /// The module that could not.
    pub module: String,
    /// Why, continuing a sentence that begins with the module's name.
    pub reason: String,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What the event causes is durable.
    Accepted,
    /// It is malformed and will be so the next time.
    Refused(Refusal),
    /// It could not be taken now.
    Postponed,
    /// A module could not handle it, and it cannot be kept for it now.
    Unhandled(Box<Unhandled>),
}

impl Acker {
    /// An acker whose answer arrives at the receiver, for those who hand events in themselves.
    pub fn pair() -> (Self, oneshot::Receiver<Answer>) {
        let (poster, answer) = oneshot::channel();
        (Self { way: Some(ArrivalWay::Poster(poster)) }, answer)
    }

    pub(crate) fn of_session(tag: u64, answers: mpsc::UnboundedSender<SessionAnswer>) -> Self {
        Self { way: Some(ArrivalWay::Session { tag, answers }) }
    }

    /// The deliveries that the event causes are durable; the bus may forget it.
    pub fn accept(mut self) {
        self.answer(Answer::Accepted);
    }

    /// The event is malformed: the broker dead-letters it, a poster gets the reason.
    pub fn refuse(mut self, reason: Refusal) {
        self.answer(Answer::Refused(reason));
    }

    /// The event could not be taken now: the broker keeps it for later, a poster gets an error.
    pub fn postpone(mut self) {
        self.answer(Answer::Postponed);
    }

    /// A module could not handle the event and there is no room to keep it for that; what it causes through others is
    /// durable: the broker keeps it for later, a poster is told to send it again.
    pub fn unhandled(mut self, unhandled: Unhandled) {
        self.answer(Answer::Unhandled(Box::new(unhandled)));
    }

    fn answer(&mut self, answer: Answer) {
        // Nobody listening means that the session or the poster has gone; the broker still has the message.
        match self.way.take() {
            Some(ArrivalWay::Session { tag, answers }) => drop(answers.send((tag, answer))),
            Some(ArrivalWay::Poster(poster)) => drop(poster.send(answer)),
            None => {}
        }
    }
}

impl Drop for Acker {
    fn drop(&mut self) {
        self.answer(Answer::Postponed);
    }
}

impl fmt::Debug for Acker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Some(ArrivalWay::Session { tag, .. }) => write!(f, "Acker(delivery {tag})"),
            Some(ArrivalWay::Poster(_)) => f.write_str("Acker(poster)"),
            None => f.write_str("Acker(answered)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(use_it: impl FnOnce(Acker), expected: Answer) {
        let (acker, mut answer) = Acker::pair();
        use_it(acker);
        assert_eq!(answer.try_recv(), Ok(expected));
    }

    #[test]
    fn each_answer_arrives() {
        check(Acker::accept, Answer::Accepted);
        check(Acker::postpone, Answer::Postponed);
        let reason = Refusal::event("no Event-Name");
        check(|acker| acker.refuse(reason.clone()), Answer::Refused(reason.clone()));
    }

    #[test]
    fn a_dropped_acker_postpones() {
        check(drop, Answer::Postponed);
    }

    #[test]
    fn an_answer_to_an_ended_session_goes_nowhere() {
        let (answers, session) = mpsc::unbounded_channel();
        let acker = Acker::of_session(7, answers);
        drop(session);
        acker.accept();
    }
}
