//! The module's side of the boundary: turns a [`Module`] into the exported functions.

use std::marker::PhantomData;

use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::WithMetadata;
use abi_stable::staticref;

use crate::abi::{EventRef, Exports, ExportsRef, HostRef, Initialised, Instance, Status};
use crate::guard::{guarded, install_hook};
use crate::{Event, Host, Module};

/// What [`export_module!`](crate::export_module) exports under [`ROOT_SYMBOL`](crate::manifest::ROOT_SYMBOL).
pub type Header = LibHeader;

/// Exports a [`Module`] from this crate's library. One line, once per crate:
///
/// ```ignore
/// plugin_api::export_module!(Doorbell);
/// ```
#[macro_export]
macro_rules! export_module {
    ($module:ty) => {
        const _: () = {
            #[cfg(panic = "abort")]
            compile_error!(
                "a module's panic must unwind: set panic = \"unwind\" in the profile that builds this module"
            );

            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static HEADER: $crate::export::Header = $crate::export::header::<$module>();

            #[unsafe(export_name = "HOOKLINE_MODULE_MANIFEST")]
            pub static MANIFEST: $crate::manifest::Manifest =
                $crate::manifest::Manifest::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        };
    };
}

/// The header for `M`; used by [`export_module!`](crate::export_module).
#[must_use]
pub const fn header<M: Module>() -> Header {
    // SAFETY: `construct` returns a `PrefixRef<Exports>`, which is what an `ExportsRef` wraps.
    unsafe { LibHeader::from_constructor::<ExportsRef>(construct::<M>, CheckTypeLayout::Yes) }
}

extern "C" fn construct<M: Module>() -> RootModuleResult {
    __call_root_module_loader(|| ExportsRef(Glue::<M>::EXPORTS.as_prefix()))
}

struct Glue<M>(PhantomData<M>);

impl<M: Module> Glue<M> {
    staticref! {const EXPORTS: WithMetadata<Exports> = WithMetadata::new(Exports {
        init: init::<M>,
        bindings_and_responders: bindings_and_responders::<M>,
        handle_event: handle_event::<M>,
        shutdown: shutdown::<M>,
    })}
}

extern "C" fn init<M: Module>(host: HostRef<'_>) -> Initialised {
    install_hook();
    let (status, module) = guarded(host, || {
        let (module, metadata) = M::init(&Host::new(host))?;
        (host.vt.put_document())(host.ctx, serde_json::to_string(&metadata)?.as_str().into());
        Ok(Box::new(module))
    });
    let pointer = module.map_or(std::ptr::null_mut(), |module| Box::into_raw(module).cast());
    Initialised { status, instance: Instance { pointer } }
}

extern "C" fn bindings_and_responders<M: Module>(instance: Instance, host: HostRef<'_>) -> Status {
    let (status, _) = guarded(host, || {
        let answer = module_of::<M>(&instance).bindings_and_responders();
        (host.vt.put_document())(host.ctx, serde_json::to_string(&answer)?.as_str().into());
        Ok(())
    });
    status
}

extern "C" fn handle_event<M: Module>(instance: Instance, event: EventRef<'_>, host: HostRef<'_>) -> Status {
    let run = || module_of::<M>(&instance).handle_event(&Event::new(event), &Host::new(host));
    guarded(host, run).0
}

extern "C" fn shutdown<M: Module>(instance: Instance, host: HostRef<'_>) -> Status {
    let (status, _) = guarded(host, || {
        // SAFETY: the pointer comes from `Box::into_raw` in `init`, and the host promises to use the instance
        // no more after this call (`abi::Exports::shutdown`).
        let module = unsafe { Box::from_raw(instance.pointer.cast::<M>()) };
        module.shutdown();
        Ok(())
    });
    status
}

fn module_of<M: Module>(instance: &Instance) -> &M {
    // SAFETY: the pointer comes from `Box::into_raw` in `init` of the same `M`; the host uses an instance only
    // with the exports that made it and not after `shutdown`. `M: Sync` allows several threads at once.
    unsafe { &*instance.pointer.cast::<M>() }
}
