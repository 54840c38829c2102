//! What Linux tells of a running process: its processor time, wake-ups, memory and commits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;

/// What a thread has used so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ThreadUse {
    name: String,
    cpu: Duration,
    switches: u64,
}

/// What each thread of a process has used so far, by its number.
#[derive(Clone, Debug, Default)]
pub(crate) struct ThreadUses(BTreeMap<u32, ThreadUse>);

impl ThreadUses {
    /// Of this process, at this moment.
    pub(crate) fn of(process: u32) -> anyhow::Result<Self> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let entry = entry?;
            let number = entry.file_name().to_string_lossy().parse()?;
            // A thread may end meanwhile.
            found.extend(thread_use(&entry.path()).map(|used| (number, used)));
        }
        Ok(ThreadUses(found))
    }

    /// What was used since then. Of threads that have ended nothing is known.
    fn since(&self, before: &Self) -> Vec<ThreadUse> {
        let used = |(number, now): (&u32, &ThreadUse)| {
            let then = before.0.get(number).cloned().unwrap_or_default();
            ThreadUse {
                name: now.name.clone(),
                cpu: now.cpu.saturating_sub(then.cpu),
                switches: now.switches.saturating_sub(then.switches),
            }
        };
        self.0.iter().map(used).collect()
    }

    /// How often threads have gone to sleep since then, by their names.
    pub(crate) fn switches_since(&self, before: &Self) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        for used in self.since(before) {
            *found.entry(used.name).or_default() += used.switches;
        }
        found
    }

    /// The share that the busiest thread has of the processor time since then.
    pub(crate) fn busiest_since(&self, before: &Self) -> f64 {
        let used: Vec<f64> = self.since(before).iter().map(|used| used.cpu.as_secs_f64()).collect();
        used.iter().copied().fold(0.0, f64::max) / used.iter().sum::<f64>()
    }
}

fn thread_use(folder: &std::path::Path) -> Option<ThreadUse> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let nanoseconds = read("schedstat")?.split(' ').next()?.parse().ok()?;
    Some(ThreadUse {
        name: read("comm")?.trim().to_owned(),
        cpu: Duration::from_nanos(nanoseconds),
        switches: field(&read("status")?, "voluntary_ctxt_switches:")?,
    })
}

/// Resident memory of a process, in megabytes.
pub(crate) fn resident_mb(process: u32) -> anyhow::Result<f64> {
    memory(process, "VmRSS:")
}

/// The most that it was since [`forget_peak`].
pub(crate) fn peak_mb(process: u32) -> anyhow::Result<f64> {
    memory(process, "VmHWM:")
}

/// Of it what is no file's.
pub(crate) fn anonymous_mb(process: u32) -> anyhow::Result<f64> {
    memory(process, "RssAnon:")
}

/// From now on the peak is counted.
pub(crate) fn forget_peak(process: u32) -> anyhow::Result<()> {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5")
        .context("beginning to count the peak of memory")
}

fn memory(process: u32, name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = field(&status, name).with_context(|| format!("{name} of a process"))?;
    Ok(kib as f64 * 1024.0 / 1e6)
}

/// The number in the line that begins so.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Counts the commits to disk of a process from outside, with `perf`, for programs that do not count them themselves.
pub(crate) struct CommitCounter {
    perf: Child,
    found: PathBuf,
}

impl CommitCounter {
    /// Begins to count; `None` where there is no `perf`.
    pub(crate) async fn begin(process: u32, found: PathBuf) -> Option<Self> {
        let events = "syscalls:sys_enter_fsync,syscalls:sys_enter_fdatasync";
        let mut perf = Command::new("perf")
            .args(["stat", "-x", ",", "-e", events, "-p", &process.to_string(), "-o"])
            .arg(&found)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // It does not tell when it has begun, and has ended by then where it may not count.
        sleep(Duration::from_millis(300)).await;
        match perf.try_wait() {
            Ok(None) => Some(CommitCounter { perf, found }),
            _ => None,
        }
    }

    /// How many there were.
    pub(crate) fn end(mut self) -> Option<f64> {
        let asked = Command::new("kill").arg("-INT").arg(self.perf.id().to_string()).status().ok()?;
        if !asked.success() {
            return None;
        }
        self.perf.wait().ok()?;
        counted(&std::fs::read_to_string(&self.found).ok()?)
    }
}

impl Drop for CommitCounter {
    fn drop(&mut self) {
        // It has ended already where all went well.
        self.perf.kill().ok();
        self.perf.wait().ok();
    }
}

/// The sum of what `perf stat -x ,` has counted.
fn counted(text: &str) -> Option<f64> {
    let lines = text.lines().filter(|line| line.contains("syscalls:"));
    let counts: Option<Vec<f64>> = lines.map(|line| line.split(',').next()?.parse().ok()).collect();
    counts.filter(|counts| !counts.is_empty()).map(|counts| counts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(threads: &[(u32, &str, u64, u64)]) -> ThreadUses {
        let used = |(number, name, cpu, switches): &(u32, &str, u64, u64)| {
            let cpu = Duration::from_millis(*cpu);
            (*number, ThreadUse { name: (*name).to_owned(), cpu, switches: *switches })
        };
        ThreadUses(threads.iter().map(used).collect())
    }

    #[test]
    fn threads_of_a_name_count_together_and_each_has_a_share() {
        let before = uses(&[(1, "sending", 100, 5), (2, "writer", 50, 7)]);
        let after = uses(&[(1, "sending", 160, 8), (2, "writer", 70, 17), (3, "sending", 20, 1)]);

        let switches = after.switches_since(&before);
        assert_eq!(switches.into_iter().collect::<Vec<_>>(), [("sending".into(), 4), ("writer".into(), 10)]);
        assert_eq!(after.busiest_since(&before), 0.6);
    }

    #[test]
    fn what_perf_has_counted_is_summed_up() {
        let line = |count: &str, name: &str| format!("{count},,syscalls:{name},375513736,100.00,,\n");
        let text = |count: &str| {
            let (fsync, fdatasync) = (line(count, "sys_enter_fsync"), line("2", "sys_enter_fdatasync"));
            format!("# started on Mon Nov 30 18:52:07 2026\n\n{fsync}{fdatasync}")
        };

        assert_eq!(counted(&text("306")), Some(308.0));
        assert_eq!(counted(&text("<not counted>")), None);
        assert_eq!(counted(""), None);
    }
}
