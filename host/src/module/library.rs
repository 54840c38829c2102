//! A module's library: opened, checked against the types of this host, entered through its three functions, and
//! unmapped again.
//!
//! Whoever calls in here is a thread of the generation's own; only unmapping is for a thread that never ran the
//! library's code.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals};
use abi_stable::library::{AbiHeaderRef, IsLayoutChecked, LibHeader};
use abi_stable::type_layout::TypeLayout;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use plugin_api::abi::{ExportsRef, HostRef, Instance, Status};
use plugin_api::lend::{Call, CallError, HostServices, PanicReport};
use plugin_api::manifest::ROOT_SYMBOL;
use plugin_api::{BindingsAndResponders, Metadata};

use super::tls_keys;
use crate::event::Event;

/// Frames of a panic that are kept.
const MOST_FRAMES: usize = 64;

/// Why a library could not be made into a generation.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system's loader refused it.
    #[error("cannot be opened: {0}")]
    Open(#[source] libloading::Error),
    /// It was built with another abi_stable.
    #[error("speaks another module format: {0}")]
    Format(String),
    /// The types on both sides differ.
    #[error("does not fit this host's plugin-api: {0}; build it against the plugin-api of this host")]
    Layout(String),
    /// `init` or `bindings_and_responders` failed.
    #[error("{function} {error}")]
    Call {
        /// Which function.
        function: &'static str,
        /// How it failed.
        error: CallError,
    },
    /// `init` or `bindings_and_responders` answered something else than its document.
    #[error("{function} answered what the host cannot read: {reason}")]
    Document {
        /// Which function.
        function: &'static str,
        /// What about it.
        reason: String,
    },
    /// It did not answer in time.
    #[error("did not finish loading within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// No thread could be started, or it died.
    #[error("its thread could not be started: {0}")]
    Thread(String),
}

/// The exports of an opened library with the instance that they made.
#[derive(Clone, Copy)]
pub(super) struct ModuleEntry {
    exports: ExportsRef,
    instance: Instance,
    /// Where its library is mapped; nothing where the system does not tell.
    mapped: MappedAt,
}

// SAFETY: `ExportsRef` points at constants of a library that stays mapped until every thread that may hold an
// entry has ended (`Generation::release`), and the instance behind the pointer is a `Module`, which is
// `Send + Sync`.
unsafe impl Send for ModuleEntry {}
// SAFETY: as above; calling the exports from several threads at once is allowed by `Module: Sync`.
unsafe impl Sync for ModuleEntry {}

impl ModuleEntry {
    /// Runs one event through the module, on the calling thread.
    pub(super) fn handle(&self, event: &Event, services: &dyn HostServices) -> Result<(), CallError> {
        let call = Call::new(services);
        let lent = event.lend();
        let ModuleEntry { exports, instance, mapped } = *self;
        let status = (exports.handle_event())(instance, lent.event(), call.host());
        match call.end(status) {
            Err(CallError::Panicked(report)) => Err(CallError::Panicked(mapped.own_frames(report))),
            ended => ended.map(|_| ()),
        }
    }

    /// Tells the instance to end and drops it.
    pub(super) fn shutdown(self, services: &dyn HostServices) -> Result<(), CallError> {
        let call = Call::new(services);
        let status = (self.exports.shutdown())(self.instance, call.host());
        call.end(status).map(|_| ())
    }
}

/// The first byte of a mapped library and the one behind its last.
#[derive(Clone, Copy)]
struct MappedAt(usize, usize);

impl MappedAt {
    fn new(addresses: Option<&Range<usize>>) -> Self {
        addresses.map_or(MappedAt(0, 0), |addresses| MappedAt(addresses.start, addresses.end))
    }

    /// The report with the library's own frames alone, as offsets of its calls: they mean the same in every process, and
    /// after the library is gone.
    fn own_frames(self, report: PanicReport) -> PanicReport {
        let own = |address: &usize| (self.0 + 1..self.1).contains(address);
        // A return address stands behind its call.
        let offsets =
            report.addresses.iter().filter(|address| own(address)).map(|address| address - self.0 - 1);
        PanicReport { addresses: offsets.take(MOST_FRAMES).collect(), ..report }
    }
}

/// What loading has come to; whoever dies on the way can be told where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStep {
    /// The library is opened, its constructors run.
    Open,
    /// `init`
    Init,
    /// `bindings_and_responders`
    Wants,
}

/// A library that was opened and initialised, and what it said.
pub(super) struct LibraryCall {
    pub(super) entry: ModuleEntry,
    pub(super) metadata: Metadata,
    pub(super) wants: BindingsAndResponders,
    pub(super) mapped: MappedLibrary,
}

/// An opened library. Dropped, it stays mapped: only [`MappedLibrary::unmap`] takes it away.
pub(super) struct MappedLibrary {
    library: Option<Library>,
    /// Where it is mapped, as far as the system tells.
    addresses: Option<Range<usize>>,
}

impl Drop for MappedLibrary {
    fn drop(&mut self) {
        std::mem::forget(self.library.take());
    }
}

impl MappedLibrary {
    /// Takes the library away, on a thread that never ran its code, after every thread that did has been joined
    /// and nothing of the library's is held any more. `copy` is the file that it was opened from.
    ///
    /// # Errors
    /// Why it stays mapped.
    pub(super) fn unmap(mut self, copy: &Path, within: Duration) -> Result<(), &'static str> {
        let Some(addresses) = self.addresses.clone() else {
            return Err("the system does not tell where it is mapped");
        };
        if !tls_keys::is_at_work() {
            return Err("this program does not note what libraries take from it");
        }
        if !tls_keys::threads_are_gone(&addresses, within) {
            return Err("a thread that it started still runs; join it in shutdown");
        }
        tls_keys::delete_keys(&addresses);
        if let Some(library) = self.library.take() {
            library.close().map_err(|_| "the loader does not close it")?;
        }
        match tls_keys::mapping(copy) {
            None => Ok(()),
            Some(_) => Err("it is still mapped after it was closed"),
        }
    }
}

impl MappedLibrary {
    /// Gives back the thread-local keys of a library that stays mapped and whose code runs no more: every thread that did so
    /// has been joined. One that it started itself keeps them.
    pub(super) fn give_keys_back(&self, within: Duration) {
        if let Some(addresses) = &self.addresses
            && tls_keys::is_at_work()
            && tls_keys::threads_are_gone(addresses, within)
        {
            tls_keys::delete_keys(addresses);
        }
    }
}

/// Opens, checks and initialises a library on the calling thread; `now` is told each step before it begins.
pub(super) fn enter(
    copy: &Path,
    services: &dyn HostServices,
    now: &dyn Fn(LoadStep),
) -> Result<LibraryCall, LoadError> {
    now(LoadStep::Open);
    let (exports, mapped) = open(copy)?;
    now(LoadStep::Init);
    let mut instance = None;
    let described = call("init", services, |host| {
        let initialised = (exports.init())(host);
        instance = Some(initialised.instance);
        initialised.status
    })?;
    let metadata = read("init", &described)?;
    let instance = instance.ok_or_else(|| LoadError::Thread("init was not called".to_owned()))?;
    now(LoadStep::Wants);
    let function = "bindings_and_responders";
    let wanted = call(function, services, |host| (exports.bindings_and_responders())(instance, host))?;
    let wants = read(function, &wanted)?;
    let entry = ModuleEntry { exports, instance, mapped: MappedAt::new(mapped.addresses.as_ref()) };
    Ok(LibraryCall { entry, metadata, wants, mapped })
}

fn call(
    function: &'static str,
    services: &dyn HostServices,
    run: impl FnOnce(HostRef<'_>) -> Status,
) -> Result<String, LoadError> {
    let call = Call::new(services);
    let status = run(call.host());
    let document = call.end(status).map_err(|error| LoadError::Call { function, error })?;
    document.ok_or(LoadError::Document { function, reason: "nothing".to_owned() })
}

fn read<T: serde::de::DeserializeOwned>(function: &'static str, document: &str) -> Result<T, LoadError> {
    serde_json::from_str(document)
        .map_err(|error| LoadError::Document { function, reason: error.to_string() })
}

fn open(copy: &Path) -> Result<(ExportsRef, MappedLibrary), LoadError> {
    // SAFETY: opening runs the library's constructors, which is the trust that an operator gives to every file
    // in the plugins folder; the file was inspected and is a private copy that nobody writes to.
    let library = unsafe { Library::open(Some(copy), RTLD_NOW | RTLD_LOCAL) }.map_err(LoadError::Open)?;
    // SAFETY: inspection found this symbol beside a manifest of our API, where it is a `LibHeader`, which
    // begins with the `AbiHeader` that an `AbiHeaderRef` points to; a reference has the size of a pointer.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_SYMBOL.as_bytes()) }.map_err(LoadError::Open)?;
    let header = *header;
    // Whatever comes from here lives as long as the library stays mapped, which is until `unmap`.
    let mapped = MappedLibrary { library: Some(library), addresses: tls_keys::mapping(copy) };
    let header = header.upgrade().map_err(|error| LoadError::Format(first_lines(&error.to_string())))?;
    check_layout(header)?;
    // SAFETY: `check_layout` found the exports of both sides compatible.
    let exports = unsafe { header.init_root_module_with_unchecked_layout::<ExportsRef>() }
        .map_err(|error| LoadError::Format(first_lines(&error.to_string())))?;
    Ok((exports, mapped))
}

/// Compares the types on both sides, in both directions: the check is made for libraries newer than their
/// user, and a host is the user of modules that may be older. Its state is thrown away, as the shared one
/// would keep references into libraries.
fn check_layout(header: &'static LibHeader) -> Result<(), LoadError> {
    let IsLayoutChecked::Yes(theirs) = header.root_mod_consts().layout() else {
        return Err(LoadError::Format("it carries no layout to check".to_owned()));
    };
    let ours = ExportsRef::LAYOUT;
    let compatible = |expected: &'static TypeLayout, found: &'static TypeLayout| {
        check_layout_compatibility_with_globals(expected, found, &CheckingGlobals::new())
    };
    match compatible(ours, theirs) {
        Ok(()) => Ok(()),
        Err(_) if compatible(theirs, ours).is_ok() => Ok(()),
        Err(error) => Err(LoadError::Layout(differences(&error.to_string()))),
    }
}

/// The lines of abi_stable's report that say what differs; the whole has more than a hundred.
fn differences(report: &str) -> String {
    let telling = ["Error:", "Expected:", "Found:"];
    let lines =
        report.lines().map(str::trim).filter(|line| telling.iter().any(|word| line.starts_with(word)));
    let told: Vec<&str> = lines.take(9).collect();
    if told.is_empty() { first_lines(report) } else { told.join(" ") }
}

fn first_lines(report: &str) -> String {
    report.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_panics_frames_the_librarys_own_are_kept_as_offsets_of_their_calls() {
        let check = |mapped: Option<Range<usize>>, addresses: Vec<usize>, expected: &[usize]| {
            let report = PanicReport { addresses, ..PanicReport::default() };
            assert_eq!(MappedAt::new(mapped.as_ref()).own_frames(report).addresses, expected);
        };
        check(Some(0x1000..0x2000), vec![0x1001, 0x0fff, 0x1fff, 0x2000, 0x1000], &[0, 0xffe]);
        check(Some(0x1000..0x2000), vec![0x1011; 100], &[0x10; MOST_FRAMES]);
        check(None, vec![0, 1, 0x1001], &[]);
    }
}
