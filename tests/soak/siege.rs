//! How long and how often a released host is besieged.

use std::time::Duration;

use anyhow::Context as _;
use rand::RngExt as _;
use tests::{Beside, Broker, Plan, Trouble, siege};

use crate::number;

/// Runs it and prints the books and the figures.
///
/// # Errors
/// A promise was broken, or a bound is none.
pub(crate) async fn run() -> anyhow::Result<()> {
    let kills = number("SOAK_KILLS", 100)?;
    let lives = (0..kills.max(1)).map(|_| Duration::from_millis(rand::rng().random_range(50..1500)));
    let plan = Plan {
        kills,
        within: Duration::from_secs(number("SOAK_SECONDS", 1800)?),
        rate: number("SOAK_RATE", 20)?.max(5),
        lives: lives.collect(),
        full_disk_every: number("SOAK_FULL_DISK_EVERY", 5)?,
        disk: u32::try_from(number("SOAK_DISK_MIB", 1024)?)?,
        broker_every: number("SOAK_BROKER_EVERY", 10)?,
        beside: Some(beside()?),
    };
    let report = siege(&plan, &Broker::own().await).await;
    println!("== soak faults at {} events/s from each of two sides", plan.rate);
    println!("{report}");
    report.check()
}

fn beside() -> anyhow::Result<Beside> {
    let ratio = std::env::var("SOAK_RATIO").unwrap_or_else(|_| "2".to_owned());
    Ok(Beside {
        troubles: troubles()?,
        lasts: Duration::from_secs(number("SOAK_TROUBLE_SECONDS", 5)?),
        healthy_rate: number("SOAK_HEALTHY_RATE", 100)?.max(1),
        alone: Duration::from_secs(number("SOAK_ALONE_SECONDS", 20)?),
        ratio: ratio.parse().with_context(|| format!("SOAK_RATIO should be a number and is {ratio:?}"))?,
        hooks: usize::try_from(number("SOAK_HOOKS", 1000)?)?,
        bombs: number("SOAK_BOMBS", 20)?,
        files: number("SOAK_FILES", 512)?,
        logs: std::env::var_os("SOAK_LOGS").map(Into::into),
    })
}

/// All, or those that are named.
fn troubles() -> anyhow::Result<Vec<Trouble>> {
    let Ok(names) = std::env::var("SOAK_TROUBLES") else { return Ok(Trouble::ALL.into()) };
    let of_name = |name: &str| {
        let known = || Trouble::ALL.map(Trouble::name).join(", ");
        let found = Trouble::ALL.into_iter().find(|trouble| trouble.name() == name);
        found.with_context(|| format!("SOAK_TROUBLES: {name:?} is none: {} are", known()))
    };
    names.split(',').filter(|name| !name.is_empty()).map(of_name).collect()
}
