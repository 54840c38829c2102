//! `webhooks_older_minor`: the boundary as it was in plugin-api 1.0, frozen, and a module on top of it.
//!
//! It answers (`older`, `*`) by firing the hook event `older_minor` for the event's `Account-ID`.

mod abi;

use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::WithMetadata;
use abi_stable::staticref;
use abi_stable::std_types::RSlice;

use abi::{EventRef, Exports, ExportsRef, FiringHead, HostRef, Initialised, Instance, Manifest, Status};

/// What a host looks for before it opens the library.
#[unsafe(export_name = "HOOKLINE_MODULE_MANIFEST")]
pub static MANIFEST: Manifest = Manifest::new("webhooks_older_minor", "1.0.0");

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
    let metadata = r#"{"name":"Older minor","description":"Built against plugin-api 1.0"}"#;
    (host.vt.put_document())(host.ctx, metadata.into());
    Initialised { status: Status::Ok, instance: Instance { pointer: std::ptr::null_mut() } }
}

extern "C" fn bindings_and_responders(_: Instance, host: HostRef<'_>) -> Status {
    let answer = r#"{"bindings":[],"responders":[{"category":"older","name":"*"}]}"#;
    (host.vt.put_document())(host.ctx, answer.into());
    Status::Ok
}

extern "C" fn handle_event(_: Instance, event: EventRef<'_>, host: HostRef<'_>) -> Status {
    let account = (event.vt.find())(event.ctx, 0, "Account-ID".into());
    let head = FiringHead {
        hook_event: "older_minor".into(),
        account: account.text,
        flags: 0,
        filters: RSlice::from_slice(&[]),
    };
    let payload = format!("{{\"account_id\":{}}}", account.raw);
    (host.vt.fire())(host.ctx, head, RSlice::from_slice(payload.as_bytes()));
    Status::Ok
}

extern "C" fn shutdown(_: Instance, _: HostRef<'_>) -> Status {
    Status::Ok
}
