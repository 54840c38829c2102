//! The figures about the machine under the host: when it kept the host from running, what its clock did, and what the
//! store takes of its disk.

use super::{MetricFamily, Value, read};
use crate::stall::StallCounts;
use crate::store::StoreRoom;
use std::sync::atomic::Ordering;

/// Of this process and its clocks.
pub(in crate::metrics) fn machine(counts: &StallCounts, lost_lines: u64) -> Vec<MetricFamily> {
    let stopped = counts.stopped_ms.load(Ordering::Relaxed) as f64 / 1e3;
    vec![
        MetricFamily::counter(
            "hookline_process_stops_total",
            "Times that the process stood still for half a second or more.",
        )
        .is(read(&counts.stops)),
        MetricFamily::counter("hookline_process_stopped_seconds_total", "For how long it stood still then.")
            .is(Value::from(stopped)),
        MetricFamily::counter("hookline_machine_sleeps_total", "Times that the machine slept.")
            .is(read(&counts.sleeps)),
        MetricFamily::counter(
            "hookline_clock_jumps_total",
            "Times that the system's clock was set by half a second or more, by where to.",
        )
        .with("direction", "forward", read(&counts.set_forward))
        .with("direction", "back", read(&counts.set_back)),
        MetricFamily::counter(
            "hookline_log_lines_lost_total",
            "Log lines that were lost because whoever reads stderr did not keep up.",
        )
        .is(Value::from(lost_lines)),
    ]
}

/// What the store takes of the disk, nothing before it was looked at; and how many other files are lost.
pub(in crate::metrics) fn room(room: Option<StoreRoom>, lost: u64) -> Vec<MetricFamily> {
    vec![
        MetricFamily::gauge("hookline_store_bytes", "Bytes of the database, free pages included.")
            .is(room.map(|room| room.bytes.into())),
        MetricFamily::gauge("hookline_store_free_bytes", "Bytes of the database's free pages.")
            .is(room.map(|room| room.free_bytes.into())),
        MetricFamily::gauge("hookline_store_log_bytes", "Bytes of the database's write-ahead log.")
            .is(room.map(|room| room.log_bytes.into())),
        MetricFamily::gauge(
            "hookline_data_files_lost",
            "Files that the next start needs and will not find as they were.",
        )
        .is(Value::from(lost)),
    ]
}
