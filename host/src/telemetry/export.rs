//! How spans get to an OTLP collector: gathered, in bounded memory, and sent by a thread that nobody waits for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::{Subscriber, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use crate::config::TelemetrySettings;
use crate::trail::is_for_collectors;
use crate::trust::TrustStore;

/// How long a stop waits for the last spans.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long one request to the collector may take. `OTEL_EXPORTER_OTLP_TIMEOUT` says when a group of spans is given up.
const REQUEST: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read: it says little more than that all is well.
const ANSWER: usize = 64 * 1024;

/// What tells a collector of spans. The default tells nobody.
#[derive(Debug, Default)]
pub(super) struct TraceExporter(Option<SdkTracerProvider>);

impl TraceExporter {
    /// Sends what is left; for two seconds at most.
    pub(super) async fn end(self) {
        let Some(provider) = self.0 else { return };
        // What it cannot send has been warned of.
        let ending = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_WORDS).ok());
        ending.await.ok();
    }
}

/// The way of spans to the collector, where there is one.
pub(super) fn to_collector<S>(
    telemetry: &TelemetrySettings,
) -> anyhow::Result<Option<(TraceExporter, impl Layer<S> + Send + Sync + use<S>)>>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let Some(endpoint) = &telemetry.otlp_endpoint else { return Ok(None) };
    let spans = SpanExporter::builder()
        .with_http()
        .with_http_client(SpanCollector::new(endpoint)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(traces_of(endpoint.clone()))
        .build()
        .context("telemetry.otlp_endpoint and the variables OTEL_EXPORTER_OTLP_…")?;
    let sampler = Sampler::TraceIdRatioBased(telemetry.otlp_sample_ratio);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(spans)
        .with_sampler(Sampler::ParentBased(Box::new(sampler)))
        .with_resource(Resource::builder().with_service_name(telemetry.service_name.clone()).build())
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("hookline"))
        .with_context_activation(false)
        .with_tracked_inactivity(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_filter(FilterFn::new(is_for_collectors));
    Ok(Some((TraceExporter(Some(provider)), layer)))
}

/// Where a collector takes traces: what `OTEL_EXPORTER_OTLP_ENDPOINT` stands for, or the whole address.
fn traces_of(mut endpoint: Url) -> String {
    let path = endpoint.path().trim_end_matches('/').to_owned();
    if !path.ends_with("/v1/traces") {
        endpoint.set_path(&format!("{path}/v1/traces"));
    }
    endpoint.into()
}

/// The collector, as our own HTTP client reaches it.
struct SpanCollector {
    client: reqwest::Client,
    /// What sends runs there: the thread that gathers spans has no runtime.
    runtime: Handle,
    tasks: TaskTracker,
    /// Without what may be secret in its address.
    name: String,
    /// It is said once.
    failing: AtomicBool,
}

impl fmt::Debug for SpanCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({})", self.name)
    }
}

impl SpanCollector {
    fn new(endpoint: &Url) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(REQUEST)
            .redirect(reqwest::redirect::Policy::none())
            // Of a machine without authorities the library makes no client at all, not even for http.
            .tls_backend_preconfigured(TrustStore::of_system(None)?.client(&[b"h2", b"http/1.1"])?);
        Ok(SpanCollector {
            client: client.build().context("making the HTTP client for telemetry.otlp_endpoint")?,
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            name: endpoint.origin().ascii_serialization(),
            failing: AtomicBool::new(false),
        })
    }

    /// Logs what is news.
    fn note(&self, trouble: Option<&str>) {
        let collector = &self.name;
        match (self.failing.swap(trouble.is_some(), Ordering::Relaxed), trouble) {
            (false, Some(error)) => warn!(collector, error, "the collector does not take traces"),
            (true, None) => info!(collector, "the collector takes traces again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for SpanCollector {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let request = self.client.post(head.uri.to_string()).headers(head.headers).body(body);
        let answered = self.tasks.spawn_on(exchange(request), &self.runtime).await;
        let answered =
            answered.map_err(HttpError::from).and_then(|answered| answered.map_err(HttpError::from));
        match &answered {
            Ok(answer) if answer.status().is_success() => self.note(None),
            Ok(answer) => self.note(Some(&format!("it answered {}", answer.status()))),
            Err(error) => self.note(Some(&words_of(&**error))),
        }
        answered
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<http::Response<Bytes>, reqwest::Error> {
    // An address may hold a password.
    let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
    let mut body = BytesMut::new();
    while body.len() < ANSWER
        && let Some(more) = response.chunk().await.map_err(reqwest::Error::without_url)?
    {
        body.extend_from_slice(&more);
    }
    let mut answer = http::Response::new(body.freeze());
    *answer.status_mut() = response.status();
    Ok(answer)
}

/// What an error says, and what its causes say.
fn words_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(endpoint: &str, expected: &str) {
        assert_eq!(traces_of(endpoint.parse().unwrap()), expected);
    }

    #[test]
    fn the_address_of_a_collector_may_be_its_whole_one_or_that_of_all_signals() {
        check("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces");
        check("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces");
        check("https://collector/otlp/", "https://collector/otlp/v1/traces");
        check("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces");
    }
}
