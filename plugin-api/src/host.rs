//! What a module may ask of its host during a call.

use std::marker::PhantomData;

use abi_stable::std_types::RSlice;

use crate::abi::{self, HostRef};
use crate::{Firing, Payload};

/// The host's services, lent for one call; not to be kept and not to be sent to another thread.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    pub(crate) host: HostRef<'a>,
    here: PhantomData<*const ()>,
}

/// How bad a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Somebody must act.
    Error = 1,
    /// Somebody should look.
    Warn = 2,
    /// Worth knowing.
    Info = 3,
    /// For finding faults.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

/// Whose behaviour the host promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// What the original's documentation promises.
    Standard,
    /// What the original's code does.
    Kazoo,
}

impl<'a> Host<'a> {
    pub(crate) fn new(host: HostRef<'a>) -> Self {
        Host { host, here: PhantomData }
    }

    /// Fires: the hooks of the firing's account that want it get `payload`.
    pub fn fire(&self, firing: &Firing<'_>, payload: &Payload) {
        let filters: Vec<abi::Filter<'_>> = firing
            .filters
            .iter()
            .map(|(key, value)| abi::Filter {
                key: (*key).into(),
                has_value: u32::from(value.is_some()),
                value: value.unwrap_or_default().into(),
            })
            .collect();
        let head = abi::FiringHead {
            hook_event: firing.hook_event.into(),
            account: firing.account.into(),
            flags: if firing.internal_leg { abi::INTERNAL_LEG } else { 0 },
            filters: RSlice::from_slice(&filters),
        };
        (self.host.vt.fire())(self.host.ctx, head, RSlice::from_slice(payload.as_bytes()));
    }

    /// Fires at one hook that the event itself carries; `hook` is its document as JSON text.
    ///
    /// Says false where the host is older than this (before 1.1) and nothing was fired.
    #[must_use]
    pub fn fire_at(&self, hook: &[u8], payload: &Payload) -> bool {
        let Some(fire_at) = self.host.vt.fire_at() else { return false };
        fire_at(self.host.ctx, RSlice::from_slice(hook), RSlice::from_slice(payload.as_bytes()));
        true
    }

    /// The id of the account's reseller; `None` when unknown or the host is older than 1.1.
    #[must_use]
    pub fn reseller_of(&self, account: &str) -> Option<&'a str> {
        let reseller = (self.host.vt.reseller_of()?)(self.host.ctx, account.into()).as_str();
        (!reseller.is_empty()).then_some(reseller)
    }

    /// A setting of the host by its name in the configuration (`kazoo.object_types`), as JSON text.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&'a str> {
        let value = (self.host.vt.setting())(self.host.ctx, name.into()).as_str();
        (!value.is_empty()).then_some(value)
    }

    /// A setting that is a list of strings; anything else counts as absent.
    #[must_use]
    pub fn list_setting(&self, name: &str) -> Option<Vec<String>> {
        serde_json::from_str(self.setting(name)?).ok()
    }

    /// The delivery profile in force.
    #[must_use]
    pub fn profile(&self) -> Profile {
        if self.setting("delivery.profile") == Some("\"kazoo\"") { Profile::Kazoo } else { Profile::Standard }
    }

    /// Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.host.vt.now_ms())(self.host.ctx)
    }

    /// A line in the host's log, with the module's id and generation beside it.
    pub fn log(&self, level: Level, text: &str) {
        (self.host.vt.log())(self.host.ctx, level as u32, text.into());
    }
}
