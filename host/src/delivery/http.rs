//! One exchange of HTTP: over a kept connection or a new one, by HTTP/1 or HTTP/2, with a clock for each part, and sent
//! again at once where nobody can have answered.
//!
//! A pooled client such as reqwest's does not say over which connection a request went, whether a byte of an answer
//! came, how many streams a connection takes, or who else waits for one; all of that decides here what an endpoint is
//! blamed for. So this stands on hyper's connections itself.

mod dial;
mod failure;
mod message;
mod one;
mod pool;
mod race;
mod streams;
pub mod trouble;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;
use url::Url;

use super::resolve::NameResolver;
use super::sending_thread::SendingThread;
use crate::attempts::trace::{AttemptClass, ExchangeTrace};
use crate::model::OutgoingRequest;
use crate::model::guard::Guard;
use crate::stall::{StallDeadline, StallMark, timeout};
use crate::trust::TrustStore;
pub(crate) use dial::refused;
use dial::{EndpointDialer, ProxyServer};
pub(crate) use failure::RequestFailure;
use failure::{LossKind, LostRequest, is_sent_again, words_of_message};
pub(crate) use message::wire_url;
use message::{EndpointOrigin, TargetForm, UnwritableRequest, written};
use one::OneByOne;
use pool::{ConnectionPool, DialTicket, FoundConnection, HttpConversation};
use streams::SharedConnection;
use trouble::LocalTrouble;

/// What a transport works within.
#[derive(Clone, Copy)]
pub(super) struct TransportBounds {
    /// For looking a name up; for a connection, TLS included; for a free stream. Each.
    pub(super) connect: Duration,
    /// From when a connection is there until the last byte of the answer.
    pub(super) answer: Duration,
    /// Bytes of an answer's body beyond which it is read no further.
    pub(super) body: usize,
    /// Connections open at once.
    pub(super) connections: usize,
}

/// Exchanges requests for answers.
pub(super) struct HttpTransport {
    bounds: TransportBounds,
    dialer: EndpointDialer,
    pool: Arc<ConnectionPool>,
    repeated: AtomicU64,
}

impl HttpTransport {
    /// # Errors
    /// The proxy's address is not one, or TLS cannot be set up.
    pub(super) fn new(
        bounds: TransportBounds,
        proxy: &str,
        trust: TrustStore,
        guard: Arc<Guard>,
        resolver: Arc<dyn NameResolver>,
    ) -> anyhow::Result<Self> {
        let proxy = match proxy {
            "" => None,
            proxy => {
                let parsed = Url::parse(proxy).ok().and_then(|url| ProxyServer::of(&url));
                let told = || anyhow!("delivery.proxy: {proxy:?} is not a proxy's address");
                Some(parsed.with_context(told)?)
            }
        };
        let dialer = EndpointDialer {
            resolver,
            guard,
            tls: Arc::new(trust.client(&[b"h2", b"http/1.1"])?),
            tls_to_proxy: Arc::new(trust.client(&[b"http/1.1"])?),
            trust,
            proxy,
            timeout: bounds.connect,
            worked: race::WorkedAddresses::default(),
        };
        let pool = ConnectionPool::new(bounds.connections);
        Ok(HttpTransport { bounds, dialer, pool, repeated: AtomicU64::new(0) })
    }

    /// Connections that are open, and of them those that wait for a request.
    pub(super) fn connections(&self) -> (usize, usize) {
        self.pool.counts()
    }

    /// How often a request was sent again at once.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Sends a request, on a thread that the caller is on; what comes back, and how long what took, is written into the trace. That there was an answer
    /// does not depend on its body.
    pub(super) async fn exchange(
        &self,
        request: &OutgoingRequest,
        url: &Url,
        thread: SendingThread,
        trace: &mut ExchangeTrace,
    ) -> Result<(), RequestFailure> {
        let mark = StallMark::now();
        let exchanged = self.exchange_at_any_time(request, url, thread, trace).await;
        exchanged.map_err(|failure| failure.excused_by(mark.stood_still()))
    }

    async fn exchange_at_any_time(
        &self,
        request: &OutgoingRequest,
        url: &Url,
        thread: SendingThread,
        trace: &mut ExchangeTrace,
    ) -> Result<(), RequestFailure> {
        let Some(origin) = EndpointOrigin::of(url, thread) else {
            return Err(RequestFailure::of(AttemptClass::Unsent, "only http:// and https:// can be spoken"));
        };
        let mut repeats = 0;
        loop {
            let conversation = self.connection(&origin, repeats > 0, trace).await?;
            let (lost, reused) = match conversation {
                HttpConversation::One(mut one) => {
                    let form = self.form(&origin);
                    let (asked, reused) = (writable(written(request, url, form))?, one.reused);
                    match self.over_one(&mut one, asked, trace).await {
                        Ok(whole) => {
                            if whole {
                                self.pool.keep(&origin, one);
                            }
                            return Ok(());
                        }
                        Err(lost) => (lost, reused),
                    }
                }
                HttpConversation::Stream(place) => {
                    let asked = writable(written(request, url, TargetForm::Stream))?;
                    match self.over_stream(&place.shared, place.reused, asked, trace).await {
                        Ok(()) => return Ok(()),
                        Err(lost) => (lost, place.reused),
                    }
                }
            };
            if !is_sent_again(lost.kind, reused, repeats) {
                let class =
                    if lost.kind == LossKind::Late { AttemptClass::Timeout } else { AttemptClass::Broken };
                return Err(RequestFailure::of(class, lost.told));
            }
            repeats += 1;
            trace.repeats = repeats;
            self.repeated.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn form(&self, origin: &EndpointOrigin) -> TargetForm<'_> {
        match &self.dialer.proxy {
            Some(proxy) if !origin.secure => TargetForm::Whole(proxy.login.as_ref()),
            _ => TargetForm::Path,
        }
    }

    /// Something to send a request over; with `fresh` nothing that was there before.
    async fn connection(
        &self,
        origin: &Arc<EndpointOrigin>,
        fresh: bool,
        trace: &mut ExchangeTrace,
    ) -> Result<HttpConversation, RequestFailure> {
        let mut waits = None;
        let begun = Instant::now();
        let within = StallDeadline::after(self.bounds.connect);
        loop {
            let changed = match self.pool.find(origin, fresh, waits.as_ref()) {
                FoundConnection::Kept(conversation) => {
                    if waits.is_some() {
                        trace.add_stream(begun.elapsed());
                    }
                    return Ok(conversation);
                }
                FoundConnection::Dial(ticket) => return self.dial(origin, ticket, trace).await,
                FoundConnection::Wait(changed) => changed,
            };
            waits.get_or_insert_with(|| self.pool.wait_at(origin));
            if timeout(within.left(), changed).await.is_err() {
                trace.add_stream(begun.elapsed());
                return Err(self.no_stream());
            }
        }
    }

    fn no_stream(&self) -> RequestFailure {
        let told = format!(
            "the endpoint took no further request on its connections (HTTP/2) within {} ms",
            self.bounds.connect.as_millis()
        );
        RequestFailure::of(AttemptClass::Stream, told)
    }

    async fn dial(
        &self,
        origin: &Arc<EndpointOrigin>,
        ticket: DialTicket,
        trace: &mut ExchangeTrace,
    ) -> Result<HttpConversation, RequestFailure> {
        let Ok(Some(place)) = timeout(self.bounds.connect, self.pool.open_place()).await else {
            let told = "as many connections are open as may be, and none has become free";
            return Err(RequestFailure::local(LocalTrouble::Descriptors, told));
        };
        let spare = || self.pool.spare_place();
        let dialed = self.dialer.dial(origin, &spare, trace).await?;
        let peer = Some(dialed.peer);
        let unspoken =
            |error: hyper::Error| RequestFailure::of(AttemptClass::Broken, words_of_message(&error));
        if !dialed.streams {
            self.pool.speaks_one(origin);
            return Ok(HttpConversation::One(
                OneByOne::over(dialed.io, peer, place).await.map_err(unspoken)?,
            ));
        }
        let (tasks, changed) = (&self.pool.tasks, Arc::clone(&ticket.changed));
        let quiet = self.bounds.answer / 4;
        let shared = SharedConnection::over(dialed.io, peer, place, tasks, quiet, changed);
        let shared = shared.await.map_err(unspoken)?;
        let begun = Instant::now();
        shared.introduced().await;
        let takes_one = async {
            loop {
                let changed = shared.changed.notified();
                if shared.streams() > 0 || shared.is_over() {
                    return;
                }
                changed.await;
            }
        };
        let taken = timeout(self.bounds.connect, takes_one).await;
        trace.add_stream(begun.elapsed());
        taken.map_err(|_| self.no_stream())?;
        Ok(HttpConversation::Stream(self.pool.share(origin, shared)))
    }

    /// Answers whether the connection is as it was before.
    async fn over_one(
        &self,
        one: &mut OneByOne,
        asked: Request<Full<Bytes>>,
        trace: &mut ExchangeTrace,
    ) -> Result<bool, LostRequest> {
        let before = one.count.read();
        let peer = one.peer;
        let exchanged = timeout(self.bounds.answer, async {
            let answer = match one.ask(asked).await {
                Ok(answer) => answer,
                Err(error) => {
                    let lost = LostRequest::of(&error, &one.count, one.count.read() > before);
                    // What is odd is the rest of the head; the status stands in its first line.
                    return match one.count.status() {
                        Some(status) if error.is_parse() => {
                            trace.answered_oddly(status, peer, &lost.told);
                            Ok(false)
                        }
                        _ => Err(lost),
                    };
                }
            };
            let mut body = trace.answered(answer, peer);
            Ok(self.read_body(&mut body, |context| one.drive(context), trace).await)
        });
        match exchanged.await {
            Ok(ended) => ended,
            Err(_) => self.late(trace).map(|()| false),
        }
    }

    async fn over_stream(
        &self,
        shared: &SharedConnection,
        reused: bool,
        asked: Request<Full<Bytes>>,
        trace: &mut ExchangeTrace,
    ) -> Result<(), LostRequest> {
        let before = shared.count.read();
        let exchanged = timeout(self.bounds.answer, async {
            let answer = self.head_of_stream(shared, reused, asked, before).await?;
            let mut body = trace.answered(answer, shared.peer);
            self.read_body(&mut body, |_| shared.progressed(), trace).await;
            Ok(())
        });
        match exchanged.await {
            Ok(ended) => ended,
            Err(_) => {
                if shared.count.read() == before {
                    shared.retire();
                }
                self.late(trace)
            }
        }
    }

    async fn head_of_stream(
        &self,
        shared: &SharedConnection,
        reused: bool,
        asked: Request<Full<Bytes>>,
        before: u64,
    ) -> Result<Response<Incoming>, LostRequest> {
        let mut asking = std::pin::pin!(shared.ask(asked));
        // A ping went out long before. Who answers nothing at all is not there any more.
        let patience = if reused { self.bounds.answer.mul_f64(0.75) } else { self.bounds.answer * 2 };
        let answered = match timeout(patience, &mut asking).await {
            Err(_) if shared.count.read() == before => {
                shared.retire();
                let told = "nothing comes over the connection any more".to_owned();
                return Err(LostRequest { kind: LossKind::Silent, told });
            }
            Err(_) => asking.await,
            Ok(answered) => answered,
        };
        answered.map_err(|error| {
            let lost = LostRequest::of(&error, &shared.count, false);
            if lost.kind != LossKind::Broken {
                shared.retire();
            }
            lost
        })
    }

    /// The time is over. Where a head has come that was the answer, and only the rest of its body is missing.
    fn late(&self, trace: &mut ExchangeTrace) -> Result<(), LostRequest> {
        let limit = self.bounds.answer.as_millis();
        if trace.status.is_some() {
            trace.body_lost = Some(format!("it was not complete within {limit} ms"));
            return Ok(());
        }
        let told = format!("no answer within {limit} ms");
        Err(LostRequest { kind: LossKind::Late, told })
    }

    /// Reads the body to its end, so that the connection can be used again, or to the limit; answers whether it was the
    /// end.
    async fn read_body(
        &self,
        body: &mut Incoming,
        mut drive: impl FnMut(&mut Context<'_>),
        trace: &mut ExchangeTrace,
    ) -> bool {
        loop {
            let frame = std::future::poll_fn(|context| {
                drive(context);
                std::pin::Pin::new(&mut *body).poll_frame(context)
            });
            match frame.await {
                None => return true,
                Some(Ok(frame)) => {
                    // What is no data are trailers, which say nothing here.
                    let Ok(chunk) = frame.into_data() else { continue };
                    let room = self.bounds.body - trace.body.len();
                    trace.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() > room {
                        return false;
                    }
                }
                Some(Err(error)) => {
                    trace.body_lost = Some(words_of_message(&error));
                    return false;
                }
            }
        }
    }
}

fn writable(
    written: Result<Request<Full<Bytes>>, UnwritableRequest>,
) -> Result<Request<Full<Bytes>>, RequestFailure> {
    written.map_err(|unwritable| {
        let told = match unwritable {
            UnwritableRequest::Header(name) => format!("the header {name} cannot be sent"),
            UnwritableRequest::Address => {
                "its address cannot be sent: it is too long, or has characters that HTTP has not".to_owned()
            }
        };
        RequestFailure::of(AttemptClass::Unsent, told)
    })
}
