//! `hookline try`: one event through one module, without any network.

use std::io::Write;

use super::TryArgs;

/// Prints each request that would be sent, one JSON object a line.
///
/// # Errors
/// A file that cannot be read, or an event, hook or module that cannot be used.
pub async fn try_event(_args: &TryArgs, _out: &mut dyn Write) -> anyhow::Result<()> {
    anyhow::bail!("try: not wired yet")
}
