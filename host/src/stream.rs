//! What has happened lately, for those who watch: a bounded memory of it, from which each watcher reads at its own
//! pace, and where one that is too slow misses the oldest and is told so.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Notify;

use crate::model::ModuleId;
use crate::model::{AccountId, HookId};

/// How much is remembered, for watchers that are slow or come back.
const REMEMBERED: usize = 4096;

/// What can happen.
#[derive(Clone, Debug)]
pub enum HostEvent {
    /// A try of a delivery has ended.
    Delivery {
        /// The delivery's number.
        delivery: i64,
        /// Whose.
        hook: HookId,
        /// The hook's account.
        account: AccountId,
        /// `webhook-id` of the request.
        webhook_id: String,
        /// The try's number, from 1.
        attempt: u32,
        /// `delivered`, `retried` or `dead`.
        outcome: &'static str,
        /// Why, where it was not delivered.
        reason: Option<String>,
    },
    /// A module was loaded, removed or refused.
    Module {
        /// Which; unknown for a file that is none.
        module: Option<ModuleId>,
        /// The generation that serves now.
        generation: Option<u64>,
        /// The file in the plugins folder.
        file: String,
        /// `loaded`, `removed` or `refused`.
        change: &'static str,
        /// Why, where it was refused.
        reason: Option<String>,
    },
    /// A module failed on events, which are kept. Told about once a second.
    FailedEvents {
        /// Which.
        module: ModuleId,
        /// How many of its events are kept now.
        events: u64,
    },
    /// Events that a module failed on are handed to it again: that began or ended.
    ModuleReplay {
        /// Which.
        module: ModuleId,
        /// The job's number.
        replay: i64,
        /// `running`, `done`, `cancelled` or `stopped`.
        state: &'static str,
        /// Events that were handled.
        handled: u64,
        /// Events that failed again.
        failed: u64,
        /// Events that there were when it began.
        total: u64,
    },
    /// A hook was switched off, paused or sent to again by the host.
    Hook {
        /// Which.
        hook: HookId,
        /// Its account.
        account: AccountId,
        /// `disabled`, `paused` or `resumed`.
        change: &'static str,
        /// Why.
        reason: String,
    },
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    /// Its number in this run of the host, from 1.
    pub number: u64,
    /// When.
    pub at: OffsetDateTime,
    /// What.
    pub what: HostEvent,
}

/// What a watcher reads.
#[derive(Debug, Default)]
pub struct StreamBatch {
    /// In the order in which it happened.
    pub happened: Vec<StreamEntry>,
    /// How much came between what was read before and this, and is forgotten.
    pub missed: u64,
}

/// The memory of what happened.
#[derive(Debug)]
pub struct HostStream {
    run: String,
    memory: Mutex<StreamMemory>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct StreamMemory {
    last: u64,
    happened: VecDeque<StreamEntry>,
}

impl Default for HostStream {
    fn default() -> Self {
        let run = format!("{:08x}", rand::random::<u32>());
        HostStream { run, memory: Mutex::default(), changed: Notify::new() }
    }
}

impl HostStream {
    /// Notes what happened now.
    pub fn tell(&self, what: HostEvent) {
        self.tell_all(std::iter::once(what));
    }

    /// Notes what happened now, together: those who send hold up nobody for each request.
    pub fn tell_all(&self, happened: impl ExactSizeIterator<Item = HostEvent>) {
        if happened.len() == 0 {
            return;
        }
        let at = crate::clock::now();
        let mut memory = self.memory.lock();
        for what in happened {
            memory.last += 1;
            if memory.happened.len() == REMEMBERED {
                memory.happened.pop_front();
            }
            let number = memory.last;
            memory.happened.push_back(StreamEntry { number, at, what });
        }
        drop(memory);
        self.changed.notify_waiters();
    }

    /// The number after which a new watcher begins: that of what happened last.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.memory.lock().last
    }

    /// The number in an id that an earlier connection was told; of another run of the host everything that is
    /// remembered is news.
    #[must_use]
    pub fn number_of(&self, id: &str) -> Option<u64> {
        let (run, number) = id.split_once('-')?;
        let number = number.parse().ok()?;
        Some(if run == self.run { number } else { 0 })
    }

    /// The id of what has this number.
    #[must_use]
    pub fn id_of(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// What happened after this number, at most `most`; waits where nothing has.
    pub async fn after(&self, number: u64, most: usize) -> StreamBatch {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Enabled before looking: what happens between the look and the wait is not slept through.
            changed.as_mut().enable();
            let news = self.memory.lock().after(number, most);
            if !news.happened.is_empty() {
                return news;
            }
            changed.await;
        }
    }
}

impl StreamMemory {
    fn after(&self, number: u64, most: usize) -> StreamBatch {
        let Some(oldest) = self.happened.front().map(|happened| happened.number) else {
            return StreamBatch::default();
        };
        // A number of the future is none of ours: it begins with what is remembered.
        let number = if number > self.last { 0 } else { number };
        let missed = oldest.saturating_sub(number + 1);
        let skip = usize::try_from((number + 1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        StreamBatch { happened: self.happened.iter().skip(skip).take(most).cloned().collect(), missed }
    }
}

impl HostEvent {
    /// The name of its kind, by which a watcher chooses.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            HostEvent::Delivery { .. } => "delivery",
            HostEvent::Module { .. } => "module",
            HostEvent::FailedEvents { .. } => "failed_events",
            HostEvent::ModuleReplay { .. } => "module_replay",
            HostEvent::Hook { .. } => "hook",
        }
    }

    /// Whose it is; nobody's is the operator's.
    #[must_use]
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            HostEvent::Delivery { account, .. } | HostEvent::Hook { account, .. } => Some(account),
            HostEvent::Module { .. } | HostEvent::FailedEvents { .. } | HostEvent::ModuleReplay { .. } => {
                None
            }
        }
    }
}

impl StreamEntry {
    /// As watchers are told.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut told = match &self.what {
            HostEvent::Delivery { delivery, hook, account, webhook_id, attempt, outcome, reason } => json!({
                "delivery": delivery, "hook": hook.as_str(), "account": account.as_str(), "webhook_id": webhook_id,
                "attempt": attempt, "outcome": outcome, "reason": reason,
            }),
            HostEvent::Module { module, generation, file, change, reason } => json!({
                "module": module.as_ref().map(ModuleId::as_str), "generation": generation, "file": file,
                "change": change, "reason": reason,
            }),
            HostEvent::FailedEvents { module, events } => {
                json!({"module": module.as_str(), "events": events})
            }
            HostEvent::ModuleReplay { module, replay, state, handled, failed, total } => json!({
                "module": module.as_str(), "replay": replay, "state": state, "handled": handled, "failed": failed,
                "total": total,
            }),
            HostEvent::Hook { hook, account, change, reason } => json!({
                "hook": hook.as_str(), "account": account.as_str(), "change": change, "reason": reason,
            }),
        };
        told["at"] = self.at.format(&Rfc3339).unwrap_or_default().into();
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(n: u64) -> HostEvent {
        let (hook, account) = (HookId::from("hook"), AccountId::from("account"));
        HostEvent::Hook { hook, account, change: "disabled", reason: n.to_string() }
    }

    fn told(count: u64) -> HostStream {
        let stream = HostStream::default();
        (1..=count).for_each(|n| stream.tell(hook(n)));
        stream
    }

    #[track_caller]
    fn check(stream: &HostStream, after: u64, first: Option<u64>, missed: u64) {
        let news = stream.memory.lock().after(after, 10);
        assert_eq!((news.happened.first().map(|happened| happened.number), news.missed), (first, missed));
    }

    #[test]
    fn a_watcher_reads_what_came_after_what_it_knows() {
        let stream = told(5);
        check(&stream, 0, Some(1), 0);
        check(&stream, 3, Some(4), 0);
        check(&stream, 5, None, 0);
        check(&stream, 99, Some(1), 0);
        check(&told(0), 0, None, 0);
    }

    #[test]
    fn a_slow_watcher_is_told_how_much_it_missed() {
        let stream = told(REMEMBERED as u64 + 7);
        check(&stream, 0, Some(8), 7);
        check(&stream, 5, Some(8), 2);
        check(&stream, 7, Some(8), 0);
    }

    #[test]
    fn an_id_of_another_run_begins_with_what_is_remembered() {
        let stream = told(3);
        assert_eq!(stream.number_of(&stream.id_of(2)), Some(2));
        assert_eq!(stream.number_of("another-2"), Some(0));
        assert_eq!(stream.number_of("nonsense"), None);
    }

    #[tokio::test]
    async fn a_watcher_waits_for_what_happens_next() {
        let stream = told(1);
        let (news, ()) = tokio::join!(stream.after(1, 10), async { stream.tell(hook(2)) });
        assert_eq!(news.happened.len(), 1);
        assert_eq!(news.happened[0].json()["reason"], "2");
    }
}
