//! Keeps a panic inside the module's own library and tells the host about it.
//!
//! A panic must not cross into the host: the two sides have different copies of the standard library. Only
//! raw return addresses are collected, as formatting a backtrace inside a module would map the debug
//! information of the whole process into the module's statics, once per generation.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
// A module links nothing that it can do without; the lock is held for a push and a remove.
#[allow(clippy::disallowed_types)]
use std::sync::{Mutex, Once, PoisonError};

use abi_stable::std_types::RSlice;

use crate::Error;
use crate::abi::{HostRef, Status};

struct Report {
    thread: usize,
    place: String,
    addresses: Vec<usize>,
}

#[allow(clippy::disallowed_types)]
static REPORTS: Mutex<Vec<Report>> = Mutex::new(Vec::new());

/// Replaces the panic hook of the module's own copy of the standard library.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(remember)));
}

fn remember(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
    let report = Report { thread: this_thread(), place, addresses: return_addresses() };
    let mut reports = REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
    reports.retain(|earlier| earlier.thread != report.thread);
    reports.push(report);
}

/// Runs the module's code; an error or a panic is told to the host.
pub(crate) fn guarded<R>(host: HostRef<'_>, run: impl FnOnce() -> Result<R, Error>) -> (Status, Option<R>) {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => (Status::Ok, Some(value)),
        Ok(Err(error)) => {
            (host.vt.put_error())(host.ctx, error.text().into());
            (Status::Error, None)
        }
        Err(payload) => {
            report_panic(host, payload);
            (Status::Panicked, None)
        }
    }
}

fn report_panic(host: HostRef<'_>, payload: Box<dyn Any + Send>) {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned());
    let thread = this_thread();
    let mut reports = REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let at = reports.iter().position(|report| report.thread == thread);
    let report = at.map(|at| reports.swap_remove(at));
    drop(reports);
    let (place, addresses) = report.map_or_else(Default::default, |report| (report.place, report.addresses));
    let addresses = RSlice::from_slice(&addresses);
    (host.vt.put_panic())(host.ctx, message.as_str().into(), place.as_str().into(), addresses);
    // The value of `panic_any` may panic once more when it is dropped.
    if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(again);
    }
}

/// Tells threads apart without `std::thread::current`, which would leave a key with the process that outlives
/// the library.
fn this_thread() -> usize {
    thread_local! { static MARK: u8 = const { 0 } }
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

type Frame = *mut c_void;

unsafe extern "C" {
    fn _Unwind_Backtrace(visit: extern "C" fn(Frame, *mut c_void) -> c_int, state: *mut c_void) -> c_int;
    fn _Unwind_GetIP(frame: Frame) -> usize;
}

const DEEPEST: usize = 64;

fn return_addresses() -> Vec<usize> {
    extern "C" fn visit(frame: Frame, state: *mut c_void) -> c_int {
        // SAFETY: `state` is the vector that `return_addresses` passed, borrowed by nobody else until
        // `_Unwind_Backtrace` returns.
        let addresses = unsafe { &mut *state.cast::<Vec<usize>>() };
        // SAFETY: the unwinder passes a valid frame to its callback.
        addresses.push(unsafe { _Unwind_GetIP(frame) });
        // Any value but 0 ends the walk.
        c_int::from(addresses.len() == DEEPEST)
    }
    let mut addresses: Vec<usize> = Vec::with_capacity(DEEPEST);
    let state = std::ptr::from_mut(&mut addresses).cast();
    // SAFETY: `visit` is called during this call only and takes `state` for the vector that it is.
    unsafe { _Unwind_Backtrace(visit, state) };
    addresses
}
