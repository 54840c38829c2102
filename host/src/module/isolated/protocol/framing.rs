//! How bytes become frames and their fields, and fields bytes. Nothing here panics, and memory is only taken for bytes
//! that have arrived.

use std::io::Read;
use std::ops::Range;

/// Bytes of a log line, an error or a panic's message that cross; the rest is cut off.
pub(in crate::module::isolated) const MAX_TEXT: usize = 16 * 1024;

/// Bytes that one read asks for at least.
pub(super) const CHUNK: usize = 64 * 1024;

/// Bytes of a buffer that are kept when it is empty.
pub(super) const KEPT: usize = 1024 * 1024;

/// What the other side said makes no sense; what about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::module::isolated) struct BadFrame(pub(in crate::module::isolated) String);

pub(super) fn frame(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0, 0, 0, 0, kind]);
    fill(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

pub(super) fn number(out: &mut Vec<u8>, number: usize) {
    out.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

pub(super) fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len());
    out.extend(bytes);
}

pub(super) fn optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    bytes(out, text.unwrap_or_default().as_bytes());
}

pub(super) fn clipped(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(MAX_TEXT)]
}

pub(super) fn as_text(bytes: &[u8]) -> Result<&str, BadFrame> {
    std::str::from_utf8(bytes).map_err(|_| BadFrame("text that is not UTF-8".to_owned()))
}

/// The fields of one frame, taken from its front.
pub(super) struct FrameFields<'a> {
    pub(super) kind: u8,
    pub(super) rest: &'a [u8],
}

impl<'a> FrameFields<'a> {
    pub(super) fn of(frame: &'a [u8]) -> Result<Self, BadFrame> {
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

    pub(super) fn byte(&mut self) -> Result<u8, BadFrame> {
        self.take(1).map(|byte| byte.first().copied().unwrap_or_default())
    }

    pub(super) fn number(&mut self) -> Result<u32, BadFrame> {
        self.take(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    pub(super) fn long(&mut self) -> Result<u64, BadFrame> {
        self.take(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], BadFrame> {
        let length = self.number()?;
        self.take(length as usize)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, BadFrame> {
        as_text(self.bytes()?)
    }

    pub(super) fn optional(&mut self) -> Result<Option<&'a str>, BadFrame> {
        let present = self.byte()? != 0;
        let text = self.text()?;
        Ok(present.then_some(text))
    }
}

/// Bytes that arrived, cut into frames.
#[derive(Debug)]
pub(in crate::module::isolated) struct FrameReader {
    pub(super) buffer: Vec<u8>,
    /// What has arrived and was not taken yet.
    filled: Range<usize>,
    most: usize,
}

impl FrameReader {
    /// An empty one that takes frames of up to `most` bytes.
    pub(in crate::module::isolated) fn new(most: usize) -> Self {
        FrameReader { buffer: vec![0; CHUNK], filled: 0..0, most }
    }

    /// Whether the next frame has arrived whole.
    pub(in crate::module::isolated) fn has_next(&self) -> bool {
        let arrived = self.buffer[self.filled.clone()].split_first_chunk::<4>();
        arrived.is_some_and(|(length, rest)| rest.len() >= u32::from_le_bytes(*length) as usize)
    }

    /// The place of the next whole frame, without its length; it is taken.
    pub(in crate::module::isolated) fn next(&mut self) -> Result<Option<Range<usize>>, BadFrame> {
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
    pub(in crate::module::isolated) fn frame(&self, place: Range<usize>) -> &[u8] {
        self.buffer.get(place).unwrap_or_default()
    }

    /// Reads once; 0 is the end.
    pub(in crate::module::isolated) fn fill(&mut self, from: &mut impl Read) -> std::io::Result<usize> {
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
