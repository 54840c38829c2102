//! What the host and a module's process say to each other: frames over one socket, each of a bounded size.
//!
//! A frame is its length (32 bits, little-endian), one byte for its kind, and fields: numbers little-endian,
//! text and bytes behind their length. The host reads what native code may have written over, so nothing here
//! panics, and memory is only taken for bytes that have arrived.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;

use plugin_api::Level;
use plugin_api::lend::{CallError, Fired, PanicReport};

use crate::module::generation::LoadStep;
use crate::module::services::{MAX_BESIDE, MAX_PAYLOAD};

/// Raised with every change of what is said. Both sides are the same program, unless somebody mixed builds.
pub(super) const VERSION: u32 = 1;

/// Bytes of the largest frame that the host reads: a firing, with room for lengths and flags.
pub(super) const MAX_FRAME: usize = MAX_PAYLOAD + MAX_BESIDE + 64 * 1024;

/// Bytes of a log line, an error or a panic's message that cross; the rest is cut off.
pub(super) const MAX_TEXT: usize = 16 * 1024;

/// Return addresses that cross.
const MAX_ADDRESSES: usize = 256;

/// Bytes that one read asks for at least.
const CHUNK: usize = 64 * 1024;

/// Bytes of a buffer that are kept when it is empty.
const KEPT: usize = 1024 * 1024;

/// What the other side said makes no sense; what about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadFrame(pub(super) String);

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
            for _ in 0..fields.number()? {
                addresses.push(usize::try_from(fields.long()?).unwrap_or(usize::MAX));
            }
            Ok(Err(CallError::Panicked(PanicReport { message, place, addresses })))
        }
        3 => Ok(Err(CallError::Protocol(fields.text()?.to_owned()))),
        other => Err(BadFrame(format!("a call that ended in the unknown way {other}"))),
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0, 0, 0, 0, kind]);
    fill(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

fn number(out: &mut Vec<u8>, number: usize) {
    out.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len());
    out.extend(bytes);
}

fn optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    bytes(out, text.unwrap_or_default().as_bytes());
}

fn clipped(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT)]
}

fn as_text(bytes: &[u8]) -> Result<&str, BadFrame> {
    std::str::from_utf8(bytes).map_err(|_| BadFrame("text that is not UTF-8".to_owned()))
}

/// The fields of one frame, taken from its front.
struct FrameFields<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> FrameFields<'a> {
    fn of(frame: &'a [u8]) -> Result<Self, BadFrame> {
        let (kind, rest) = frame.split_first().ok_or_else(|| BadFrame("an empty frame".to_owned()))?;
        Ok(FrameFields { kind: *kind, rest })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], BadFrame> {
        let (head, tail) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| BadFrame(format!("a frame of the kind {} that ends too early", self.kind)))?;
        self.rest = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, BadFrame> {
        self.take(1).map(|byte| byte.first().copied().unwrap_or_default())
    }

    fn number(&mut self) -> Result<u32, BadFrame> {
        self.take(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    fn long(&mut self) -> Result<u64, BadFrame> {
        self.take(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    fn bytes(&mut self) -> Result<&'a [u8], BadFrame> {
        let length = self.number()?;
        self.take(length as usize)
    }

    fn text(&mut self) -> Result<&'a str, BadFrame> {
        as_text(self.bytes()?)
    }

    fn optional(&mut self) -> Result<Option<&'a str>, BadFrame> {
        let present = self.byte()? != 0;
        let text = self.text()?;
        Ok(present.then_some(text))
    }
}

/// Bytes that arrived, cut into frames.
#[derive(Debug)]
pub(super) struct FrameReader {
    buffer: Vec<u8>,
    /// What has arrived and was not taken yet.
    filled: Range<usize>,
    most: usize,
}

impl FrameReader {
    /// An empty one that takes frames of up to `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        FrameReader { buffer: vec![0; CHUNK], filled: 0..0, most }
    }

    /// Whether the next frame has arrived whole.
    pub(super) fn has_next(&self) -> bool {
        let arrived = self.buffer[self.filled.clone()].split_first_chunk::<4>();
        arrived.is_some_and(|(length, rest)| rest.len() >= u32::from_le_bytes(*length) as usize)
    }

    /// The place of the next whole frame, without its length; it is taken.
    pub(super) fn next(&mut self) -> Result<Option<Range<usize>>, BadFrame> {
        let Some((length, rest)) = self.buffer[self.filled.clone()].split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.most {
            return Err(BadFrame(format!("a frame of {length} bytes; the limit is {}", self.most)));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.filled.start + 4;
        self.filled.start = start + length;
        Ok(Some(start..start + length))
    }

    /// The bytes of a frame whose place [`next`](Self::next) gave, until more is read.
    pub(super) fn frame(&self, place: Range<usize>) -> &[u8] {
        self.buffer.get(place).unwrap_or_default()
    }

    /// Reads once; 0 is the end.
    pub(super) fn fill(&mut self, from: &mut impl Read) -> std::io::Result<usize> {
        if self.filled.is_empty() {
            self.filled = 0..0;
            if self.buffer.len() > KEPT {
                self.buffer = vec![0; CHUNK];
            }
        } else if self.buffer.len() - self.filled.end < CHUNK / 2 {
            if self.filled.start > 0 {
                self.buffer.copy_within(self.filled.clone(), 0);
                self.filled = 0..self.filled.len();
            }
            if self.buffer.len() - self.filled.end < CHUNK / 2 {
                // Twice what has arrived, whatever was promised.
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        let read = from.read(&mut self.buffer[self.filled.end..])?;
        self.filled.end += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
