//! Where the line tables of a module are whose file was split: in a second file, which is taken only if it was split off
//! the very same build.
//!
//! Such files are named as debuggers look for them: after the file and beside it, in a folder `.debug` there, or in the
//! system's folder after the build's id.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use object::{File, Object as _};

/// Where a system keeps what debuggers read, each file by the id of its build.
const BY_BUILD_ID: &str = "/usr/lib/debug/.build-id";

/// What the name of a module's file is followed by.
const ENDING: &str = ".debug";

/// Where those of a folder's files lie that do not lie beside them.
const FOLDER: &str = ".debug";

/// How a file says which other one has what it says for debuggers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SplitIdentity {
    /// The same in both files, where the linker wrote one.
    build_id: Option<Vec<u8>>,
    /// The other file's name and its checksum, where whoever split it wrote them.
    link: Option<(Vec<u8>, u32)>,
}

impl SplitIdentity {
    fn of(module: &File<'_>) -> Self {
        let build_id = module.build_id().ok().flatten().map(<[u8]>::to_vec);
        let link = module.gnu_debuglink().ok().flatten().map(|(name, sum)| (name.to_vec(), sum));
        SplitIdentity { build_id: build_id.filter(|id| id.len() > 1), link }
    }

    /// Where the other file may be, for a module whose file was found here.
    fn candidates(&self, original: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        if let (Some(folder), Some(name)) = (original.parent(), original.file_name()) {
            let own = [name.as_bytes(), ENDING.as_bytes()].concat();
            let linked = self.link.as_ref().map(|(name, _)| name.as_slice());
            for name in [Some(own.as_slice()), linked].into_iter().flatten().filter(|name| is_a_name(name)) {
                let name = OsStr::from_bytes(name);
                found.extend([folder.join(name), folder.join(FOLDER).join(name)]);
            }
        }
        if let Some((first, rest)) = self.build_id.as_ref().and_then(|id| id.split_first()) {
            let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
            found.push(Path::new(BY_BUILD_ID).join(format!("{first:02x}")).join(rest + ENDING));
        }
        found.dedup();
        found
    }

    /// Whether these bytes were split off the same build.
    fn is_that_of(&self, bytes: &[u8]) -> bool {
        let other = File::parse(bytes).ok().and_then(|file| file.build_id().ok()?.map(<[u8]>::to_vec));
        match (&self.build_id, &other) {
            (Some(own), Some(other)) => own == other,
            _ => self.link.as_ref().is_some_and(|(_, sum)| *sum == checksum(bytes)),
        }
    }
}

/// What was split off a module, as far as there is a file of it near the module's own, or in the system's folder.
pub(super) fn split_off(module: &File<'_>, original: &Path, largest: u64) -> Option<Vec<u8>> {
    let identity = SplitIdentity::of(module);
    // A link in the plugins folder may lead to where both are.
    let behind = original.canonicalize().ok().filter(|behind| behind != original);
    let places = [Some(original.to_owned()), behind];
    let mut candidates = places.iter().flatten().flat_map(|place| identity.candidates(place));
    candidates.find_map(|file| read(&file, largest).filter(|bytes| identity.is_that_of(bytes)))
}

/// A file's bytes, unless it is none, or too large: opening a pipe would wait for a writer.
fn read(file: &Path, largest: u64) -> Option<Vec<u8>> {
    let fits = |metadata: &std::fs::Metadata| metadata.is_file() && metadata.len() <= largest;
    std::fs::metadata(file).ok().filter(fits)?;
    let mut options = std::fs::OpenOptions::new();
    let opened = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(file).ok()?;
    opened.metadata().ok().filter(fits)?;
    let mut bytes = Vec::new();
    // It may grow while it is read.
    opened.take(largest).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether a name, which a stranger may have written, leads to nowhere but a file of the folder.
fn is_a_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0)
}

/// The checksum that goes with the name.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(build_id: &[u8], link: &[u8]) -> SplitIdentity {
        let some = |bytes: &[u8]| Some(bytes.to_vec()).filter(|bytes| !bytes.is_empty());
        SplitIdentity { build_id: some(build_id), link: some(link).map(|name| (name, 0xCBF4_3926)) }
    }

    #[test]
    fn it_is_looked_for_beside_the_file_and_by_the_builds_id() {
        let check = |identity: SplitIdentity, expected: &[&str]| {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(identity.candidates(Path::new("/plugins/door.so")), expected);
        };
        check(identity(b"", b""), &["/plugins/door.so.debug", "/plugins/.debug/door.so.debug"]);
        check(
            identity(b"\x0a\xbc\xde", b"bell"),
            &[
                "/plugins/door.so.debug",
                "/plugins/.debug/door.so.debug",
                "/plugins/bell",
                "/plugins/.debug/bell",
                "/usr/lib/debug/.build-id/0a/bcde.debug",
            ],
        );
        for elsewhere in [&b"../bell"[..], b"/etc/passwd", b"..", b"be\0ll"] {
            let own = ["/plugins/door.so.debug", "/plugins/.debug/door.so.debug"];
            check(identity(b"", elsewhere), &own);
        }
    }

    #[test]
    fn a_file_is_of_the_same_build_by_its_id_or_else_by_its_checksum() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let own = SplitIdentity::of(&File::parse(program.as_slice()).unwrap());
        assert!(own.build_id.is_some(), "the linker writes one");
        assert!(own.is_that_of(&program));
        assert!(!identity(b"another", b"bell").is_that_of(&program));
        // The checksum of these nine digits is the one that is known for it everywhere.
        assert!(identity(b"", b"bell").is_that_of(b"123456789"));
        assert!(!identity(b"", b"bell").is_that_of(b"12345678"));
        assert!(!identity(b"", b"").is_that_of(b"123456789"));
    }

    #[test]
    fn what_is_no_file_or_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("door.so.debug");
        std::fs::write(&file, b"123456789").unwrap();
        assert_eq!(read(&file, 9).as_deref(), Some(&b"123456789"[..]));
        assert_eq!(read(&file, 8), None);
        assert_eq!(read(folder.path(), 9), None);
        assert_eq!(read(Path::new("/dev/zero"), 9), None);
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&pipe, 9), None);
    }
}
