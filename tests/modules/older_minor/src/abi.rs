//! The boundary as it was in plugin-api 1.0. Never changed: that is its purpose.

#![allow(dead_code)]

use std::marker::PhantomData;

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RSlice, RStr};

pub const VERSION: (u16, u16) = (1, 0);

#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Ctx<'a> {
    pub pointer: *const (),
    pub call: PhantomData<&'a ()>,
}

#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub enum Status {
    Ok,
    Error,
    Panicked,
}

#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Found<'a> {
    pub node: u32,
    pub kind: u32,
    pub raw: RStr<'a>,
    pub text: RStr<'a>,
}

#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Entry<'a> {
    pub key: RStr<'a>,
    pub value: Found<'a>,
}

#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Filter<'a> {
    pub key: RStr<'a>,
    pub has_value: u32,
    pub value: RStr<'a>,
}
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct FiringHead<'a> {
    pub hook_event: RStr<'a>,
    pub account: RStr<'a>,
    pub flags: u32,
    pub filters: RSlice<'a, Filter<'a>>,
}

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostVtRef, prefix_fields = HostVtPrefix)))]
pub struct HostVt {
    pub log: for<'a, 'b> extern "C" fn(Ctx<'a>, u32, RStr<'b>),
    #[cfg(not(feature = "other_layout"))]
    pub now_ms: for<'a> extern "C" fn(Ctx<'a>) -> u64,
    #[cfg(feature = "other_layout")]
    pub now_ms: for<'a> extern "C" fn(Ctx<'a>) -> u32,
    pub setting: for<'a, 'b> extern "C" fn(Ctx<'a>, RStr<'b>) -> RStr<'a>,
    pub put_document: for<'a, 'b> extern "C" fn(Ctx<'a>, RStr<'b>),
    pub put_error: for<'a, 'b> extern "C" fn(Ctx<'a>, RStr<'b>),
    pub put_panic: for<'a, 'b> extern "C" fn(Ctx<'a>, RStr<'b>, RStr<'b>, RSlice<'b, usize>),
    #[sabi(last_prefix_field)]
    pub fire: for<'a, 'b> extern "C" fn(Ctx<'a>, FiringHead<'b>, RSlice<'b, u8>),
}

#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct HostRef<'a> {
    pub ctx: Ctx<'a>,
    pub vt: HostVtRef,
}

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = EventVtRef, prefix_fields = EventVtPrefix)))]
pub struct EventVt {
    pub find: for<'a, 'b> extern "C" fn(Ctx<'a>, u32, RStr<'b>) -> Found<'a>,
    #[sabi(last_prefix_field)]
    pub entry: for<'a> extern "C" fn(Ctx<'a>, u32, u32) -> Entry<'a>,
}

#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct EventRef<'a> {
    pub ctx: Ctx<'a>,
    pub vt: EventVtRef,
    pub category: RStr<'a>,
    pub name: RStr<'a>,
    pub json: RSlice<'a, u8>,
}

#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Instance {
    pub pointer: *mut (),
}

#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Initialised {
    pub status: Status,
    pub instance: Instance,
}

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ExportsRef, prefix_fields = ExportsPrefix)))]
#[sabi(missing_field(panic))]
pub struct Exports {
    pub init: for<'a> extern "C" fn(HostRef<'a>) -> Initialised,
    pub bindings_and_responders: for<'a> extern "C" fn(Instance, HostRef<'a>) -> Status,
    pub handle_event: for<'a> extern "C" fn(Instance, EventRef<'a>, HostRef<'a>) -> Status,
    #[sabi(last_prefix_field)]
    pub shutdown: for<'a> extern "C" fn(Instance, HostRef<'a>) -> Status,
}

impl RootModule for ExportsRef {
    abi_stable::declare_root_module_statics! {ExportsRef}
    const BASE_NAME: &'static str = "hookline_module";
    const NAME: &'static str = "hookline_module";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The plain bytes by which a host knows a module before it opens it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Manifest {
    magic: [u8; 8],
    api_major: u16,
    api_minor: u16,
    flags: u32,
    id: [u8; 64],
    version: [u8; 32],
    rustc: [u8; 64],
}

impl Manifest {
    pub const fn new(id: &str, version: &str) -> Self {
        let (api_major, api_minor) = VERSION;
        let (id, version, rustc) = (padded(id), padded(version), padded("rustc of the fixture"));
        Manifest { magic: *b"HOOKLINE", api_major, api_minor, flags: 1, id, version, rustc }
    }
}

const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut padded = [0; N];
    let mut i = 0;
    while i < bytes.len() && i < N {
        padded[i] = bytes[i];
        i += 1;
    }
    padded
}
