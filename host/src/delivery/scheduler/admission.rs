//! Whether the hook whose turn it is may be sent to: outside of pauses, one probe after a pause, within its rate limit.
//! What may not stays where it is, and its hook has no turn until that may have changed.

use tokio::time::Instant;

use super::engine::Scheduler;
use super::hook_queue::HookBlock;
use super::rules::{HookPermission, HookRules};
use crate::model::HookId;

impl<T> Scheduler<T> {
    /// Whether the first delivery of a hook may be sent now; if not, the hook is blocked from here on. `rules` answers
    /// what holds of the hook: nothing where it is gone or switched off, as what waits for it is given up by who sends it.
    pub(super) fn admits_first(
        &mut self,
        hook: &HookId,
        now: Instant,
        rules: impl FnOnce(&HookId) -> Option<HookRules>,
    ) -> bool {
        let Some(queue) = self.hooks.get_mut(hook) else { return false };
        let Some(first) = queue.entries.front_mut() else { return false };
        if first.admitted {
            return true;
        }
        let rules = if first.carried { None } else { rules(hook) };
        let Some(HookRules { permission, rate, version }) = rules else {
            first.admitted = true;
            return true;
        };
        let blocked = match permission {
            HookPermission::NotFor(wait) => Some(HookBlock::Until(now + wait)),
            HookPermission::OneProbe if queue.probe.is_some() && queue.probed == version => {
                Some(HookBlock::Probe)
            }
            HookPermission::OneProbe | HookPermission::Free => None,
        };
        let blocked = blocked.or_else(|| {
            let rate = rate.filter(|_| !first.counted)?;
            let wait = self.rates.take(hook, rate, now).err()?;
            Some(HookBlock::Until(now + wait))
        });
        if let Some(block) = blocked {
            self.block(hook, block, now);
            return false;
        }
        let probes = permission == HookPermission::OneProbe;
        first.admitted = true;
        first.counted |= rate.is_some();
        // What comes after it has to wait for the probe, or for the next token.
        first.alone = probes || rate.is_some();
        if probes {
            (queue.probe, queue.probed) = (Some(first.id), version);
            queue.concurrency.starts_anew(now);
        }
        true
    }

    fn block(&mut self, hook: &HookId, block: HookBlock, now: Instant) {
        self.unblock(hook);
        let Some(queue) = self.hooks.get_mut(hook) else { return };
        queue.block = Some(block);
        queue.listed = None;
        let short = match block {
            HookBlock::Until(at) => {
                self.blocked.insert((at, hook.clone()));
                at.saturating_duration_since(now) < self.limits.slow_after
            }
            HookBlock::Probe => false,
        };
        self.blocked_hooks.insert(hook.clone());
        // Memory is for what is sent soon.
        if !short {
            self.leave_memory(hook);
        }
    }

    /// What keeps a hook from being sent to may have changed: it is looked at when its turn comes, also where its first
    /// delivery was admitted already and waits for a place.
    pub fn hook_changed(&mut self, hook: &HookId) {
        self.unblock(hook);
        if let Some(queue) = self.hooks.get_mut(hook)
            && let Some(first) = queue.entries.front_mut()
            && queue.probe != Some(first.id)
        {
            first.admitted = false;
        }
        self.list(hook);
    }

    /// As [`Scheduler::hook_changed`], for all hooks.
    pub fn all_hooks_changed(&mut self) {
        let blocked: Vec<HookId> = self.blocked_hooks.iter().cloned().collect();
        blocked.iter().for_each(|hook| self.hook_changed(hook));
    }

    /// Deliveries that are due and whose hook may not be sent to, and how many of them are in memory all the same.
    pub(super) fn blocked_deliveries(&self) -> (usize, usize) {
        let queues = self.blocked_hooks.iter().filter_map(|hook| self.hooks.get(hook));
        queues
            .fold((0, 0), |(all, in_memory), queue| (all + queue.entries.len(), in_memory + queue.in_memory))
    }

    pub(super) fn unblock_due(&mut self, now: Instant) {
        while let Some((_, hook)) = self.blocked.first().filter(|(at, _)| *at <= now).cloned() {
            self.hook_changed(&hook);
        }
    }

    pub(super) fn unblock(&mut self, hook: &HookId) {
        let Some(queue) = self.hooks.get_mut(hook) else { return };
        if let Some(block) = queue.block.take() {
            self.blocked_hooks.remove(hook);
            if let HookBlock::Until(at) = block {
                self.blocked.remove(&(at, hook.clone()));
            }
        }
    }

    /// The delivery that was to show how the hook does has ended, or will not be sent.
    pub(super) fn probe_ended(&mut self, hook: &HookId, id: i64) {
        let Some(queue) = self.hooks.get_mut(hook).filter(|queue| queue.probe == Some(id)) else { return };
        queue.probe = None;
        if queue.block == Some(HookBlock::Probe) {
            self.hook_changed(hook);
        }
    }
}
