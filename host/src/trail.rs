//! What follows an event from where it is taken to each try at an endpoint: the id of the request that brought it,
//! which its log lines carry, and its trace, which a collector is told of.
//!
//! Without a collector there are no spans but that of the request, and nothing here takes memory.

mod traceparent;

use std::sync::Arc;

use opentelemetry::trace::{Status, TraceContextExt as _};
use opentelemetry::{Context, Value};
use tracing::{Level, Metadata, Span, error_span, trace_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub use traceparent::TraceParent;

/// Where an event comes from, as far as it is known. It is kept with what the event causes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The id of the request that brought it.
    pub request: Option<Arc<str>>,
    /// The span of its trace that others go on from.
    pub trace: Option<TraceParent>,
}

/// The header of messages, on the bus as over HTTP, that names a request.
pub const REQUEST_HEADER: &str = "x-request-id";

/// The header of messages that carries a trace on (W3C Trace Context).
pub const TRACE_HEADER: &str = "traceparent";

impl Origin {
    /// What the headers of a message say, each as it came.
    #[must_use]
    pub fn of_headers(request: Option<&str>, trace: Option<&str>) -> Self {
        Origin {
            request: request.filter(|id| is_request_id(id)).map(Arc::from),
            trace: trace.and_then(TraceParent::parse),
        }
    }

    /// The span in which log lines name it. Of the highest level, so that no filter takes the ids away from lines that
    /// it lets through.
    fn lines(&self) -> Span {
        let trace = self.trace.map(|trace| tracing::field::display(trace.trace()));
        match (&self.request, trace) {
            (None, None) => Span::none(),
            (Some(request), None) => error_span!(parent: None, "request", request = &**request),
            (None, Some(trace)) => error_span!(parent: None, "event", %trace),
            (Some(request), Some(trace)) => {
                error_span!(parent: None, "event", request = &**request, %trace)
            }
        }
    }
}

/// Whether a stranger's id of a request is harmless to repeat, in log lines and answers.
#[must_use]
pub fn is_request_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// What log lines and spans about an event have in common.
#[derive(Clone, Debug)]
pub struct EventContext {
    /// In which its log lines stand.
    lines: Span,
    /// What a collector is told of it.
    told: Span,
    origin: Origin,
}

impl Default for EventContext {
    fn default() -> Self {
        EventContext { lines: Span::none(), told: Span::none(), origin: Origin::default() }
    }
}

impl EventContext {
    /// Of an event that is taken now. With a collector its span begins, and ends when the last clone is dropped.
    ///
    /// To be called where the span of its request is entered, if there is one.
    #[must_use]
    pub fn begin(origin: Origin) -> Self {
        if is_told() {
            let told = trace_span!(parent: None, "event", otel.kind = "consumer");
            if let Some(trace) = begun(&told, origin.trace) {
                let origin = Origin { trace: Some(trace), ..origin };
                origin.request.iter().for_each(|id| told.set_attribute("hookline.request", id.to_string()));
                return EventContext { lines: origin.lines(), told, origin };
            }
        }
        let origin = Origin { trace: None, ..origin };
        match Span::current() {
            _ if origin.request.is_none() => EventContext::default(),
            current if current.is_disabled() => {
                EventContext { lines: origin.lines(), told: Span::none(), origin }
            }
            current => EventContext { lines: current, told: Span::none(), origin },
        }
    }

    /// Of a delivery that comes from the store.
    #[must_use]
    pub fn resumed(origin: Origin) -> Self {
        EventContext { lines: origin.lines(), told: Span::none(), origin }
    }

    /// Of the deliveries that the event causes: its span does not wait for their tries.
    #[must_use]
    pub fn of_deliveries(&self) -> Self {
        EventContext { told: Span::none(), ..self.clone() }
    }

    /// What is kept with deliveries.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// In which its log lines stand.
    #[must_use]
    pub fn lines(&self) -> &Span {
        &self.lines
    }

    /// Says which event it is.
    pub fn is_of(&self, category: &str, name: &str) {
        if self.is_traced() {
            self.told.set_attribute("hookline.category", category.to_owned());
            self.told.set_attribute("hookline.event", name.to_owned());
        }
    }

    /// The event failed.
    pub fn failed(&self) {
        if self.is_traced() {
            self.told.set_status(Status::error(""));
        }
    }

    /// A module is asked about the event. Nothing where nobody is told of it.
    #[must_use]
    pub fn asks(&self, module: &str) -> Option<ChildSpan> {
        let step = self.is_traced().then(|| ChildSpan(trace_span!(parent: &self.told, "module")))?;
        step.says("hookline.module", module.to_owned());
        Some(step)
    }

    /// What the event causes is made durable. Nothing where nobody is told of it.
    #[must_use]
    pub fn commits(&self) -> Option<ChildSpan> {
        self.is_traced().then(|| ChildSpan(trace_span!(parent: &self.told, "store")))
    }

    /// A try at an endpoint. Nothing where nobody is told of it.
    #[must_use]
    pub fn tries(&self) -> Option<ChildSpan> {
        if !self.is_traced() || !is_told() {
            return None;
        }
        let told = trace_span!(parent: None, "delivery", otel.kind = "client");
        begun(&told, self.origin.trace).map(|_| ChildSpan(told))
    }

    fn is_traced(&self) -> bool {
        self.origin.trace.is_some()
    }
}

/// Something done for an event, as a collector is told of it. It ends when it is dropped.
#[derive(Debug)]
pub struct ChildSpan(Span);

impl ChildSpan {
    /// Says something about it.
    pub fn says(&self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(key, value);
    }

    /// It failed. Words would have to be looked through for secrets, so there are none.
    pub fn failed(&self) {
        self.0.set_status(Status::error(""));
    }
}

/// Begins a span below what it goes on from; answers where that is, unless it is not kept.
fn begun(told: &Span, parent: Option<TraceParent>) -> Option<TraceParent> {
    if let Some(parent) = parent {
        told.set_parent(Context::new().with_remote_span_context(parent.context())).ok()?;
    }
    TraceParent::of(told.context().span().span_context())
}

/// Whether anybody is told of spans. Logging at the finest level looks like it; then spans are begun for nothing.
fn is_told() -> bool {
    tracing::span_enabled!(Level::TRACE)
}

/// Whether it is one of the spans that a collector is told of.
pub(crate) fn is_for_collectors(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == module_path!() && *metadata.level() == Level::TRACE
}
