//! What was measured, and how it is shown: medians, with ratios to a bare client.

use std::time::Duration;

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Deliveries that arrived.
    pub(crate) deliveries: u64,
    /// From the first byte sent to the last delivery.
    pub(crate) wall: Duration,
    /// CPU time of whoever delivered.
    pub(crate) cpu: Duration,
    /// From the sending of one event to its last delivery, where that was measured: the median.
    pub(crate) latency: Option<Duration>,
}

/// Several runs of the same.
pub(crate) struct Line {
    /// What was done.
    pub(crate) what: String,
    /// How it went.
    pub(crate) runs: Vec<Run>,
}

impl Line {
    /// Deliveries a second.
    pub(crate) fn rate(&self) -> f64 {
        self.median(|run| run.deliveries as f64 / run.wall.as_secs_f64())
    }

    /// Microseconds of CPU for each delivery.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.median(|run| run.cpu.as_secs_f64() * 1e6 / run.deliveries as f64)
    }

    fn latency_ms(&self) -> Option<f64> {
        let measured = self.runs.iter().all(|run| run.latency.is_some());
        measured.then(|| self.median(|run| run.latency.unwrap_or_default().as_secs_f64() * 1e3))
    }

    fn median(&self, figure: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(figure).collect())
    }
}

/// The middle one.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// A table in Markdown; the first line is what the others are compared with.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut text = String::from(
        "| what | deliveries/s | to the bare client | CPU µs a delivery | one event to its last delivery, ms |\n|---|--:|--:|--:|--:|\n",
    );
    let Some(bare) = lines.first() else { return text };
    for line in lines {
        let latency = line.latency_ms().map(|ms| format!("{ms:.2}")).unwrap_or_default();
        let ratio = line.rate() / bare.rate();
        text += &format!(
            "| {} | {:.0} | {ratio:.2} | {:.1} | {latency} |\n",
            line.what,
            line.rate(),
            line.cpu_us()
        );
    }
    text
}
