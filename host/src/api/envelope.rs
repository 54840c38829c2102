//! The shape of every answer: Crossbar's envelope, put around what a route says, also when it fails or panics.

use std::convert::Infallible;
use std::marker::PhantomData;
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
use serde::Serialize;
use serde_json::{Map, Value, json};
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

/// Bytes of a request's path and query.
const URI_BYTES: usize = 8 << 10;

const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_HEADER);

/// What a route says with success: data of the shape `T`. The envelope goes around it; [`wrap`] writes both.
#[derive(Debug)]
pub(super) struct Reply<T, const STATUS: u16 = 200> {
    said: ResponseBody,
    shape: PhantomData<fn() -> T>,
}

/// What most routes answer.
pub(super) type Answer<T, const STATUS: u16 = 200> = Result<Reply<T, STATUS>, Failure>;

/// An array that is shown whole.
pub(super) struct ListBody<T>(PhantomData<fn() -> T>);

/// One page of a longer array.
pub(super) struct PagedData<T>(PhantomData<fn() -> T>);

/// An answer without an envelope: a file, figures, a page. Its route describes it.
pub(super) struct RawResponse(pub(super) Response);

impl IntoResponse for RawResponse {
    fn into_response(self) -> Response {
        self.0
    }
}

/// A reply on its way to the envelope.
#[derive(Debug, Default)]
pub(super) struct ResponseBody {
    /// JSON, written once.
    data: String,
    /// Fields of the envelope beside `data`.
    beside: Map<String, Value>,
    pub(super) location: Option<String>,
}

impl<T, const STATUS: u16> Reply<T, STATUS> {
    /// Of data that is JSON already: documents, which have whatever fields their owners gave them.
    pub(super) fn raw(data: impl Into<Value>) -> Self {
        Self::text(data.into().to_string())
    }

    /// Of data that is written already.
    fn text(data: String) -> Self {
        Self { said: ResponseBody { data, ..ResponseBody::default() }, shape: PhantomData }
    }

    pub(super) fn beside(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.said.beside.insert(key.to_owned(), value.into());
        self
    }

    pub(super) fn beside_some(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.beside(key, value),
            None => self,
        }
    }

    /// Says where what was made can be found.
    pub(super) fn at(mut self, location: &str) -> Self {
        self.said.location = Some(location.to_owned());
        self
    }

    /// Names the document's revision, in place of a digest of the data.
    pub(super) fn revision(self, doc: &crate::model::Document) -> Self {
        self.beside_some("revision", doc.get("_rev").cloned())
    }
}

impl<T: Serialize, const STATUS: u16> Reply<T, STATUS> {
    pub(super) fn of(data: &T) -> Self {
        Self::text(written(data))
    }
}

impl<T: Serialize, const STATUS: u16> Reply<ListBody<T>, STATUS> {
    pub(super) fn many(items: &[T]) -> Self {
        Self::text(written(&items))
    }
}

impl<T: Serialize> Reply<PagedData<T>> {
    /// A page, where it began, and where the next one begins.
    pub(super) fn page(items: &[T], start: Option<String>, next: Option<String>) -> Self {
        Self::paged(written(&items), items.len(), start, next)
    }
}

impl<T> Reply<PagedData<T>> {
    /// A page of items that are written already.
    pub(super) fn documents(items: &[String], start: Option<String>, next: Option<String>) -> Self {
        Self::paged(format!("[{}]", items.join(",")), items.len(), start, next)
    }

    fn paged(items: String, size: usize, start: Option<String>, next: Option<String>) -> Self {
        let reply = Self::text(items).beside("page_size", size);
        reply.beside_some("start_key", start).beside_some("next_start_key", next)
    }
}

/// Nothing that is answered has a key that is no text or a writer that fails.
fn written(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned())
}

impl<T, const STATUS: u16> IntoResponse for Reply<T, STATUS> {
    /// The body is written by [`wrap`], which knows the request.
    fn into_response(self) -> Response {
        let mut response = StatusCode::from_u16(STATUS).unwrap_or_default().into_response();
        response.extensions_mut().insert(Arc::new(self.said));
        response
    }
}

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
    let (mut data, mut fields) = if let Some(reply) = parts.extensions.remove::<Arc<ResponseBody>>() {
        if let Some(location) = reply.location.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            parts.headers.insert(header::LOCATION, location);
        }
        match success(reply).await {
            Ok(said) => said,
            Err(failure) => {
                parts.status = failure.status;
                failed(&failure)
            }
        }
    } else if let Some(failure) = parts.extensions.remove::<Arc<Failure>>() {
        failed(&failure)
    } else if parts.status.is_client_error() || parts.status.is_server_error() {
        // Nobody of ours answered: the framework refused the request.
        failed(&Failure::of_framework(parts.status))
    } else {
        // A page, metrics or a stream: not for an envelope.
        return Response::from_parts(parts, body);
    };
    // Who changed something is told so, whatever there is: to be refused afterwards would be a lie.
    if data.len() > SMALL_ANSWER && frame.reads_only {
        match memory_for_answer(frame.room(api), data.len()) {
            Ok(memory) => {
                let body = enveloped(data, fields, frame, api);
                json_headers(&mut parts.headers);
                return Response::from_parts(
                    parts,
                    Body::new(HeldAnswer { left: body.into(), _memory: memory }),
                );
            }
            Err(failure) => {
                parts.status = failure.status;
                if let Some(seconds) = failure.retry_after_seconds {
                    parts.headers.insert(header::RETRY_AFTER, seconds.into());
                }
                (data, fields) = failed(&failure);
            }
        }
    }
    json_headers(&mut parts.headers);
    Response::from_parts(parts, Body::from(enveloped(data, fields, frame, api)))
}

fn json_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(header::CONTENT_LENGTH);
}

/// Data may be long; it is neither parsed nor copied more than this once. What stands beside it is never empty.
fn enveloped(data: String, mut fields: Map<String, Value>, frame: &EnvelopeFrame, api: &Api) -> String {
    frame.fill(&mut fields, api);
    let beside = Value::Object(fields).to_string();
    ["{\"data\":", &data, ",", beside.get(1..).unwrap_or_default()].concat()
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

/// Data as it is written, and the fields beside it.
async fn success(reply: Arc<ResponseBody>) -> Result<(String, Map<String, Value>), Failure> {
    let mut reply = Arc::into_inner(reply).unwrap_or_default();
    let mut fields = Map::new();
    fields.insert("status".to_owned(), "success".into());
    fields.append(&mut reply.beside);
    if !fields.contains_key("revision") {
        let data = std::mem::take(&mut reply.data);
        let (data, digest) = by_size(data.len(), move || (digest(&data), data)).await.map(|(a, b)| (b, a))?;
        reply.data = data;
        fields.insert("revision".to_owned(), digest.into());
    }
    Ok((reply.data, fields))
}

fn failed(failure: &Failure) -> (String, Map<String, Value>) {
    let mut fields = Map::new();
    fields.insert("status".to_owned(), "error".into());
    fields.insert("error".to_owned(), failure.status.as_u16().to_string().into());
    fields.insert("message".to_owned(), failure.message.clone().into());
    (failure.data.to_string(), fields)
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

    fn fill(&self, fields: &mut Map<String, Value>, api: &Api) {
        fields.insert("request_id".to_owned(), self.request_id.clone().into());
        fields.insert("timestamp".to_owned(), now().into());
        fields.insert("node".to_owned(), api.node.clone().into());
        if let ApiCaller::Known { token, .. } = &self.caller {
            fields.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
            // What a log-in answers is the new one.
            if self.of_crossbar {
                fields.entry("auth_token").or_insert_with(|| token.clone().into());
            }
            fields.insert("tokens".to_owned(), json!({"consumed": 0, "remaining": REMAINING}));
        }
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
