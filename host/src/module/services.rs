//! What a module may ask of the host during a call, and what it may answer.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use plugin_api::Level;
use plugin_api::lend::{Fired, HostServices};
use tracing::{debug, error, info, trace, warn};

use super::{Firing, HookTarget};
use crate::clock;
use crate::event::Event;
use crate::hooks::accounts::Accounts;
use crate::hooks::matching::PayloadFilter;
use crate::model::AccountId;
use crate::model::ModuleId;
use crate::model::payload::Payload;

/// Bytes of one payload beyond which a firing is refused: a webhook of this size is a mistake, and its copies
/// for each hook would be the host's memory.
pub const MAX_PAYLOAD: usize = 8 * 1024 * 1024;

/// Firings of one call beyond which the call is refused.
pub const MAX_FIRINGS: usize = 1000;

/// Bytes of all payloads of one call beyond which the call is refused.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Bytes of a firing beside its payload: names, conditions, the hook that the event carries.
pub const MAX_BESIDE: usize = 1024 * 1024;

/// How much one call has answered so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallAnswer {
    firings: usize,
    bytes: usize,
}

impl CallAnswer {
    /// Counts a firing.
    ///
    /// # Errors
    /// It is too large, or one too many.
    pub(super) fn count(&mut self, fired: &Fired<'_>) -> Result<(), String> {
        let size = fired.payload.len();
        if size > MAX_PAYLOAD {
            return Err(format!("fired a payload of {size} bytes; the limit is {MAX_PAYLOAD}"));
        }
        // A condition takes some bytes even where its texts are empty.
        let filter =
            |(key, value): &(String, Option<String>)| 16 + key.len() + value.as_deref().map_or(0, str::len);
        let beside = fired.hook_event.len()
            + fired.account.len()
            + fired.hook.map_or(0, <[u8]>::len)
            + fired.filters.iter().map(filter).sum::<usize>();
        if beside > MAX_BESIDE {
            return Err(format!("fired {beside} bytes beside a payload; the limit is {MAX_BESIDE}"));
        }
        if self.firings == MAX_FIRINGS {
            return Err(format!("fired more than {MAX_FIRINGS} times for one event"));
        }
        if self.bytes + size > MAX_ANSWER {
            return Err(format!("fired more than {MAX_ANSWER} bytes for one event"));
        }
        self.firings += 1;
        self.bytes += size;
        Ok(())
    }
}

/// Settings that modules may read, by their name in the configuration, as JSON text.
pub type ModuleSettings = BTreeMap<String, String>;

/// What every call of every module is lent.
#[derive(Clone, Debug)]
pub struct LendableServices {
    /// Settings; they do not change while a generation lives.
    pub settings: Arc<ModuleSettings>,
    /// The account tree, for resellers.
    pub accounts: Arc<Accounts>,
}

/// The services for one call of one generation.
pub struct CallServices<'c> {
    lendable: &'c LendableServices,
    module: &'c ModuleId,
    generation: u64,
    /// The event in hand.
    event: Option<&'c Event>,
    answered: Cell<CallAnswer>,
    fired: RefCell<Vec<Firing>>,
}

impl<'c> CallServices<'c> {
    /// Services that have seen no firing yet.
    #[must_use]
    pub fn new(lendable: &'c LendableServices, module: &'c ModuleId, generation: u64) -> Self {
        let (answered, fired) = (Cell::default(), RefCell::default());
        CallServices { lendable, module, generation, event: None, answered, fired }
    }

    /// The same for a call about this event: what the module says stands in its log lines, and is kept with it.
    #[must_use]
    pub fn about(self, event: &'c Event) -> Self {
        CallServices { event: Some(event), ..self }
    }

    /// What the call fired.
    #[must_use]
    pub fn into_fired(self) -> Vec<Firing> {
        self.fired.into_inner()
    }
}

impl HostServices for CallServices<'_> {
    fn log(&self, level: Level, text: &str) {
        let (module, generation) = (self.module.as_str(), self.generation);
        let _entered = self.event.map(|event| event.trail().lines().enter());
        if let Some(event) = self.event {
            event.said().note(module, level_name(level), text);
        }
        match level {
            Level::Error => error!(module, generation, said = text, "a module speaks"),
            Level::Warn => warn!(module, generation, said = text, "a module speaks"),
            Level::Info => info!(module, generation, said = text, "a module speaks"),
            Level::Debug => debug!(module, generation, said = text, "a module speaks"),
            Level::Trace => trace!(module, generation, said = text, "a module speaks"),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(clock::now_ms()).unwrap_or_default()
    }

    fn setting(&self, name: &str) -> Option<Cow<'_, str>> {
        self.lendable.settings.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }

    fn reseller_of(&self, account: &str) -> Option<String> {
        let account = self.lendable.accounts.get(&AccountId::from(account))?;
        account.reseller.as_ref().map(ToString::to_string)
    }

    fn fire(&self, fired: Fired<'_>) -> Result<(), String> {
        let mut answered = self.answered.get();
        answered.count(&fired)?;
        self.answered.set(answered);
        self.fired.borrow_mut().push(checked(fired)?);
        Ok(())
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn checked(fired: Fired<'_>) -> Result<Firing, String> {
    let payload = Payload::parse(Bytes::copy_from_slice(fired.payload))
        .map_err(|error| format!("fired what is not a JSON object: {:#}", anyhow::Error::from(error)))?;
    let target = match fired.hook {
        Some(hook) => HookTarget::Carried(Bytes::copy_from_slice(hook)),
        None if fired.hook_event.is_empty() => {
            return Err("fired without the name of a hook event".to_owned());
        }
        None => HookTarget::Hooks {
            event: fired.hook_event.into_owned(),
            account: AccountId::from(fired.account.as_ref()),
            internal_leg: fired.internal_leg,
            filters: fired.filters.into_iter().map(|(key, value)| PayloadFilter { key, value }).collect(),
        },
    };
    Ok(Firing { target, payload })
}
