//! The three functions that make a module.

use crate::{BindingsAndResponders, Error, Event, Host, Metadata};

/// A webhook module: the three functions of a KAZOO webhook module, as a safe Rust type.
///
/// One value of the type is made per loaded generation by [`init`](Module::init) and dropped when the
/// generation ends. State belongs into the value: a `static` outlives neither a reload nor an unload cleanly.
pub trait Module: Send + Sync + Sized + 'static {
    /// Makes the module and describes it.
    ///
    /// Called once per generation, and once more in a probe before it: it must have no effect outside the
    /// returned value. Settings ([`Host::setting`]) do not change while a generation lives, so read them here.
    ///
    /// # Errors
    /// A message for the operator; the module is then refused and whatever ran before keeps running.
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error>;

    /// What to bind on the bus, and which (category, name) pairs this module answers.
    fn bindings_and_responders(&self) -> BindingsAndResponders;

    /// Answers one event with any number of firings ([`Host::fire`]).
    ///
    /// Must not block: it has the time limit `modules.call_timeout_ms` of the host.
    ///
    /// # Errors
    /// A message for the operator. The event counts as failed for this module and for no other; firings made
    /// before the error are dropped.
    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error>;

    /// The generation ends: join threads of your own, if you started any.
    fn shutdown(&self) {}
}
