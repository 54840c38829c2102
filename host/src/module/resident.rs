//! How much memory a generation takes, as the kernel counts it.

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How old a figure may be that is shown: the kernel walks all pages of the process for it.
const FRESH: Duration = Duration::from_secs(1);

/// A figure that is taken at most once in a second.
#[derive(Debug, Default)]
pub struct ResidentSample(Mutex<Option<(Instant, Option<u64>)>>);

impl ResidentSample {
    /// The figure, by `take` where the last one is too old.
    pub fn get(&self, take: impl FnOnce() -> Option<u64>) -> Option<u64> {
        let mut last = self.0.lock();
        if let Some((at, figure)) = *last
            && at.elapsed() < FRESH
        {
            return figure;
        }
        let figure = take();
        *last = Some((Instant::now(), figure));
        figure
    }
}

/// Bytes of a file that are resident in this process; nothing where it is not mapped or nobody counts.
#[must_use]
pub fn of_file(file: &Path) -> Option<u64> {
    resident_of(&std::fs::read_to_string("/proc/self/smaps").ok()?, &file.to_string_lossy())
}

/// Resident bytes of another process.
#[must_use]
pub fn of_process(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| kilobytes(line, "VmRSS:"))
}

/// The sum over the mappings of one file in the text of an `smaps` (proc(5)).
fn resident_of(smaps: &str, file: &str) -> Option<u64> {
    let mut found = None;
    let mut of_file = false;
    for line in smaps.lines() {
        // A mapping begins with its addresses; its name comes last.
        let begins = line.split_once('-').is_some_and(|(start, _)| u64::from_str_radix(start, 16).is_ok());
        if begins {
            of_file = line.ends_with(file);
        } else if of_file && let Some(bytes) = kilobytes(line, "Rss:") {
            found = Some(found.unwrap_or(0) + bytes);
        }
    }
    found
}

fn kilobytes(line: &str, name: &str) -> Option<u64> {
    let kilobytes: u64 = line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000001000 r--p 00000000 fe:00 1 /data/generations/webhooks_door.g1.0.so
Size:                  4 kB
Rss:                   4 kB
7f0000001000-7f0000009000 r-xp 00001000 fe:00 1 /data/generations/webhooks_door.g1.0.so
Rss:                  12 kB
7f0000100000-7f0000101000 rw-p 00000000 00:00 0 [heap]
Rss:                 400 kB
";

    #[test]
    fn the_mappings_of_one_file_are_added_up() {
        assert_eq!(resident_of(SMAPS, "/data/generations/webhooks_door.g1.0.so"), Some(16 * 1024));
        assert_eq!(resident_of(SMAPS, "/data/generations/webhooks_door.g2.1.so"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_figure_is_taken_once_in_a_second() {
        let sampled = ResidentSample::default();
        assert_eq!(sampled.get(|| Some(1)), Some(1));
        assert_eq!(sampled.get(|| Some(2)), Some(1));
        tokio::time::advance(FRESH).await;
        assert_eq!(sampled.get(|| None), None);
    }

    #[test]
    fn a_process_knows_what_it_takes() {
        assert!(of_process(std::process::id()).is_some_and(|bytes| bytes > 100_000));
    }
}
