//! What is looked at before and after every request: whether a hook was tried, and whether it fails at all. It is kept in
//! many small parts, so that those who send to different hooks do not wait for each other; only what concerns a hook
//! that fails needs the state of all.

use std::hash::BuildHasher as _;

use foldhash::HashSet;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::model::HookId;

/// Enough that a handful of threads seldom meet in one.
const PARTS: usize = 64;

/// Hooks that were tried, and hooks that fail.
#[derive(Debug)]
pub(super) struct KnownHooks {
    parts: Box<[Mutex<KnownPart>]>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct KnownPart {
    tried: HashSet<HookId>,
    failing: HashSet<HookId>,
}

impl Default for KnownHooks {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        KnownHooks { parts, hasher: RandomState::default() }
    }
}

impl KnownHooks {
    fn with<T>(&self, hook: &HookId, look: impl FnOnce(&mut KnownPart) -> T) -> Option<T> {
        let part = usize::try_from(self.hasher.hash_one(hook) % PARTS as u64).ok()?;
        self.parts.get(part).map(|part| look(&mut part.lock()))
    }

    /// A request to the hook has ended; says whether the hook fails.
    pub(super) fn was_asked(&self, hook: &HookId) -> bool {
        let noted = |part: &mut KnownPart| {
            if !part.tried.contains(hook) {
                part.tried.insert(hook.clone());
            }
            part.failing.contains(hook)
        };
        self.with(hook, noted).unwrap_or(true)
    }

    /// Whether it was tried.
    pub(super) fn was_tried(&self, hook: &HookId) -> bool {
        self.with(hook, |part| part.tried.contains(hook)).unwrap_or_default()
    }

    /// It counts as not tried from now on.
    pub(super) fn forget_try(&self, hook: &HookId) {
        self.with(hook, |part| part.tried.remove(hook));
    }

    /// Whether it fails: what follows of that is in the state of all.
    pub(super) fn fails(&self, hook: &HookId) -> bool {
        self.with(hook, |part| part.failing.contains(hook)).unwrap_or(true)
    }

    /// It fails from now on, or does not any more.
    pub(super) fn set_failing(&self, hook: &HookId, failing: bool) {
        self.with(hook, |part| match failing {
            true => part.failing.insert(hook.clone()),
            false => part.failing.remove(hook),
        });
    }
}
