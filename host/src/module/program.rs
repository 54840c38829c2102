//! How an executable is made the process of a module: its command line, and what it sees of the environment.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

pub use crate::config::ModuleProgram;

/// The word on the command line that makes the program a module's process; people never write it.
pub const WORD: &str = "_module-child";

/// What survives of the host's environment. A module must not depend on more than where programs and libraries
/// are, the language, the time zone and whether backtraces are wanted.
const KEPT: [&str; 7] =
    ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "RUST_BACKTRACE"];

/// A command that makes the program a module's process, shown by `ps` with this label: in a process group of its own,
/// so that Ctrl-C in the host's terminal is the host's business, and with next to nothing of the host's environment.
pub(super) fn command(program: &ModuleProgram, label: &str) -> Command {
    let mut command = Command::new(program.path());
    let kept = |name: &OsStr| KEPT.iter().any(|kept| name == *kept);
    command
        .arg0("hookline")
        .arg(WORD)
        .arg(label)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| kept(name)))
        .process_group(0);
    command
}
