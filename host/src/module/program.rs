//! Which executable runs a module in a process of its own.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The word on the command line that makes the program a module's process; people never write it.
pub const WORD: &str = "_module-child";

/// What survives of the host's environment. A module must not depend on more than where programs and libraries
/// are, the language, the time zone and whether backtraces are wanted.
const KEPT: [&str; 7] =
    ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "RUST_BACKTRACE"];

/// The executable to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleProgram {
    path: PathBuf,
}

impl ModuleProgram {
    /// The one that runs already.
    ///
    /// On Linux by the name `/proc/self/exe`, which the new process looks up before it becomes another: it leads
    /// to the very file that this process runs, also after an upgrade has put another in its place. So the two
    /// always speak the same protocol, and nothing has to be kept open or copied for it.
    #[must_use]
    pub fn own() -> Self {
        let magic = Path::new("/proc/self/exe");
        let path = match magic.exists() {
            true => magic.to_owned(),
            // Without either, starting a module's process says that there is no such file.
            false => std::env::current_exe().unwrap_or_else(|_| magic.to_owned()),
        };
        ModuleProgram { path }
    }

    /// Another build of the host, for programs that only lend themselves to it, such as tests.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        ModuleProgram { path }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that makes it a module's process, shown by `ps` with this label: in a process group of its own, so that Ctrl-C in the host's
    /// terminal is the host's business, and with next to nothing of the host's environment.
    pub(super) fn command(&self, label: &str) -> Command {
        let mut command = Command::new(&self.path);
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
}
