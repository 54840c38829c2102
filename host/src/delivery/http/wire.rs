//! The bytes of one connection, counted: whether anything of an answer has come, and that no more comes before it than
//! an answer's head may be long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What comes before the end of a head, interim answers included.
pub(super) const BEFORE_HEAD: u64 = 512 << 10;

/// Interim answers (1xx) before the final one.
const INTERIM: u64 = 256;

/// What is taken at once while a head is waited for: each may hold many interim answers, and others wait for the thread
/// meanwhile.
const AT_ONCE: usize = 16 << 10;

/// How much of a head is kept to find its status where it cannot be read in full.
const KEPT_HEAD: usize = 256 << 10;

/// Something that bytes come from and go to.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// What is known of the bytes of a connection; shared by who reads them and who judges.
#[derive(Debug, Default)]
pub(super) struct ByteCount {
    read: AtomicU64,
    allowed: AtomicU64,
    in_head: AtomicBool,
    interim: AtomicU64,
    flooded: AtomicBool,
    heard: AtomicBool,
    head: Mutex<Vec<u8>>,
}

impl ByteCount {
    /// Bytes that have come so far.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Whether the first byte has come since this was asked last; so it is said once.
    pub(super) fn is_first(&self) -> bool {
        self.read() > 0 && !self.heard.swap(true, Ordering::Relaxed)
    }

    /// So many more bytes may come from now on; with `in_head` a few at once.
    pub(super) fn allow(&self, more: u64, in_head: bool) {
        self.allowed.store(self.read().saturating_add(more), Ordering::Relaxed);
        self.in_head.store(in_head, Ordering::Relaxed);
        self.interim.store(0, Ordering::Relaxed);
        let mut head = self.head.lock();
        head.clear();
        head.shrink_to(AT_ONCE);
    }

    /// The status of the answer whose head has come, whatever else stands in that head.
    pub(super) fn status(&self) -> Option<u16> {
        status_of(&self.head.lock())
    }

    fn came(&self, bytes: &[u8]) {
        self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if self.in_head.load(Ordering::Relaxed) {
            let mut head = self.head.lock();
            let room = KEPT_HEAD.saturating_sub(head.len());
            head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// An interim answer has come.
    pub(super) fn interim(&self) {
        self.interim.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the connection was given up because of what came before a head.
    pub(super) fn flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    /// What may be taken now.
    fn room(&self) -> Option<usize> {
        let left = self.allowed.load(Ordering::Relaxed).saturating_sub(self.read());
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let within = left > 0 && self.interim.load(Ordering::Relaxed) <= INTERIM;
        if !within {
            self.flooded.store(true, Ordering::Relaxed);
            return None;
        }
        Some(if self.in_head.load(Ordering::Relaxed) { left.min(AT_ONCE) } else { left })
    }
}

/// The status of the first final answer (not 1xx) whose head is complete.
fn status_of(mut bytes: &[u8]) -> Option<u16> {
    loop {
        bytes = bytes.trim_ascii_start();
        let [minor, b' ', digits @ ..] = bytes.strip_prefix(b"HTTP/1.")? else { return None };
        let (digits, rest) = digits.split_at_checked(3)?;
        if !minor.is_ascii_digit() || !matches!(rest.first(), Some(b' ' | b'\r' | b'\n')) {
            return None;
        }
        let digits = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        let status: u16 = digits.parse().ok()?;
        let end = end_of_head(bytes)?;
        if !(100..200).contains(&status) {
            return Some(status);
        }
        bytes = bytes.get(end..)?;
    }
}

/// Behind the empty line that ends a head.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let mut end = 0;
    loop {
        let line = lines.next()?;
        end += line.len();
        if matches!(line, b"\n" | b"\r\n") {
            return Some(end);
        }
    }
}

/// A connection whose bytes are counted.
///
/// What cannot be written any more is not an error here: an endpoint may answer before it has read everything and go
/// away, and its answer is still to be read.
pub(super) struct CountedWire {
    inner: Box<dyn ByteStream>,
    count: Arc<ByteCount>,
    deaf: bool,
}

impl CountedWire {
    pub(super) fn new(inner: Box<dyn ByteStream>) -> (Self, Arc<ByteCount>) {
        let count = Arc::new(ByteCount::default());
        (CountedWire { inner, count: Arc::clone(&count), deaf: false }, count)
    }

    fn swallow(&mut self, written: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if is_gone(&error) => {
                self.deaf = true;
                Poll::Ready(Ok(length))
            }
            other => other,
        }
    }
}

/// Nobody reads what is written.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}

impl AsyncRead for CountedWire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(room) = self.count.room() else {
            return Poll::Ready(Err(io::Error::other("too much came before an answer")));
        };
        let before = buffer.filled().len();
        let polled = if room >= buffer.remaining() {
            Pin::new(&mut self.inner).poll_read(context, buffer)
        } else {
            let mut some = ReadBuf::new(buffer.initialize_unfilled_to(room));
            let polled = Pin::new(&mut self.inner).poll_read(context, &mut some);
            let read = some.filled().len();
            buffer.advance(read);
            polled
        };
        self.count.came(buffer.filled().get(before..).unwrap_or_default());
        polled
    }
}

impl AsyncWrite for CountedWire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.swallow(written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.swallow(written, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.inner).poll_flush(context).map_ok(|()| 0);
        self.swallow(flushed, 0).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_found_where_the_head_is_complete_whatever_else_it_says() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nbody", Some(200)),
            ("HTTP/1.0 200\r\ntransfer-encoding: chunked\r\n\r\n", Some(200)),
            ("HTTP/1.2 201 Made\n\n", Some(201)),
            ("\r\nHTTP/1.1 503 \u{1}\r\nx: a\0b\r\n\r\n", Some(503)),
            ("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 No\r\n\r\n", Some(204)),
            ("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nx: y\r\n", None),
            ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n", None),
            ("HTTP/1.1 2000 OK\r\n\r\n", None),
            ("HTTP/1.1 +20 OK\r\n\r\n", None),
            ("HTTP/2 200\r\n\r\n", None),
            ("220 mail.example ESMTP\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(status_of(head.as_bytes()), expected, "{head:?}");
        }
    }
}
