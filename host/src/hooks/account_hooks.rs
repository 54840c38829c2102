//! The hooks of one account, by the events that they want. Most accounts have one hook, and many have thousands.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use crate::model::{AccountId, Hook, HookEvent};

/// One hook at least. It is found in a set by the account that owns them, whose id stands in each of them.
#[derive(Debug)]
pub(super) enum AccountHooks {
    One(Arc<Hook>),
    Many(Box<HooksByEvent>),
}

#[derive(Debug)]
pub(super) struct HooksByEvent {
    account: AccountId,
    all: Vec<Arc<Hook>>,
    named: HashMap<Arc<str>, Vec<Arc<Hook>>>,
}

impl AccountHooks {
    /// Those of an account that has one.
    pub(super) fn of(hook: Arc<Hook>) -> Self {
        Self::One(hook)
    }

    fn account(&self) -> &AccountId {
        match self {
            Self::One(hook) => &hook.account,
            Self::Many(hooks) => &hooks.account,
        }
    }

    /// With one more, behind those that want the same event.
    pub(super) fn with(self, hook: Arc<Hook>) -> Self {
        let mut hooks = match self {
            Self::One(first) => {
                let (account, named) = (first.account.clone(), HashMap::new());
                let mut hooks = Box::new(HooksByEvent { account, all: Vec::new(), named });
                hooks.add(first);
                hooks
            }
            Self::Many(hooks) => hooks,
        };
        hooks.add(hook);
        Self::Many(hooks)
    }

    /// With another one in place of the one with its id, which wants the same event.
    pub(super) fn replaced(self, hook: Arc<Hook>) -> Self {
        match self {
            Self::One(_) => Self::One(hook),
            Self::Many(mut hooks) => {
                hooks.replace(hook);
                Self::Many(hooks)
            }
        }
    }

    /// Without a hook; nothing where it was the last one.
    pub(super) fn without(self, hook: &Hook) -> Option<Self> {
        match self {
            Self::One(only) => (only.id != hook.id).then_some(Self::One(only)),
            Self::Many(mut hooks) => {
                hooks.remove(hook);
                let is_empty = hooks.all.is_empty() && hooks.named.is_empty();
                (!is_empty).then_some(Self::Many(hooks))
            }
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Hook>> {
        match self {
            Self::One(hook) => vec![Arc::clone(hook)],
            Self::Many(hooks) => hooks.named.values().flatten().chain(&hooks.all).cloned().collect(),
        }
    }

    /// Those that want an event: first those that name it, then those that want all.
    pub(super) fn wanting(&self, event: &str) -> Vec<Arc<Hook>> {
        match self {
            Self::One(hook) => match &hook.event {
                HookEvent::Named(name) if **name != *event => Vec::new(),
                HookEvent::Named(_) | HookEvent::All => vec![Arc::clone(hook)],
            },
            Self::Many(hooks) => {
                let named = hooks.named.get(event).map_or(&[][..], Vec::as_slice);
                [named, &hooks.all].concat()
            }
        }
    }
}

impl HooksByEvent {
    fn add(&mut self, hook: Arc<Hook>) {
        match &hook.event {
            HookEvent::All => self.all.push(hook),
            HookEvent::Named(name) => self.named.entry(Arc::clone(name)).or_default().push(hook),
        }
    }

    fn replace(&mut self, hook: Arc<Hook>) {
        let place = match &hook.event {
            HookEvent::All => Some(&mut self.all),
            HookEvent::Named(name) => self.named.get_mut(name),
        };
        match place.and_then(|hooks| hooks.iter_mut().find(|old| old.id == hook.id)) {
            Some(old) => *old = hook,
            None => self.add(hook),
        }
    }

    fn remove(&mut self, hook: &Hook) {
        match &hook.event {
            HookEvent::All => self.all.retain(|other| other.id != hook.id),
            HookEvent::Named(name) => {
                if let Some(hooks) = self.named.get_mut(name) {
                    hooks.retain(|other| other.id != hook.id);
                    if hooks.is_empty() {
                        self.named.remove(name);
                    }
                }
            }
        }
    }
}

impl Borrow<str> for AccountHooks {
    fn borrow(&self) -> &str {
        self.account().as_str()
    }
}

impl Hash for AccountHooks {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.account().hash(state);
    }
}

impl PartialEq for AccountHooks {
    fn eq(&self, other: &Self) -> bool {
        self.account() == other.account()
    }
}

impl Eq for AccountHooks {}
