//! Who sees what modules answer, beside whoever asked them.

use std::fmt;
use std::sync::Arc;

use super::jobs::JobAnswer;
use crate::event::Event;

type AnswerListener = dyn Fn(&Event, &JobAnswer) + Send + Sync;

/// Sees each answer of every module before the one who asked does. It is called on the module's thread, so it must not wait.
#[derive(Clone)]
pub struct AnswerWatch(Arc<AnswerListener>);

impl AnswerWatch {
    /// Calls this for each answer.
    #[must_use]
    pub fn new(sees: impl Fn(&Event, &JobAnswer) + Send + Sync + 'static) -> Self {
        AnswerWatch(Arc::new(sees))
    }

    pub(super) fn see(&self, event: &Event, answer: &JobAnswer) {
        (self.0)(event, answer);
    }
}

impl fmt::Debug for AnswerWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerWatch")
    }
}
