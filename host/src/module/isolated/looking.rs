//! What the system says of a process: how its state, its processor time and its control group are read.
//!
//! Elsewhere than on Linux nothing of it can be seen, and then nothing is known of a process.

use std::path::PathBuf;

use super::running_time::{HaltCause, ProcessLook};

/// Threads of a process that are looked at; a module may start any number.
const THREADS: usize = 64;

/// Looks at a process; nothing where it has ended or the system does not tell.
pub(super) fn look_at(pid: u32) -> Option<ProcessLook> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let main = ThreadStat::read(&std::fs::read_to_string(folder.join("stat")).ok()?)?;
    let halted = match main.state {
        'T' => Some(HaltCause::Signal),
        't' => Some(HaltCause::Debugger),
        // What is frozen looks as if it slept, or waited for a disk.
        'S' | 'D' if is_frozen(&std::fs::read_to_string(folder.join("cgroup")).ok()?) => {
            Some(HaltCause::Freezer)
        }
        _ => None,
    };
    let runs = |stat: &str| ThreadStat::read(stat).is_some_and(|thread| thread.state == 'R');
    let runnable = main.state == 'R' || (halted.is_none() && threads(&folder).any(|stat| runs(&stat)));
    Some(ProcessLook { halted, runnable, used: main.used })
}

/// The lines of its threads.
fn threads(folder: &std::path::Path) -> impl Iterator<Item = String> {
    let all = std::fs::read_dir(folder.join("task")).into_iter().flatten().take(THREADS);
    all.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok())
}

/// What is used of a line of `/proc/PID/stat` (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct ThreadStat {
    state: char,
    /// Ticks in the program and in the system; in a process's own line those of all its threads.
    used: u64,
}

impl ThreadStat {
    fn read(stat: &str) -> Option<Self> {
        // The state follows the name, which may hold anything and ends with the last parenthesis.
        let mut fields = stat.rsplit(')').next()?.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let mut ticks = fields.skip(10).map(str::parse::<u64>);
        let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
        Some(ThreadStat { state, used: user.saturating_add(system) })
    }
}

fn is_frozen(cgroup: &str) -> bool {
    let says = |(file, word): (PathBuf, &str)| {
        std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.trim() == word))
    };
    freezer_files(cgroup).into_iter().any(says)
}

/// The files that may say that the control groups in the text of `/proc/PID/cgroup` are frozen, and the line by which they
/// do; those of version 2 and of version 1, which may be there together.
fn freezer_files(cgroup: &str) -> Vec<(PathBuf, &'static str)> {
    let mut files = Vec::new();
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        // A group outside of what this process is shown has no file here.
        if group.contains("/..") {
            continue;
        }
        let folder = |root: &str| PathBuf::from(format!("{root}{}", group.trim_end_matches('/')));
        if controllers.is_empty() {
            let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
            files.extend(roots.map(|root| (folder(root).join("cgroup.events"), "frozen 1")));
        } else if controllers.split(',').any(|controller| controller == "freezer") {
            files.push((folder("/sys/fs/cgroup/freezer").join("freezer.state"), "FROZEN"));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_and_the_time_used_are_read_behind_any_name() {
        let rest = "1 12 12 0 -1 4194304 100 0 0 0 31 11 0 0 20 0 1 0 31069";
        let check = |stat: &str, state| assert_eq!(ThreadStat::read(stat), state, "{stat}");
        let stopped = ThreadStat { state: 'T', used: 42 };
        check(&format!("12 (hookline) T {rest}"), Some(stopped));
        check(&format!("12 (a) R (b) S {rest}"), Some(ThreadStat { state: 'S', used: 42 }));
        check("12 (cut) S 1 12", None);
        check("", None);
    }

    #[test]
    fn a_frozen_group_is_looked_for_in_both_versions() {
        let files = |cgroup: &str| -> Vec<String> {
            let said = |(file, word): (PathBuf, &str)| format!("{} {word}", file.display());
            freezer_files(cgroup).into_iter().map(said).collect()
        };
        let second = |group: &str| {
            let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
            roots.map(|root| format!("{root}{group}/cgroup.events frozen 1"))
        };
        assert_eq!(files("0::/system.slice/hookline.service\n"), second("/system.slice/hookline.service"));
        assert_eq!(files("0::/\n"), second(""));
        assert_eq!(
            files("9:name=systemd:/\n6:cpu,freezer:/batch:1\n3:cpuset:/batch:1\n"),
            ["/sys/fs/cgroup/freezer/batch:1/freezer.state FROZEN"]
        );
        assert!(files("0::/../elsewhere\nnonsense\n").is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_runs_is_seen_to() {
        let look = look_at(std::process::id()).unwrap();
        assert_eq!((look.halted, look.runnable), (None, true));
        assert_eq!(look_at(u32::MAX), None);
    }
}
