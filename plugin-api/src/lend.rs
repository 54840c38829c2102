//! The host's side of the boundary: lends services and an event to a module for one call.
//!
//! A panic of the host's own code in a call-back must not cross the module's frames, so each call-back catches
//! it and the call ends as [`CallError::Protocol`].

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use abi_stable::prefix_type::WithMetadata;
use abi_stable::staticref;
use abi_stable::std_types::{RSlice, RStr};

use crate::Level;
use crate::abi::{
    self, Ctx, Entry, EventRef, EventVt, EventVtRef, FiringHead, Found, HostRef, HostVt, HostVtRef, Status,
    kind,
};
use crate::index::{Index, Located};

/// What a host does for a module during a call.
pub trait HostServices {
    /// A log line.
    fn log(&self, level: Level, text: &str);
    /// Unix milliseconds.
    fn now_ms(&self) -> u64;
    /// A setting as JSON text.
    fn setting(&self, name: &str) -> Option<Cow<'_, str>>;
    /// The id of an account's reseller.
    fn reseller_of(&self, account: &str) -> Option<String>;
    /// A firing; what is wrong with it becomes the call's error.
    ///
    /// # Errors
    /// A message for the operator.
    fn fire(&self, fired: Fired<'_>) -> Result<(), String>;
}

/// A firing as the host receives it.
#[derive(Clone, Debug)]
pub struct Fired<'a> {
    /// Name of the hook event; empty with [`hook`](Fired::hook).
    pub hook_event: Cow<'a, str>,
    /// The event's account; empty with [`hook`](Fired::hook).
    pub account: Cow<'a, str>,
    /// The event belongs to an internal leg of a call.
    pub internal_leg: bool,
    /// Conditions on a hook's `custom_data`.
    pub filters: Vec<(String, Option<String>)>,
    /// The document of the one hook to fire at, where the event carries it.
    pub hook: Option<&'a [u8]>,
    /// A JSON object's text, not yet looked at.
    pub payload: &'a [u8],
}

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The module said so.
    Error(String),
    /// It panicked.
    Panicked(PanicReport),
    /// Either side broke the agreement.
    Protocol(String),
}

/// A panic inside a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanicReport {
    /// Its message.
    pub message: String,
    /// `file:line`.
    pub place: String,
    /// Return addresses, innermost first. A host may have made them offsets in the module's library.
    pub addresses: Vec<usize>,
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Error(text) => f.write_str(text),
            CallError::Panicked(report) => write!(f, "panicked at {}: {}", report.place, report.message),
            CallError::Protocol(text) => write!(f, "broke the module protocol: {text}"),
        }
    }
}

impl std::error::Error for CallError {}

/// One call into a module, from the host's side.
pub struct Call<'s> {
    services: &'s dyn HostServices,
    answer: RefCell<Answer>,
    /// Text lent to the module, kept until the call ends; boxed, so that it stays where it is.
    lent: RefCell<Vec<Box<str>>>,
    host_panicked: Cell<bool>,
}

#[derive(Default)]
struct Answer {
    document: Option<String>,
    error: Option<String>,
    refused: Option<String>,
    panic: Option<PanicReport>,
}

impl<'s> Call<'s> {
    /// A call that these services are lent to.
    #[must_use]
    pub fn new(services: &'s dyn HostServices) -> Self {
        Call {
            services,
            answer: RefCell::default(),
            lent: RefCell::default(),
            host_panicked: Cell::new(false),
        }
    }

    /// What the module is given.
    #[must_use]
    pub fn host(&self) -> HostRef<'_> {
        let pointer = std::ptr::from_ref(self).cast();
        HostRef { ctx: Ctx { pointer, call: PhantomData }, vt: HostVtRef(Vtables::HOST.as_prefix()) }
    }

    /// How it ended: the document of `init` and `bindings_and_responders`, or the error.
    ///
    /// # Errors
    /// The module failed, panicked, or fired something that the services refused.
    pub fn end(self, status: Status) -> Result<Option<String>, CallError> {
        let Answer { document, error, refused, panic } = self.answer.into_inner();
        if self.host_panicked.get() {
            return Err(CallError::Protocol("a service of the host panicked".to_owned()));
        }
        match status {
            Status::Ok => refused.map_or(Ok(document), |refused| Err(CallError::Protocol(refused))),
            Status::Error => {
                Err(CallError::Error(error.unwrap_or_else(|| "failed without a reason".to_owned())))
            }
            Status::Panicked => Err(CallError::Panicked(panic.unwrap_or_default())),
        }
    }

    fn serve<R>(&self, absent: R, serve: impl FnOnce() -> R) -> R {
        catch_unwind(AssertUnwindSafe(serve)).unwrap_or_else(|_| {
            self.host_panicked.set(true);
            absent
        })
    }

    fn lend(&self, text: String) -> RStr<'_> {
        let text: Box<str> = text.into_boxed_str();
        let pointer = std::ptr::from_ref::<str>(&text);
        self.lent.borrow_mut().push(text);
        // SAFETY: the box lives in `self.lent`, from which nothing is removed while `self` is borrowed, and
        // moving a box does not move its text.
        RStr::from_str(unsafe { &*pointer })
    }
}

fn call_of<'a>(ctx: Ctx<'a>) -> &'a Call<'a> {
    // SAFETY: a `Ctx` beside the host's vtable is only made by `Call::host`, whose lifetime it carries.
    unsafe { &*ctx.pointer.cast::<Call<'a>>() }
}

/// The text of what a module hands over, even where a hostile one broke the promise that it is UTF-8.
fn text(given: RStr<'_>) -> Cow<'_, str> {
    String::from_utf8_lossy(given.as_str().as_bytes())
}

struct Vtables;

impl Vtables {
    staticref! {const HOST: WithMetadata<HostVt> = WithMetadata::new(HostVt {
        log, now_ms, setting, put_document, put_error, put_panic, fire, reseller_of, fire_at,
    })}
    staticref! {const EVENT: WithMetadata<EventVt> = WithMetadata::new(EventVt { find, entry })}
}

extern "C" fn log<'b>(ctx: Ctx<'_>, level: u32, line: RStr<'b>) {
    let level = match level {
        1 => Level::Error,
        2 => Level::Warn,
        3 => Level::Info,
        4 => Level::Debug,
        _ => Level::Trace,
    };
    let call = call_of(ctx);
    call.serve((), || call.services.log(level, &text(line)));
}

extern "C" fn now_ms(ctx: Ctx<'_>) -> u64 {
    let call = call_of(ctx);
    call.serve(0, || call.services.now_ms())
}

extern "C" fn setting<'a, 'b>(ctx: Ctx<'a>, name: RStr<'b>) -> RStr<'a> {
    let call = call_of(ctx);
    call.serve(RStr::empty(), || match call.services.setting(&text(name)) {
        Some(Cow::Borrowed(value)) => value.into(),
        Some(Cow::Owned(value)) => call.lend(value),
        None => RStr::empty(),
    })
}

extern "C" fn reseller_of<'a, 'b>(ctx: Ctx<'a>, account: RStr<'b>) -> RStr<'a> {
    let call = call_of(ctx);
    call.serve(RStr::empty(), || match call.services.reseller_of(&text(account)) {
        Some(reseller) => call.lend(reseller),
        None => RStr::empty(),
    })
}

extern "C" fn put_document<'b>(ctx: Ctx<'_>, document: RStr<'b>) {
    let call = call_of(ctx);
    call.serve((), || call.answer.borrow_mut().document = Some(text(document).into_owned()));
}

extern "C" fn put_error<'b>(ctx: Ctx<'_>, error: RStr<'b>) {
    let call = call_of(ctx);
    call.serve((), || call.answer.borrow_mut().error = Some(text(error).into_owned()));
}

extern "C" fn put_panic<'b>(ctx: Ctx<'_>, message: RStr<'b>, place: RStr<'b>, addresses: RSlice<'b, usize>) {
    let call = call_of(ctx);
    call.serve((), || {
        let report = PanicReport {
            message: text(message).into_owned(),
            place: text(place).into_owned(),
            addresses: addresses.to_vec(),
        };
        call.answer.borrow_mut().panic = Some(report);
    });
}

extern "C" fn fire<'b>(ctx: Ctx<'_>, head: FiringHead<'b>, payload: RSlice<'b, u8>) {
    let filter = |filter: &abi::Filter<'b>| {
        let value = (filter.has_value != 0).then(|| text(filter.value).into_owned());
        (text(filter.key).into_owned(), value)
    };
    let call = call_of(ctx);
    call.serve((), || {
        deliver(
            call,
            Fired {
                hook_event: text(head.hook_event),
                account: text(head.account),
                internal_leg: head.flags & abi::INTERNAL_LEG != 0,
                filters: head.filters.iter().map(filter).collect(),
                hook: None,
                payload: payload.as_slice(),
            },
        );
    });
}

extern "C" fn fire_at<'b>(ctx: Ctx<'_>, hook: RSlice<'b, u8>, payload: RSlice<'b, u8>) {
    let call = call_of(ctx);
    call.serve((), || {
        deliver(
            call,
            Fired {
                hook_event: Cow::Borrowed(""),
                account: Cow::Borrowed(""),
                internal_leg: false,
                filters: Vec::new(),
                hook: Some(hook.as_slice()),
                payload: payload.as_slice(),
            },
        );
    });
}

fn deliver(call: &Call<'_>, fired: Fired<'_>) {
    if let Err(refused) = call.services.fire(fired) {
        call.answer.borrow_mut().refused.get_or_insert(refused);
    }
}

/// An event in the form in which it is lent.
pub struct LentEvent<'e> {
    /// The JSON text.
    pub text: &'e str,
    /// Its index.
    pub index: &'e Index,
    /// `Event-Category`.
    pub category: &'e str,
    /// `Event-Name`.
    pub name: &'e str,
}

impl LentEvent<'_> {
    /// What the module is given.
    #[must_use]
    pub fn event(&self) -> EventRef<'_> {
        let pointer = std::ptr::from_ref(self).cast();
        EventRef {
            ctx: Ctx { pointer, call: PhantomData },
            vt: EventVtRef(Vtables::EVENT.as_prefix()),
            category: self.category.into(),
            name: self.name.into(),
            json: RSlice::from_slice(self.text.as_bytes()),
        }
    }
}

fn event_of<'a>(ctx: Ctx<'a>) -> &'a LentEvent<'a> {
    // SAFETY: a `Ctx` beside the event's vtable is only made by `LentEvent::event`, whose lifetime it carries.
    unsafe { &*ctx.pointer.cast::<LentEvent<'a>>() }
}

const ABSENT: Found<'static> =
    Found { node: u32::MAX, kind: kind::ABSENT, raw: RStr::empty(), text: RStr::empty() };

fn found(at: Located<'_>) -> Found<'_> {
    Found { node: at.node, kind: at.kind, raw: at.raw.into(), text: at.text.into() }
}

// Look-ups have no code that can panic but for the allocator, and are on the hot path: no guard here.
extern "C" fn find<'a, 'b>(ctx: Ctx<'a>, node: u32, key: RStr<'b>) -> Found<'a> {
    let event = event_of(ctx);
    event.index.find(event.text, node, key.as_str()).map_or(ABSENT, found)
}

extern "C" fn entry<'a>(ctx: Ctx<'a>, node: u32, n: u32) -> Entry<'a> {
    let event = event_of(ctx);
    let absent = Entry { key: RStr::empty(), value: ABSENT };
    event.index.entry(event.text, node, n).map_or(absent, |at| Entry { key: at.key.into(), value: found(at) })
}
