//! Figures of the memory that events take.

use crate::memory::EventMemory;
use crate::metrics::exposition::{MetricFamily, Value};

pub(crate) fn memory(memory: &EventMemory) -> Vec<MetricFamily> {
    let taken =
        MetricFamily::gauge("hookline_events_memory_bytes", "Memory that events take now, by what for.");
    let limit =
        MetricFamily::gauge("hookline_events_memory_max_bytes", "Memory that events may take, by what for.");
    let figures = memory.figures();
    let of_each = |family: MetricFamily, figure: &dyn Fn(&(&'static str, usize, usize)) -> usize| {
        figures.iter().fold(family, |family, pool| family.with("for", pool.0, Value::from(figure(pool))))
    };
    vec![of_each(taken, &|pool| pool.1), of_each(limit, &|pool| pool.2)]
}
