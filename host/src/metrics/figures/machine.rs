//! The figures about the machine under the host: when it kept the host from running, and what its clock did.

use super::{Family, Value, read};
use crate::stall::StallCounts;
use std::sync::atomic::Ordering;

/// Of this process and its clocks.
pub(in crate::metrics) fn machine(counts: &StallCounts) -> Vec<Family> {
    let stopped = counts.stopped_ms.load(Ordering::Relaxed) as f64 / 1e3;
    vec![
        Family::counter(
            "hookline_process_stops_total",
            "Times that the process stood still for half a second or more.",
        )
        .is(read(&counts.stops)),
        Family::counter("hookline_process_stopped_seconds_total", "For how long it stood still then.")
            .is(Value::from(stopped)),
        Family::counter("hookline_machine_sleeps_total", "Times that the machine slept.")
            .is(read(&counts.sleeps)),
        Family::counter(
            "hookline_clock_jumps_total",
            "Times that the system's clock was set by half a second or more, by where to.",
        )
        .with("direction", "forward", read(&counts.set_forward))
        .with("direction", "back", read(&counts.set_back)),
    ]
}
