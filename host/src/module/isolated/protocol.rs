//! What the host and a module's process say to each other: frames over one socket, each of a bounded size.
//!
//! A frame is its length (32 bits, little-endian), one byte for its kind, and fields: numbers little-endian,
//! text and bytes behind their length. The host reads what native code may have written over, so nothing here
//! panics, and memory is only taken for bytes that have arrived.

use std::borrow::Cow;
use std::collections::BTreeMap;

use plugin_api::Level;
use plugin_api::lend::{CallError, Fired, PanicReport};

use crate::module::library::LoadStep;
use crate::module::services::{MAX_BESIDE, MAX_PAYLOAD};

mod framing;

pub(super) use framing::{BadFrame, FrameReader, MAX_TEXT};
use framing::{FrameFields, as_text, bytes, clipped, frame, number, optional};

/// Raised with every change of what is said. Both sides are the same program, unless somebody mixed builds.
pub(super) const VERSION: u32 = 2;

/// Bytes of the largest frame that the host reads: a firing, with room for lengths and flags.
pub(super) const MAX_FRAME: usize = MAX_PAYLOAD + MAX_BESIDE + 64 * 1024;

/// Frames of a panic that cross, as offsets in the module's library: where that lies is for the process to know.
const MAX_ADDRESSES: usize = 256;

/// What the host says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ToChild<'a> {
    /// What to load.
    Hello {
        module: Cow<'a, str>,
        generation: u64,
        /// The path of the private copy.
        copy: Cow<'a, [u8]>,
        settings: Cow<'a, BTreeMap<String, String>>,
    },
    /// An event's JSON text, to be answered by [`FromChild::Ended`].
    Event(&'a str),
    /// The answer to [`FromChild::ResellerOf`].
    Reseller(Option<&'a str>),
    /// The module is to end, to be answered by [`FromChild::Bye`].
    Shutdown,
}

/// What the child says.
#[derive(Clone, Debug)]
pub(super) enum FromChild<'a> {
    /// The first word: its [`VERSION`]. This frame never changes.
    Speaks(u32),
    /// What loading has come to.
    Now(LoadStep),
    /// It is loaded; the documents of `init` and `bindings_and_responders`.
    Loaded { metadata: Cow<'a, str>, wants: Cow<'a, str> },
    /// It cannot be loaded.
    Refused(Cow<'a, str>),
    /// The module logs.
    Log(Level, Cow<'a, str>),
    /// The module asks, and waits.
    ResellerOf(Cow<'a, str>),
    /// The module fires.
    Fired(Fired<'a>),
    /// The event in hand is answered.
    Ended(Result<(), CallError>),
    /// The module has ended.
    Bye,
    /// Whatever was answered has been sent by now, and the call in hand has taken so many milliseconds.
    Here(u64),
}

impl ToChild<'_> {
    /// Writes it behind what is in `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            ToChild::Hello { module, generation, copy, settings } => frame(out, 1, |out| {
                bytes(out, module.as_bytes());
                out.extend(generation.to_le_bytes());
                bytes(out, copy);
                number(out, settings.len());
                for (name, value) in settings.iter() {
                    bytes(out, name.as_bytes());
                    bytes(out, value.as_bytes());
                }
            }),
            ToChild::Event(text) => frame(out, 2, |out| out.extend(text.as_bytes())),
            ToChild::Reseller(reseller) => frame(out, 3, |out| optional(out, *reseller)),
            ToChild::Shutdown => frame(out, 4, |_| {}),
        }
    }
}

impl<'a> ToChild<'a> {
    /// Reads a frame without its length.
    pub(super) fn read(frame: &'a [u8]) -> Result<Self, BadFrame> {
        let mut fields = FrameFields::of(frame)?;
        match fields.kind {
            1 => {
                let module = fields.text()?.into();
                let generation = fields.long()?;
                let copy = fields.bytes()?.into();
                let mut settings = BTreeMap::new();
                for _ in 0..fields.number()? {
                    settings.insert(fields.text()?.to_owned(), fields.text()?.to_owned());
                }
                Ok(ToChild::Hello { module, generation, copy, settings: Cow::Owned(settings) })
            }
            2 => Ok(ToChild::Event(as_text(fields.rest)?)),
            3 => Ok(ToChild::Reseller(fields.optional()?)),
            4 => Ok(ToChild::Shutdown),
            other => Err(unknown(other)),
        }
    }
}

impl FromChild<'_> {
    /// Writes it behind what is in `out`. Text that is too long is cut, as the host reads no more.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            FromChild::Speaks(version) => frame(out, 1, |out| out.extend(version.to_le_bytes())),
            FromChild::Now(LoadStep::Open) => frame(out, 2, |out| out.push(0)),
            FromChild::Now(LoadStep::Init) => frame(out, 2, |out| out.push(1)),
            FromChild::Now(LoadStep::Wants) => frame(out, 2, |out| out.push(2)),
            FromChild::Loaded { metadata, wants } => frame(out, 3, |out| {
                bytes(out, metadata.as_bytes());
                bytes(out, wants.as_bytes());
            }),
            FromChild::Refused(text) => frame(out, 4, |out| bytes(out, clipped(text))),
            FromChild::Log(level, text) => frame(out, 5, |out| {
                out.push(*level as u8);
                bytes(out, clipped(text));
            }),
            FromChild::ResellerOf(account) => frame(out, 6, |out| bytes(out, clipped(account))),
            FromChild::Fired(fired) => frame(out, 7, |out| write_fired(out, fired)),
            FromChild::Ended(result) => frame(out, 8, |out| write_ended(out, result)),
            FromChild::Bye => frame(out, 9, |_| {}),
            FromChild::Here(ms) => frame(out, 10, |out| out.extend(ms.to_le_bytes())),
        }
    }
}

impl<'a> FromChild<'a> {
    /// Reads a frame without its length.
    pub(super) fn read(frame: &'a [u8]) -> Result<Self, BadFrame> {
        let mut fields = FrameFields::of(frame)?;
        match fields.kind {
            1 => fields.number().map(FromChild::Speaks),
            2 => match fields.byte()? {
                0 => Ok(FromChild::Now(LoadStep::Open)),
                1 => Ok(FromChild::Now(LoadStep::Init)),
                2 => Ok(FromChild::Now(LoadStep::Wants)),
                other => Err(BadFrame(format!("the unknown step {other}"))),
            },
            3 => Ok(FromChild::Loaded { metadata: fields.text()?.into(), wants: fields.text()?.into() }),
            4 => Ok(FromChild::Refused(fields.text()?.into())),
            5 => Ok(FromChild::Log(level(fields.byte()?), fields.text()?.into())),
            6 => Ok(FromChild::ResellerOf(fields.text()?.into())),
            7 => read_fired(&mut fields).map(FromChild::Fired),
            8 => read_ended(&mut fields).map(FromChild::Ended),
            9 => Ok(FromChild::Bye),
            10 => fields.long().map(FromChild::Here),
            other => Err(unknown(other)),
        }
    }
}

fn unknown(kind: u8) -> BadFrame {
    BadFrame(format!("a frame of the unknown kind {kind}"))
}

fn level(number: u8) -> Level {
    match number {
        1 => Level::Error,
        2 => Level::Warn,
        3 => Level::Info,
        4 => Level::Debug,
        _ => Level::Trace,
    }
}

fn write_fired(out: &mut Vec<u8>, fired: &Fired<'_>) {
    bytes(out, fired.hook_event.as_bytes());
    bytes(out, fired.account.as_bytes());
    out.push(u8::from(fired.internal_leg));
    number(out, fired.filters.len());
    for (key, value) in &fired.filters {
        bytes(out, key.as_bytes());
        optional(out, value.as_deref());
    }
    match fired.hook {
        Some(hook) => {
            out.push(1);
            bytes(out, hook);
        }
        None => out.push(0),
    }
    out.extend(fired.payload);
}

fn read_fired<'a>(fields: &mut FrameFields<'a>) -> Result<Fired<'a>, BadFrame> {
    let hook_event = fields.text()?.into();
    let account = fields.text()?.into();
    let internal_leg = fields.byte()? != 0;
    let mut filters = Vec::new();
    for _ in 0..fields.number()? {
        filters.push((fields.text()?.to_owned(), fields.optional()?.map(str::to_owned)));
    }
    let hook = match fields.byte()? {
        0 => None,
        _ => Some(fields.bytes()?),
    };
    Ok(Fired { hook_event, account, internal_leg, filters, hook, payload: fields.rest })
}

fn write_ended(out: &mut Vec<u8>, result: &Result<(), CallError>) {
    match result {
        Ok(()) => out.push(0),
        Err(CallError::Error(text)) => {
            out.push(1);
            bytes(out, clipped(text));
        }
        Err(CallError::Panicked(report)) => {
            out.push(2);
            bytes(out, clipped(&report.message));
            bytes(out, clipped(&report.place));
            let addresses = &report.addresses[..report.addresses.len().min(MAX_ADDRESSES)];
            number(out, addresses.len());
            for address in addresses {
                out.extend((*address as u64).to_le_bytes());
            }
        }
        Err(CallError::Protocol(text)) => {
            out.push(3);
            bytes(out, clipped(text));
        }
    }
}

fn read_ended(fields: &mut FrameFields<'_>) -> Result<Result<(), CallError>, BadFrame> {
    match fields.byte()? {
        0 => Ok(Ok(())),
        1 => Ok(Err(CallError::Error(fields.text()?.to_owned()))),
        2 => {
            let (message, place) = (fields.text()?.to_owned(), fields.text()?.to_owned());
            let mut addresses = Vec::new();
            let count = fields.number()?;
            if count as usize > MAX_ADDRESSES {
                return Err(BadFrame(format!("a panic with {count} frames; the limit is {MAX_ADDRESSES}")));
            }
            for _ in 0..count {
                addresses.push(usize::try_from(fields.long()?).unwrap_or(usize::MAX));
            }
            Ok(Err(CallError::Panicked(PanicReport { message, place, addresses })))
        }
        3 => Ok(Err(CallError::Protocol(fields.text()?.to_owned()))),
        other => Err(BadFrame(format!("a call that ended in the unknown way {other}"))),
    }
}

#[cfg(test)]
mod tests;
