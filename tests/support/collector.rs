//! A collector of traces that keeps what it is told.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;

use super::{Receiver, Request};

/// A server on a free port that takes OTLP over HTTP; stopped when dropped.
pub struct Collector(Receiver);

/// One span that it was told of. Ids are hexadecimal.
#[derive(Clone, Debug)]
pub struct Span {
    /// What was done.
    pub name: String,
    /// Which trace it is of.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The span above it; empty where there is none.
    pub parent: String,
    /// Whether it failed.
    pub failed: bool,
    /// What is said about it, numbers as text.
    pub attributes: BTreeMap<String, String>,
    /// What is said about who told of it.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// What is said about it under this name; empty where nothing is.
    #[must_use]
    pub fn said(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl Collector {
    /// One that takes everything.
    pub async fn start() -> Self {
        Collector(Receiver::answering(200).await)
    }

    /// Settings that have a host tell it of everything.
    #[must_use]
    pub fn settings(&self) -> String {
        format!("[telemetry]\notlp_endpoint = \"{}\"\n", self.url())
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url("")
    }

    /// The spans that it was told of since it was last asked.
    ///
    /// # Panics
    /// It was told something else.
    #[track_caller]
    pub fn spans(&mut self) -> Vec<Span> {
        self.0.waiting().iter().flat_map(spans_of).collect()
    }
}

fn spans_of(request: &Request) -> Vec<Span> {
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/traces"));
    assert_eq!(request.header("content-type"), "application/x-protobuf");
    let told = ExportTraceServiceRequest::decode(request.body.clone()).expect("protobuf");
    let mut spans = Vec::new();
    for resource_spans in told.resource_spans {
        let resource = named(&resource_spans.resource.unwrap_or_default().attributes);
        for span in resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
                attributes: named(&span.attributes),
                name: span.name,
                resource: resource.clone(),
            });
        }
    }
    spans
}

fn named(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        any_value::Value::BoolValue(truth) => Some(truth.to_string()),
        _ => None,
    };
    attributes.iter().filter_map(|attribute| Some((attribute.key.clone(), text(attribute)?))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
