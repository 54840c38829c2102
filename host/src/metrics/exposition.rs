//! How figures become Prometheus's text format: a name, a type and a sentence for each family, then its samples.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// The figures of one name.
#[derive(Debug)]
pub(super) struct MetricFamily {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<MetricSample>,
}

#[derive(Debug)]
struct MetricSample {
    label: Option<(&'static str, String)>,
    value: Value,
}

/// A figure.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Whole(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}

impl MetricFamily {
    /// Something that only grows while the process lives. The name ends in `_total`.
    pub(super) fn counter(name: &'static str, help: &'static str) -> Self {
        MetricFamily { name, help, kind: MetricType::Counter, samples: Vec::new() }
    }

    /// Something that goes up and down.
    pub(super) fn gauge(name: &'static str, help: &'static str) -> Self {
        MetricFamily { name, help, kind: MetricType::Gauge, samples: Vec::new() }
    }

    /// The one figure of this name; without one the name stands alone.
    pub(super) fn is(mut self, value: impl Into<Option<Value>>) -> Self {
        self.samples.extend(value.into().map(|value| MetricSample { label: None, value }));
        self
    }

    /// One of several figures of this name.
    pub(super) fn with(
        mut self,
        label: &'static str,
        is: impl Into<String>,
        value: impl Into<Value>,
    ) -> Self {
        self.samples.push(MetricSample { label: Some((label, is.into())), value: value.into() });
        self
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        // The library writes the ending of a counter itself.
        let stem = match self.kind {
            MetricType::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            _ => self.name,
        };
        let mut family = encoder.encode_descriptor(stem, self.help, None, self.kind)?;
        for MetricSample { label, value } in &self.samples {
            match label {
                Some((label, is)) => {
                    value.encode(self.kind, family.encode_family(&[(*label, is.as_str())])?)?
                }
                // A name without labels has one sample.
                None => return value.encode(self.kind, family),
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(self, kind: MetricType, sample: MetricEncoder<'_>) -> fmt::Result {
        match (kind, self) {
            (MetricType::Counter, Value::Whole(value)) => ConstCounter::new(value).encode(sample),
            (MetricType::Counter, Value::Real(value)) => ConstCounter::new(value).encode(sample),
            (_, Value::Whole(value)) => ConstGauge::new(value).encode(sample),
            (_, Value::Real(value)) => ConstGauge::new(value).encode(sample),
        }
    }
}

#[derive(Debug)]
struct MetricFamilies(Vec<MetricFamily>);

impl Collector for MetricFamilies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

/// All families in the text format.
///
/// # Errors
/// The text cannot be written: a bug.
pub(super) fn text(families: Vec<MetricFamily>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(MetricFamilies(families)));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(family: MetricFamily, expected: &str) {
        assert_eq!(text(vec![family]).unwrap(), expected);
    }

    #[test]
    fn a_counter_keeps_its_whole_name_and_its_labels() {
        let family = MetricFamily::counter("x_events_total", "Events.")
            .with("outcome", "accepted", 7_u64)
            .with("outcome", "malformed", 0_u64);
        check(
            family,
            "# HELP x_events_total Events.\n# TYPE x_events_total counter\n\
             x_events_total{outcome=\"accepted\"} 7\nx_events_total{outcome=\"malformed\"} 0\n",
        );
    }

    #[test]
    fn numbers_are_written_in_full() {
        let whole = MetricFamily::gauge("x_bytes", "Bytes.").is(Value::from(u64::MAX));
        check(whole, "# HELP x_bytes Bytes.\n# TYPE x_bytes gauge\nx_bytes 18446744073709551615\n");
        let real = MetricFamily::counter("x_seconds_total", "Seconds.").is(Value::from(0.25));
        check(
            real,
            "# HELP x_seconds_total Seconds.\n# TYPE x_seconds_total counter\nx_seconds_total 0.25\n",
        );
        let yes = MetricFamily::gauge("x_ready", "Ready.").is(Value::from(true));
        check(yes, "# HELP x_ready Ready.\n# TYPE x_ready gauge\nx_ready 1\n");
    }

    #[test]
    fn what_is_not_known_has_a_name_and_no_figure() {
        let family = MetricFamily::gauge("x_threads", "Threads.").is(None);
        check(family, "# HELP x_threads Threads.\n# TYPE x_threads gauge\n");
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let family = MetricFamily::gauge("x", "X.").with("module", "a\"} 1\n\\", 1_u64);
        check(family, "# HELP x X.\n# TYPE x gauge\nx{module=\"a\\\"} 1\\n\\\\\"} 1\n");
    }
}
