//! Disks that are full, or that nothing can be written to.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small disk of a test's own; gone when dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// A disk of this many MiB in a new folder at `path`, or why there cannot be one: mounting is for the
    /// superuser, and not everywhere.
    ///
    /// # Errors
    /// What `mount` said.
    ///
    /// # Panics
    /// The folder cannot be made.
    pub fn mounted(path: &Path, mebibytes: u32, writable: bool) -> Result<Self, String> {
        std::fs::create_dir_all(path).expect("a folder to mount at");
        let options = format!("size={mebibytes}m,mode=700,{}", if writable { "rw" } else { "ro" });
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "hookline-tests"]).arg(path);
        match mount.output() {
            Ok(said) if said.status.success() => Ok(Disk(path.to_owned())),
            Ok(said) => Err(String::from_utf8_lossy(&said.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// As [`mounted`](Self::mounted); where there can be no disk the test says aloud that it tests nothing.
    ///
    /// # Panics
    /// There can be none, and nothing may be skipped.
    #[must_use]
    pub fn mounted_or_skipped(path: &Path, mebibytes: u32, writable: bool) -> Option<Self> {
        match Self::mounted(path, mebibytes, writable) {
            Ok(disk) => Some(disk),
            Err(why) => {
                assert!(!nothing_may_be_skipped(), "no disk can be mounted here: {why}");
                use std::io::Write as _;
                // Past the capture of a test's output, which is shown only when it fails.
                writeln!(std::io::stderr(), "SKIPPED, no disk can be mounted here: {why}").ok();
                None
            }
        }
    }

    /// Leaves no room at all.
    ///
    /// # Panics
    /// It cannot be filled.
    pub fn fill(&self) {
        let mut filler = std::fs::File::create(self.filler()).expect("a file");
        let block = [0; 4096];
        let error = loop {
            if let Err(error) = filler.write_all(&block) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// It was not filled.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("a filled disk");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a host that was dropped may not have ended yet. There is nobody to tell when it fails.
        Command::new("umount").arg("-l").arg(&self.0).output().ok();
    }
}

/// From now on this process may write files up to this size; `None`: of any size.
///
/// # Panics
/// It cannot be limited.
pub fn limit_file_size(pid: u32, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    // Only the soft limit, which anybody may raise again.
    let set =
        Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--fsize={limit}:")]).output();
    let set = set.expect("prlimit, of util-linux");
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
}

/// Whether a test that cannot be made here fails: `.ci/run` says so by the variable `TESTS_SKIP_NOTHING`.
pub(crate) fn nothing_may_be_skipped() -> bool {
    std::env::var_os("TESTS_SKIP_NOTHING").is_some()
}
