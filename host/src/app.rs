//! The composition root.

use crate::cli::RunArgs;

/// Runs the host until it is told to stop.
///
/// # Errors
/// Always, so far.
pub async fn run(_args: RunArgs) -> anyhow::Result<()> {
    anyhow::bail!("run: not wired yet")
}
