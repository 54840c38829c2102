//! Answers `bindings_and_responders` with another document than the host expects.
//!
//! It goes round `export_module!`, which would write the right one.

use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::WithMetadata;
use abi_stable::staticref;
use plugin_api::abi::{EventRef, Exports, ExportsRef, HostRef, Initialised, Instance, Status};
use plugin_api::manifest::Manifest;

/// What a host looks for before it opens the library.
#[unsafe(export_name = "HOOKLINE_MODULE_MANIFEST")]
pub static MANIFEST: Manifest = Manifest::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));

/// Through this abi_stable finds the exports.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
// SAFETY: `construct` returns a `PrefixRef<Exports>`, which is what an `ExportsRef` wraps.
pub static HEADER: LibHeader =
    unsafe { LibHeader::from_constructor::<ExportsRef>(construct, CheckTypeLayout::Yes) };

extern "C" fn construct() -> RootModuleResult {
    __call_root_module_loader(|| ExportsRef(Glue::EXPORTS.as_prefix()))
}

struct Glue;

impl Glue {
    staticref! {const EXPORTS: WithMetadata<Exports> = WithMetadata::new(Exports {
        init, bindings_and_responders, handle_event, shutdown,
    })}
}

extern "C" fn init(host: HostRef<'_>) -> Initialised {
    let metadata = r#"{"name":"Wrong documents","description":"Says what nobody can read"}"#;
    (host.vt.put_document())(host.ctx, metadata.into());
    // SAFETY: an instance is one pointer, which may be null; the functions below never look at it.
    let instance: Instance = unsafe { std::mem::zeroed() };
    Initialised { status: Status::Ok, instance }
}

extern "C" fn bindings_and_responders(_: Instance, host: HostRef<'_>) -> Status {
    (host.vt.put_document())(host.ctx, r#"{"bindings":7,"responders":[]}"#.into());
    Status::Ok
}

extern "C" fn handle_event(_: Instance, _: EventRef<'_>, _: HostRef<'_>) -> Status {
    Status::Ok
}

extern "C" fn shutdown(_: Instance, _: HostRef<'_>) -> Status {
    Status::Ok
}
