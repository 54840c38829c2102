//! Resident memory: of a host that rests, and of one under the load from RabbitMQ.

use std::time::Duration;

use tokio::time::sleep;

use crate::bench::LoadBench;
use crate::bus::BusHost;
use crate::figures::{FigureRow, MedianFigures, RunSamples};
use crate::host::Host;
use crate::plan::HostVersion;
use crate::process::{anonymous_mb, forget_peak, peak_mb, resident_mb};
use crate::receiver::LoadReceiver;

/// How long after its start a host rests.
const RESTED: Duration = Duration::from_secs(10);

/// One run.
pub(crate) async fn once(bench: &mut LoadBench, version: &HostVersion) -> anyhow::Result<RunSamples> {
    let mut found = RunSamples::default();
    let bundled = version.bundled()?;
    let idle = Host::start_with(version, &bundled, "").await?;
    let bus = BusHost::start(version, bench.broker().await, "").await?;
    sleep(RESTED).await;
    let process = idle.process();
    found.add(format!("idle with {} modules", bundled.len()), resident_mb(process)?);
    found.add(format!("idle with {} modules, anonymous", bundled.len()), anonymous_mb(process)?);
    idle.stop().await?;

    let process = bus.host.process();
    found.add("idle on the bus", resident_mb(process)?);
    let receiver = LoadReceiver::start()?;
    forget_peak(process)?;
    bench.publish(&bus, &receiver).await?;
    found.add("peak", peak_mb(process)?);
    found.add("anonymous after the load", anonymous_mb(process)?);
    bus.stop().await?;
    receiver.balance()?;
    Ok(found)
}

/// Beside what they should be.
pub(crate) fn rows(found: &MedianFigures) -> Vec<FigureRow> {
    let mut rows = Vec::new();
    for (modules, figure) in found.beginning_with("idle with ") {
        let row = FigureRow::new(format!("{RESTED:?} after its start, {modules}: MB"), Some(figure), 1);
        rows.push(if modules.ends_with("anonymous") { row } else { row.at_most(30.0) });
    }
    rows.push(
        FigureRow::new("the same on RabbitMQ, one module: MB", found.get("idle on the bus"), 1).at_most(30.0),
    );
    rows.push(FigureRow::new("most under the load from RabbitMQ: MB", found.get("peak"), 1).at_most(60.0));
    rows.push(FigureRow::new("after it, anonymous: MB", found.get("anonymous after the load"), 1));
    rows
}
