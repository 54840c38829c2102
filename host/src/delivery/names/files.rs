//! What the system's own files say of names: `/etc/hosts`, and in `/etc/nsswitch.conf` who is asked.
//!
//! They are read again when they change, beside what goes on, so that nobody waits for a file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What stood in the files when they were read last. Clones are of the same.
#[derive(Clone)]
pub(super) struct SystemFiles(Arc<HostsFileState>);

struct HostsFileState {
    /// `hosts` and `nsswitch.conf`.
    files: [PathBuf; 2],
    read: ArcSwap<FileContents>,
    looked: Mutex<Option<Instant>>,
    looking: AtomicBool,
}

#[derive(Debug, Default)]
struct FileContents {
    stamp: [Option<SystemTime>; 2],
    hosts: FxHashMap<String, Vec<IpAddr>>,
    sources: NameSources,
}

/// Who is asked for names, by `nsswitch.conf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NameSources {
    /// The hosts file, before the name servers.
    files: bool,
    /// Somebody else than the hosts file and the name servers.
    others: bool,
}

impl Default for NameSources {
    /// As systems without the file have it.
    fn default() -> Self {
        NameSources { files: true, others: false }
    }
}

impl SystemFiles {
    /// Reads those of a folder.
    pub(super) fn read(folder: &Path) -> Self {
        let files = [folder.join("hosts"), folder.join("nsswitch.conf")];
        let read = FileContents::read(&files);
        SystemFiles(Arc::new(HostsFileState {
            files,
            read: ArcSwap::from_pointee(read),
            looked: Mutex::new(None),
            looking: AtomicBool::new(false),
        }))
    }

    /// Looks whether they have changed, now and then, as a task.
    pub(super) fn read_again_later(&self, tasks: &TaskTracker) {
        let now = Instant::now();
        {
            let mut looked = self.0.looked.lock();
            if looked.is_some_and(|at| now - at < LOOK) {
                return;
            }
            *looked = Some(now);
        }
        if self.0.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let files = self.clone();
        tasks.spawn_blocking(move || {
            let paths = &files.0.files;
            if files.0.read.load().stamp != stamp(paths) {
                files.0.read.store(Arc::new(FileContents::read(paths)));
            }
            files.0.looking.store(false, Ordering::Release);
        });
    }

    /// The addresses that the hosts file has of a name; a name that means this machine has some in any case.
    pub(super) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let read = self.0.read.load();
        let listed = read.sources.files.then(|| read.hosts.get(name)).flatten();
        match listed {
            Some(addresses) => addresses.clone(),
            // RFC 6761, 6.3
            None if name == "localhost" || name.ends_with(".localhost") => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            None => Vec::new(),
        }
    }

    /// Whether names may be known to somebody else.
    pub(super) fn has_other_sources(&self) -> bool {
        self.0.read.load().sources.others
    }
}

fn stamp(files: &[PathBuf; 2]) -> [Option<SystemTime>; 2] {
    files.each_ref().map(|file| std::fs::metadata(file).and_then(|file| file.modified()).ok())
}

impl FileContents {
    fn read(files: &[PathBuf; 2]) -> Self {
        // Before they are read, so that a change meanwhile is seen.
        let stamp = stamp(files);
        let [listed, switch] = files.each_ref().map(|file| {
            let bytes = std::fs::read(file).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        FileContents { stamp, hosts: hosts(&listed), sources: sources(&switch) }
    }
}

/// The names of a hosts file, in lower case (hosts(5)).
fn hosts(text: &str) -> FxHashMap<String, Vec<IpAddr>> {
    let mut hosts: FxHashMap<String, Vec<IpAddr>> = FxHashMap::default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            let addresses = hosts.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}

/// Who is asked for hosts (nsswitch.conf(5)). What stands behind a source in brackets is what to do with its answers.
fn sources(text: &str) -> NameSources {
    let mut lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("hosts:"));
    let Some(line) = lines.next_back() else { return NameSources::default() };
    let line = line.split('#').next().unwrap_or_default();
    let mut sources = NameSources { files: false, others: false };
    let (mut servers, mut in_brackets) = (false, false);
    for word in line.split_ascii_whitespace() {
        let begins = word.starts_with('[');
        if !(begins || in_brackets) {
            match word {
                "files" => sources.files |= !servers,
                "dns" => servers = true,
                _ => sources.others = true,
            }
        }
        in_brackets = (begins || in_brackets) && !word.ends_with(']');
    }
    // The hosts file comes after the servers: the system itself is asked where they know nothing.
    sources.others |= !sources.files;
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_is_read_as_the_system_reads_it() {
        let text = "127.0.0.1\tlocalhost\n# 1.2.3.4 no\n10.0.0.7  Hook.Example. hook # the one\n\n::1 localhost\n\
                    nonsense hook\nfe80::1%eth0 scoped\n10.0.0.8 hook.example\n10.0.0.7 hook.example";
        let hosts = hosts(text);
        let of = |name: &str| {
            let addresses = hosts.get(name).cloned().unwrap_or_default();
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("localhost"), "127.0.0.1 ::1");
        assert_eq!(of("hook.example"), "10.0.0.7 10.0.0.8");
        assert_eq!(of("hook"), "10.0.0.7");
        assert_eq!((of("scoped"), of("no")), (String::new(), String::new()));
    }

    #[test]
    fn who_is_asked_is_taken_from_the_switch() {
        for (text, files, others) in [
            ("", true, false),
            ("passwd: files\nhosts: files dns\n", true, false),
            ("hosts:\tfiles mdns4_minimal [NOTFOUND=return] dns", true, true),
            ("hosts: files [!UNAVAIL=return SUCCESS=continue] dns # ldap", true, false),
            ("hosts: dns files", false, true),
            ("hosts: files myhostname resolve", true, true),
            ("hosts: dns", false, true),
        ] {
            assert_eq!(sources(text), NameSources { files, others }, "{text:?}");
        }
    }

    #[test]
    fn a_name_that_means_this_machine_needs_no_file() {
        let files = SystemFiles::read(Path::new("/nowhere"));
        assert!(files.addresses("some.localhost").iter().all(IpAddr::is_loopback));
        assert!(!files.addresses("localhost").is_empty());
        assert!(files.addresses("nobody.invalid").is_empty());
    }
}
