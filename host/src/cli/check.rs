//! `hookline check`: what module files are, without running the host.

use std::io::Write;
use std::process::ExitCode;

use super::CheckArgs;

/// Prints what each file is; a failing exit code when one of them would be refused.
///
/// # Errors
/// Output that cannot be written.
pub fn check(_args: &CheckArgs, _out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    anyhow::bail!("check: not wired yet")
}
