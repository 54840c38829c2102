//! What crosses between a host and a module, and how it may grow.
//!
//! Rules of major version 1:
//! * New fields go to the end of the three prefix types ([`HostVt`], [`EventVt`], [`Exports`]) and raise the
//!   minor version; the other side sees a missing field as `None`.
//! * Everything else here is frozen: field order, types, the values of [`Status`] and of the kinds.
//! * Nothing owned crosses. Text and bytes are lent for one call; who wants to keep them copies them.
//! * Everything structured that is not on the hot path crosses as a JSON document.

// abi_stable generates items without documentation beside the documented ones.
#![allow(missing_docs)]

use std::marker::PhantomData;

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RSlice, RStr};

/// Major and minor version of the ABI: the version of this crate.
pub const VERSION: (u16, u16) = (1, 1);

/// An opaque address of the side that made it; valid for one call.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Ctx<'a> {
    pub(crate) pointer: *const (),
    pub(crate) call: PhantomData<&'a ()>,
}

/// How a call ended.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub enum Status {
    /// It did what it was asked.
    Ok,
    /// It gave an error, told through [`HostVt::put_error`].
    Error,
    /// It panicked, told through [`HostVt::put_panic`].
    Panicked,
}

/// Kinds of a [`Found`] value.
pub mod kind {
    pub const ABSENT: u32 = 0;
    pub const NULL: u32 = 1;
    pub const FALSE: u32 = 2;
    pub const TRUE: u32 = 3;
    pub const NUMBER: u32 = 4;
    pub const STRING: u32 = 5;
    pub const ARRAY: u32 = 6;
    pub const OBJECT: u32 = 7;
}

/// A value of an event: its JSON text, and for a string the text that it means.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Found<'a> {
    /// Its number in the host's index, to look further inside it.
    pub node: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// The JSON text as it stood in the event.
    pub raw: RStr<'a>,
    /// The unescaped text of a string; empty for all else.
    pub text: RStr<'a>,
}

/// A member of an object of the event.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Entry<'a> {
    /// Its unescaped name.
    pub key: RStr<'a>,
    /// Its value; kind [`kind::ABSENT`] past the last one.
    pub value: Found<'a>,
}

/// A condition on a hook's `custom_data`.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Filter<'a> {
    /// The key in `custom_data`.
    pub key: RStr<'a>,
    /// 1 when there is a value, 0 when the event has none.
    pub has_value: u32,
    /// The event's value.
    pub value: RStr<'a>,
}

/// Flag of [`FiringHead`]: the event belongs to an internal (loopback) leg of a call.
pub const INTERNAL_LEG: u32 = 1;

/// What to fire, without its payload.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct FiringHead<'a> {
    /// Name of the hook event, `channel_create`.
    pub hook_event: RStr<'a>,
    /// The account that the event belongs to.
    pub account: RStr<'a>,
    /// Bits such as [`INTERNAL_LEG`].
    pub flags: u32,
    /// What hooks with `custom_data` must say to want this.
    pub filters: RSlice<'a, Filter<'a>>,
}

/// What a host lends to a module during a call.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostVtRef, prefix_fields = HostVtPrefix)))]
pub struct HostVt {
    /// Level (1 error … 5 trace), text.
    pub log: for<'a, 'b> extern "C" fn(Ctx<'a>, u32, RStr<'b>),
    /// Unix milliseconds.
    pub now_ms: for<'a> extern "C" fn(Ctx<'a>) -> u64,
    /// A setting's value as JSON text; empty when there is none of that name.
    pub setting: for<'a, 'b> extern "C" fn(Ctx<'a>, RStr<'b>) -> RStr<'a>,
    /// The document that `init` and `bindings_and_responders` answer with.
    pub put_document: for<'a, 'b> extern "C" fn(Ctx<'a>, RStr<'b>),
    /// Why the call ends with [`Status::Error`].
    pub put_error: for<'a, 'b> extern "C" fn(Ctx<'a>, RStr<'b>),
    /// Why the call ends with [`Status::Panicked`]: message, place, return addresses.
    pub put_panic: for<'a, 'b> extern "C" fn(Ctx<'a>, RStr<'b>, RStr<'b>, RSlice<'b, usize>),
    /// One firing with its payload, a JSON object's text.
    #[sabi(last_prefix_field)]
    pub fire: for<'a, 'b> extern "C" fn(Ctx<'a>, FiringHead<'b>, RSlice<'b, u8>),
    // -- since 1.1
    /// The account's reseller; empty when unknown.
    pub reseller_of: for<'a, 'b> extern "C" fn(Ctx<'a>, RStr<'b>) -> RStr<'a>,
    /// A firing at a hook that the event itself carries: the hook's document, the payload.
    pub fire_at: for<'a, 'b> extern "C" fn(Ctx<'a>, RSlice<'b, u8>, RSlice<'b, u8>),
}

/// The host's services for one call.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct HostRef<'a> {
    pub ctx: Ctx<'a>,
    pub vt: HostVtRef,
}

/// How a module looks into an event that the host has parsed.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = EventVtRef, prefix_fields = EventVtPrefix)))]
pub struct EventVt {
    /// The member of an object (0 is the event itself) with this name.
    pub find: for<'a, 'b> extern "C" fn(Ctx<'a>, u32, RStr<'b>) -> Found<'a>,
    /// The n-th member of an object.
    #[sabi(last_prefix_field)]
    pub entry: for<'a> extern "C" fn(Ctx<'a>, u32, u32) -> Entry<'a>,
}

/// One event, lent for one call.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct EventRef<'a> {
    pub ctx: Ctx<'a>,
    pub vt: EventVtRef,
    pub category: RStr<'a>,
    pub name: RStr<'a>,
    pub json: RSlice<'a, u8>,
}

/// The module's value, owned by the module; the host only carries it.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Instance {
    pub(crate) pointer: *mut (),
}

/// The answer of `init`.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Initialised {
    pub status: Status,
    /// Only meaningful with [`Status::Ok`].
    pub instance: Instance,
}

/// What a module's library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ExportsRef, prefix_fields = ExportsPrefix)))]
#[sabi(missing_field(panic))]
pub struct Exports {
    pub init: for<'a> extern "C" fn(HostRef<'a>) -> Initialised,
    pub bindings_and_responders: for<'a> extern "C" fn(Instance, HostRef<'a>) -> Status,
    pub handle_event: for<'a> extern "C" fn(Instance, EventRef<'a>, HostRef<'a>) -> Status,
    /// Tells the instance to end and drops it; it must not be used afterwards.
    #[sabi(last_prefix_field)]
    pub shutdown: for<'a> extern "C" fn(Instance, HostRef<'a>) -> Status,
}

impl RootModule for ExportsRef {
    abi_stable::declare_root_module_statics! {ExportsRef}
    const BASE_NAME: &'static str = "hookline_module";
    const NAME: &'static str = "hookline_module";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
