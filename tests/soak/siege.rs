//! How long and how often a released host is besieged.

use std::time::Duration;

use rand::RngExt as _;
use tests::{Broker, Plan, siege};

use crate::number;

/// Runs it and prints the books.
///
/// # Errors
/// Something that was accepted is nowhere, or came under two names.
pub(crate) async fn run() -> anyhow::Result<()> {
    let kills = number("SOAK_KILLS", 100)?;
    let lives = (0..kills.max(1)).map(|_| Duration::from_millis(rand::rng().random_range(50..1500)));
    let plan = Plan {
        kills,
        within: Duration::from_secs(number("SOAK_SECONDS", 600)?),
        rate: number("SOAK_RATE", 200)?.max(10),
        lives: lives.collect(),
        full_disk_every: number("SOAK_FULL_DISK_EVERY", 5)?,
        disk: u32::try_from(number("SOAK_DISK_MIB", 1024)?)?,
        broker_every: number("SOAK_BROKER_EVERY", 10)?,
    };
    let report = siege(&plan, &Broker::own().await).await;
    println!("== soak faults at {} events/s from each of two sides", plan.rate);
    println!("{report}");
    report.check()
}
