//! What this process takes from the machine, as the kernel counts it.

use std::path::Path;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike as _;

use crate::module::resident;

/// What the process takes. What the system does not tell is missing.
#[derive(Debug, Default)]
pub(super) struct ProcessFigures {
    /// Seconds of all its threads, in user and kernel mode.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) max_files: Option<u64>,
    pub(super) threads: Option<u64>,
}

/// Asks the kernel. Blocks for as long as a look at some files of proc(5) takes.
pub(super) fn read() -> ProcessFigures {
    let used = getrusage(UsageWho::RUSAGE_SELF).ok();
    let microseconds =
        used.map(|used| used.user_time().num_microseconds() + used.system_time().num_microseconds());
    ProcessFigures {
        cpu_seconds: microseconds.map(|microseconds| microseconds as f64 / 1e6),
        resident_bytes: resident::of_process(std::process::id()),
        // The list itself is read through one more file.
        open_files: entries(Path::new("/proc/self/fd")).map(|files| files.saturating_sub(1)),
        max_files: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
        threads: entries(Path::new("/proc/self/task")),
    }
}

fn entries(folder: &Path) -> Option<u64> {
    Some(std::fs::read_dir(folder).ok()?.count() as u64)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_everything() {
        let ProcessFigures { cpu_seconds, resident_bytes, open_files, max_files, threads } = read();
        assert!(cpu_seconds.is_some_and(|seconds| seconds > 0.0));
        assert!(resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(open_files.zip(max_files).is_some_and(|(open, max)| 2 < open && open <= max));
        assert!(threads.is_some_and(|threads| threads >= 1));
    }
}
