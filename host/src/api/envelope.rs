//! The shape of every answer: Crossbar's envelope, put around what a route says, also when it fails or panics.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use hyper::body::{Frame, SizeHint};
use sha2::{Digest as _, Sha256};
use time::format_description::well_known::Rfc3339;
use tracing::Instrument as _;

use super::Api;
use super::arriving::{BodyMemory, BodyRoom, memory_for_answer};
use super::caller::{self, ApiCaller};
use super::connections::ClientConnection;
use super::error::Failure;
use super::lingering::RestOfBody;
use super::offload::by_size;
use crate::trail::{REQUEST_HEADER, is_request_id};

mod parts;
mod reply;

pub(super) use parts::{AnswerEnvelope, FailureEnvelope, Paging, RequestShare, RequestWarning};
use parts::{ERROR, SUCCESS};
pub(super) use reply::{Answer, ListBody, PagedData, RawResponse, Reply, ResponseBody, written};

/// Bytes of a request's path and query.
const URI_BYTES: usize = 8 << 10;

const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_HEADER);

/// What clients that look for their share of requests are told. Crossbar counts requests against a bucket of this size;
/// here only wrong tokens cost anything.
const REMAINING: u32 = 100;

/// Answers of this length are not counted.
const SMALL_ANSWER: usize = 8 << 10;

/// How much of a long answer is handed over at once.
const PIECE: usize = 32 << 10;

/// What every envelope of one request says.
struct EnvelopeFrame {
    request_id: String,
    caller: ApiCaller,
    /// Whether the route is one of Crossbar's, whose envelope repeats the token.
    of_crossbar: bool,
    /// Whether the request changes nothing.
    reads_only: bool,
}

/// The id of a request, as an extension.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// Stands around all routes. Every log line of a request carries its id.
pub(super) async fn wrap(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let request_id = request_id(&request);
    // Of the highest level, so that no filter takes the id away from lines that it lets through.
    let span = tracing::error_span!("request", request = request_id);
    wrapped(&api, request_id, request, next).instrument(span).await
}

async fn wrapped(api: &Api, request_id: String, mut request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let from = caller::address_or_none(request.extensions());
    let caller = ApiCaller::of(caller::token(&request), from, &api.access).await;
    let frame = EnvelopeFrame {
        request_id: request_id.clone(),
        caller: caller.clone(),
        of_crossbar: path.starts_with("/v2/"),
        reads_only: method.is_safe(),
    };
    if let (Some(connection), ApiCaller::Known { .. }) =
        (request.extensions().get::<Arc<ClientConnection>>(), &caller)
    {
        connection.is_known();
    }
    if !matches!(caller, ApiCaller::Known { .. }) {
        api.strangers.turns.take().await;
    }
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(RequestId(request_id));
    let rest = RestOfBody::of(&mut request);

    let answered = if request.uri().path_and_query().is_some_and(|uri| uri.as_str().len() > URI_BYTES) {
        let sentence = format!("the path and the query of a request may have {URI_BYTES} bytes together");
        Failure::new(StatusCode::URI_TOO_LONG, "uri_too_long", sentence).into_response()
    } else if header_bytes(&request) > api.limits.header_bytes {
        Failure::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            format!("the headers of a request may have {} bytes", api.limits.header_bytes),
        )
        .into_response()
    } else {
        let run = crate::stall::timeout(
            api.limits.request_timeout,
            AssertUnwindSafe(next.run(request)).catch_unwind(),
        );
        match run.await {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => {
                tracing::error!(%method, path, error = panic_text(&*panic), "a route panicked");
                Failure::internal().into_response()
            }
            Err(_) => {
                tracing::warn!(%method, path, "a request took too long");
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the request took too long")
                    .into_response()
            }
        }
    };
    if answered.status().is_client_error() || answered.status().is_server_error() {
        rest.discard(api.limits.request_bytes).await;
    }
    let mut response = enclose(api, &frame, answered).await;
    if let Ok(id) = HeaderValue::from_str(&frame.request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    harden(response.headers_mut());
    response
}

/// Headers for browsers that were led here: nothing is kept, framed, guessed at or fetched. A page that needs more
/// says so itself.
fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

async fn enclose(api: &Api, frame: &EnvelopeFrame, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let said = if let Some(reply) = parts.extensions.remove::<Arc<ResponseBody>>() {
        if let Some(location) = reply.location.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            parts.headers.insert(header::LOCATION, location);
        }
        with_revision(Arc::into_inner(reply).unwrap_or_default()).await
    } else if let Some(failure) = parts.extensions.remove::<Arc<Failure>>() {
        Err(Arc::unwrap_or_clone(failure))
    } else if parts.status.is_client_error() || parts.status.is_server_error() {
        // Nobody of ours answered: the framework refused the request.
        Err(Failure::of_framework(parts.status))
    } else {
        // A page, metrics or a stream: not for an envelope.
        return Response::from_parts(parts, body);
    };
    let written = said.and_then(|(said, revision)| {
        let memory = frame.memory(api, said.data.len())?;
        Ok((frame.answered(said, revision, api), memory))
    });
    let (text, memory) = written.unwrap_or_else(|failure| {
        let (failure, text, memory) = frame.refused(failure, api);
        parts.status = failure.status;
        if let Some(seconds) = failure.retry_after_seconds {
            parts.headers.insert(header::RETRY_AFTER, seconds.into());
        }
        (text, memory)
    });
    json_headers(&mut parts.headers);
    let body = match memory {
        Some(memory) => Body::new(HeldAnswer { left: text.into(), _memory: memory }),
        None => Body::from(text),
    };
    Response::from_parts(parts, body)
}

fn json_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(header::CONTENT_LENGTH);
}

/// An answer that holds its memory until its client has taken nearly all of it.
struct HeldAnswer {
    left: Bytes,
    _memory: BodyMemory,
}

impl HttpBody for HeldAnswer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.left.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// What a route says, with its revision.
async fn with_revision(mut said: ResponseBody) -> Result<(ResponseBody, String), Failure> {
    if let Some(revision) = said.revision.take() {
        return Ok((said, revision));
    }
    let data = std::mem::take(&mut said.data);
    let (revision, data) = by_size(data.len(), move || (digest(&data), data)).await?;
    Ok((ResponseBody { data, ..said }, revision))
}

impl EnvelopeFrame {
    /// Where the memory for a long answer comes from.
    fn room<'a>(&self, api: &'a Api) -> BodyRoom<'a> {
        let (pool, answers) = (&api.memory.written, &api.strangers.answers);
        match self.caller.holder().map(|holder| &holder.account) {
            None => BodyRoom::part_of(pool, answers, ""),
            Some(None) => BodyRoom::of(pool),
            Some(Some(account)) => BodyRoom::part_of(pool, answers, account.as_str()),
        }
    }

    /// The memory that an answer of this length takes, where it is counted.
    fn memory(&self, api: &Api, bytes: usize) -> Result<Option<BodyMemory>, Failure> {
        // Who changed something is told so, whatever there is: to be refused afterwards would be a lie.
        if bytes <= SMALL_ANSWER || !self.reads_only {
            return Ok(None);
        }
        memory_for_answer(self.room(api), bytes).map(Some)
    }

    /// Data may be long; it is neither parsed nor copied more than this once. What stands beside it is never empty.
    fn answered(&self, said: ResponseBody, revision: String, api: &Api) -> String {
        let ResponseBody { data, auth_token, warnings, paging, more, .. } = said;
        let beside = written(&AnswerEnvelope {
            status: SUCCESS,
            request_id: &self.request_id,
            revision,
            node: &api.node,
            timestamp: now(),
            version: self.version(),
            // What a log-in answers is the new one.
            auth_token: auth_token.or_else(|| self.auth_token()),
            tokens: self.share(),
            warnings,
            paging,
            more,
        });
        ["{\"data\":", &data, ",", beside.get(1..).unwrap_or_default()].concat()
    }

    /// A failure as it is written, or that there is no memory for it.
    fn refused(&self, failure: Failure, api: &Api) -> (Failure, String, Option<BodyMemory>) {
        let text = self.failed(&failure, api);
        match self.memory(api, text.len()) {
            Ok(memory) => (failure, text, memory),
            Err(failure) => {
                let text = self.failed(&failure, api);
                (failure, text, None)
            }
        }
    }

    fn failed(&self, failure: &Failure, api: &Api) -> String {
        written(&FailureEnvelope {
            data: &failure.data,
            status: ERROR,
            error: failure.status.as_u16().to_string(),
            message: &failure.message,
            request_id: &self.request_id,
            node: &api.node,
            timestamp: now(),
            version: self.version(),
            auth_token: self.auth_token(),
            tokens: self.share(),
        })
    }

    fn token(&self) -> Option<&str> {
        match &self.caller {
            ApiCaller::Known { token, .. } => Some(token),
            ApiCaller::Anybody(_) | ApiCaller::Throttled { .. } => None,
        }
    }

    fn auth_token(&self) -> Option<String> {
        self.token().filter(|_| self.of_crossbar).map(str::to_owned)
    }

    fn version(&self) -> Option<&'static str> {
        self.token().map(|_| env!("CARGO_PKG_VERSION"))
    }

    fn share(&self) -> Option<RequestShare> {
        self.token().map(|_| RequestShare { consumed: 0, remaining: REMAINING })
    }
}

/// The client's own id when it is harmless to repeat, else a new one.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    given.filter(|id| is_request_id(id)).map_or_else(crate::hooks::editor::fields::new_id, str::to_owned)
}

fn header_bytes(request: &Request) -> usize {
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

fn digest(data: &str) -> String {
    Sha256::digest(data).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> String {
    let now = crate::clock::now();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
