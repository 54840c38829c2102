//! Runs a module against an event in a unit test: no host, no library, no network.
//!
//! ```
//! # use plugin_api::*;
//! # struct Doorbell;
//! # impl Module for Doorbell {
//! #     fn init(_: &Host<'_>) -> Result<(Self, Metadata), Error> { Ok((Doorbell, Metadata::new("Doorbell", "Rung"))) }
//! #     fn bindings_and_responders(&self) -> BindingsAndResponders { BindingsAndResponders::new() }
//! #     fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
//! #         host.fire(&Firing::new("doorbell", event.required_str("Account-ID")?), &JsonWriter::object().finish());
//! #         Ok(())
//! #     }
//! # }
//! use plugin_api::testing::TestHost;
//! use plugin_api::serde_json::json;
//!
//! let module = TestHost::new().load::<Doorbell>().unwrap();
//! let fired = module.handle(&json!({
//!     "Event-Category": "door", "Event-Name": "rung", "Account-ID": "acct1",
//! })).unwrap();
//! assert_eq!(fired[0].hook_event, "doorbell");
//! assert_eq!(fired[0].account, "acct1");
//! ```

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::index::Index;
use crate::lend::{Call, CallError, HostServices, LentEvent};
use crate::{BindingsAndResponders, Error, Event, Host, Level, Metadata, Module, Profile};

/// Stands in for the host: settings, resellers, and a record of what the module did.
#[derive(Default)]
pub struct TestHost {
    settings: BTreeMap<String, String>,
    resellers: BTreeMap<String, String>,
    now_ms: u64,
    fired: RefCell<Vec<Fired>>,
    log: RefCell<Vec<String>>,
}

/// One firing of the module under test.
#[derive(Clone, Debug, PartialEq)]
pub struct Fired {
    /// Name of the hook event; empty when fired at one hook.
    pub hook_event: String,
    /// The event's account; empty when fired at one hook.
    pub account: String,
    /// The event belongs to an internal leg.
    pub internal_leg: bool,
    /// Conditions on `custom_data`.
    pub filters: Vec<(String, Option<String>)>,
    /// The one hook, where fired at one.
    pub hook: Option<Value>,
    /// The payload.
    pub payload: Value,
}

impl TestHost {
    /// A host with no settings and no accounts.
    #[must_use]
    pub fn new() -> Self {
        TestHost { now_ms: 1_700_000_000_000, ..TestHost::default() }
    }

    /// Sets a setting by its name in the configuration.
    #[must_use]
    pub fn setting(mut self, name: &str, value: Value) -> Self {
        self.settings.insert(name.to_owned(), value.to_string());
        self
    }

    /// Chooses the delivery profile.
    #[must_use]
    pub fn profile(self, profile: Profile) -> Self {
        let name = if profile == Profile::Kazoo { "kazoo" } else { "standard" };
        self.setting("delivery.profile", name.into())
    }

    /// Makes `reseller` the reseller of `account`.
    #[must_use]
    pub fn reseller(mut self, account: &str, reseller: &str) -> Self {
        self.resellers.insert(account.to_owned(), reseller.to_owned());
        self
    }

    /// Initialises a module.
    ///
    /// # Errors
    /// What `init` said.
    pub fn load<M: Module>(self) -> Result<Loaded<M>, Error> {
        let call = Call::new(&self);
        let (module, metadata) = M::init(&Host::new(call.host()))?;
        drop(call);
        Ok(Loaded { module, metadata, host: self })
    }
}

impl HostServices for TestHost {
    fn log(&self, level: Level, text: &str) {
        self.log.borrow_mut().push(format!("{level:?} {text}"));
    }

    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn setting(&self, name: &str) -> Option<Cow<'_, str>> {
        self.settings.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }

    fn reseller_of(&self, account: &str) -> Option<String> {
        self.resellers.get(account).cloned()
    }

    fn fire(&self, fired: crate::lend::Fired<'_>) -> Result<(), String> {
        let json = |what: &str, bytes: &[u8]| {
            serde_json::from_slice(bytes).map_err(|error| format!("the {what} is not JSON: {error}"))
        };
        let hook = fired.hook.map(|hook| json("hook", hook)).transpose()?;
        self.fired.borrow_mut().push(Fired {
            hook_event: fired.hook_event.into_owned(),
            account: fired.account.into_owned(),
            internal_leg: fired.internal_leg,
            filters: fired.filters,
            hook,
            payload: json("payload", fired.payload)?,
        });
        Ok(())
    }
}

/// A module that was initialised.
pub struct Loaded<M> {
    module: M,
    metadata: Metadata,
    host: TestHost,
}

impl<M: Module> Loaded<M> {
    /// What `init` said about itself.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What it binds and answers.
    #[must_use]
    pub fn bindings_and_responders(&self) -> BindingsAndResponders {
        self.module.bindings_and_responders()
    }

    /// Lines it logged so far: `Warn what it said`.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.host.log.borrow().clone()
    }

    /// Hands it one event and returns what it fired.
    ///
    /// # Errors
    /// What the module said, or that the event or a payload is not what it must be.
    pub fn handle(&self, event: &Value) -> Result<Vec<Fired>, CallError> {
        let text = event.to_string();
        let index = Index::of(&text).map_err(|error| CallError::Protocol(format!("the event {error}")))?;
        let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (category, name) = (field("Event-Category"), field("Event-Name"));
        let lent = LentEvent { text: &text, index: &index, category: &category, name: &name };
        let call = Call::new(&self.host);
        self.host.fired.borrow_mut().clear();
        let result = self.module.handle_event(&Event::new(lent.event()), &Host::new(call.host()));
        result.map_err(|error| CallError::Error(error.text().to_owned()))?;
        call.end(crate::abi::Status::Ok)?;
        Ok(self.host.fired.take())
    }
}
