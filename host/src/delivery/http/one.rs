//! One connection of HTTP/1: a request at a time, driven by who asks, so that an idle one costs no task.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use super::wire::{BEFORE_HEAD, ByteCount, ByteStream, CountedWire};

/// Headers of an answer beyond which it is none.
const HEADERS: usize = 4096;

/// A connection that takes one request after the other.
pub(super) struct OneByOne {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<http1::Connection<TokioIo<CountedWire>, Full<Bytes>>>>,
    over: bool,
    pub(super) count: Arc<ByteCount>,
    /// The other end.
    pub(super) peer: Option<SocketAddr>,
    /// Whether it was made for an earlier request.
    pub(super) reused: bool,
    _place: OwnedSemaphorePermit,
}

impl OneByOne {
    /// Speaks HTTP/1 over these bytes. What endpoints write wrongly and clearly all the same is understood.
    pub(super) async fn over(
        io: Box<dyn ByteStream>,
        peer: Option<SocketAddr>,
        place: OwnedSemaphorePermit,
    ) -> hyper::Result<Self> {
        let (wire, count) = CountedWire::new(io);
        count.allow(BEFORE_HEAD, true);
        let (sender, driver) = http1::Builder::new()
            .max_headers(HEADERS)
            .ignore_invalid_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(TokioIo::new(wire))
            .await?;
        Ok(OneByOne {
            sender,
            driver: Box::pin(driver),
            over: false,
            count,
            peer,
            reused: false,
            _place: place,
        })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn ask(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.count.allow(BEFORE_HEAD, true);
        let count = Arc::clone(&self.count);
        hyper::ext::on_informational(&mut request, move |_| count.interim());
        let mut answer = std::pin::pin!(self.sender.send_request(request));
        let (driver, over) = (&mut self.driver, &mut self.over);
        let answer = std::future::poll_fn(|context| {
            drive(driver, over, context);
            answer.as_mut().poll(context)
        });
        let answer = answer.await;
        if answer.is_ok() {
            self.count.allow(u64::MAX, false);
        }
        answer
    }

    /// Moves bytes.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) {
        drive(&mut self.driver, &mut self.over, context);
    }

    /// Whether another request can be sent: the last one is over, and the other side has not gone.
    pub(super) fn is_ready(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.drive(&mut context);
        !self.over && matches!(self.sender.poll_ready(&mut context), Poll::Ready(Ok(())))
    }
}

fn drive(
    driver: &mut Pin<Box<http1::Connection<TokioIo<CountedWire>, Full<Bytes>>>>,
    over: &mut bool,
    context: &mut Context<'_>,
) {
    // Its error reaches the request.
    *over = *over || driver.as_mut().poll(context).is_ready();
}
