//! Deliveries that are due and may not be sent yet, by hook, and when to look at each hook again. Pure: times are passed
//! in, as Unix milliseconds.

use std::collections::{BTreeSet, VecDeque};

use foldhash::HashMap;

use crate::model::HookId;

/// What is held. Only ids are kept in memory; the rest waits in the store, where it is already.
#[derive(Debug, Default)]
pub struct HeldDeliveries {
    hooks: HashMap<HookId, HeldLot>,
    looks: BTreeSet<(i64, HookId)>,
    count: usize,
}

#[derive(Debug)]
struct HeldLot {
    ids: VecDeque<i64>,
    look_ms: i64,
}

impl HeldDeliveries {
    /// A delivery of this hook waits behind those that do; the hook is looked at at this time, or earlier where others
    /// said so.
    pub fn hold(&mut self, hook: &HookId, id: i64, look_ms: i64) {
        self.count += 1;
        match self.hooks.get_mut(hook) {
            Some(waiting) => {
                waiting.ids.push_back(id);
                if look_ms < waiting.look_ms {
                    self.look_at(hook, look_ms);
                }
            }
            None => {
                self.hooks.insert(hook.clone(), HeldLot { ids: VecDeque::from([id]), look_ms });
                self.looks.insert((look_ms, hook.clone()));
            }
        }
    }

    /// Whether deliveries of this hook wait.
    #[must_use]
    pub fn holds(&self, hook: &HookId) -> bool {
        self.hooks.contains_key(hook)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When a hook is to be looked at next.
    #[must_use]
    pub fn next_look(&self) -> Option<i64> {
        self.looks.first().map(|(at, _)| *at)
    }

    /// Hooks that are to be looked at by now, the longest overdue first.
    #[must_use]
    pub fn due(&self, now_ms: i64) -> Vec<HookId> {
        self.looks.iter().take_while(|(at, _)| *at <= now_ms).map(|(_, hook)| hook.clone()).collect()
    }

    /// The hook is looked at at this time, and not before.
    pub fn look_at(&mut self, hook: &HookId, look_ms: i64) {
        let Some(waiting) = self.hooks.get_mut(hook) else { return };
        self.looks.remove(&(waiting.look_ms, hook.clone()));
        waiting.look_ms = look_ms;
        self.looks.insert((look_ms, hook.clone()));
    }

    /// All hooks are looked at at this time.
    pub fn look_at_all(&mut self, look_ms: i64) {
        self.looks.clear();
        for (hook, waiting) in &mut self.hooks {
            waiting.look_ms = look_ms;
            self.looks.insert((look_ms, hook.clone()));
        }
    }

    /// The one of this hook that has waited longest waits no more.
    pub fn release(&mut self, hook: &HookId) -> Option<i64> {
        let waiting = self.hooks.get_mut(hook)?;
        let id = waiting.ids.pop_front()?;
        self.count -= 1;
        if waiting.ids.is_empty() {
            self.looks.remove(&(waiting.look_ms, hook.clone()));
            self.hooks.remove(hook);
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_hook_leave_in_the_order_in_which_they_came_and_each_hook_has_its_time() {
        let (one, other) = (HookId::from("h1"), HookId::from("h2"));
        let mut held = HeldDeliveries::default();
        held.hold(&one, 1, 500);
        held.hold(&one, 2, 900);
        held.hold(&other, 3, 400);
        assert_eq!((held.len(), held.next_look()), (3, Some(400)));
        assert_eq!(held.due(399), []);
        assert_eq!(held.due(500), [other.clone(), one.clone()]);

        held.look_at(&other, 600);
        held.hold(&one, 4, 300);
        assert_eq!(held.due(500), std::slice::from_ref(&one));
        assert_eq!(held.next_look(), Some(300));

        let released: Vec<i64> = std::iter::from_fn(|| held.release(&one)).collect();
        assert_eq!(released, [1, 2, 4]);
        assert!(!held.holds(&one) && held.holds(&other));
        held.look_at_all(7);
        assert_eq!(held.due(7), std::slice::from_ref(&other));
        assert_eq!(held.release(&other), Some(3));
        assert!(held.is_empty());
        assert_eq!(held.next_look(), None);
    }
}
