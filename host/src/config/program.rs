//! Which executable runs a module in a process of its own: no setting, but chosen by whoever lends the host to another
//! program.

use std::path::{Path, PathBuf};

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
}
