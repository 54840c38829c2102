//! Reads one file out of a zip archive as it is packed there: it is unpacked by whoever sends it, if anybody asks.

/// A file as it lies in the archive.
pub(crate) struct PackedFile<'a> {
    /// Whether `bytes` are a deflate stream, and not the file itself.
    pub(crate) is_deflated: bool,
    pub(crate) bytes: &'a [u8],
}

const DIRECTORY_END: &[u8] = b"PK\x05\x06";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";

/// The first file whose path ends with `/` and this name.
pub(crate) fn packed<'a>(archive: &'a [u8], name: &str) -> Option<PackedFile<'a>> {
    let end = archive.windows(4).rposition(|bytes| bytes == DIRECTORY_END)?;
    let mut at = number(archive, end + 16, 4)?;
    for _ in 0..number(archive, end + 10, 2)? {
        let entry = archive.get(at..)?;
        if !entry.starts_with(DIRECTORY_ENTRY) {
            return None;
        }
        let length = number(entry, 28, 2)?;
        let path = entry.get(46..46 + length)?;
        if path.strip_suffix(name.as_bytes()).is_some_and(|folder| folder.ends_with(b"/")) {
            return found(archive, entry);
        }
        at += 46 + length + number(entry, 30, 2)? + number(entry, 32, 2)?;
    }
    None
}

/// The file that an entry of the directory speaks of.
fn found<'a>(archive: &'a [u8], entry: &[u8]) -> Option<PackedFile<'a>> {
    let is_deflated = match number(entry, 10, 2)? {
        0 => false,
        8 => true,
        _ => return None,
    };
    // In front of it stands a header with a name and fields of its own lengths.
    let header = number(entry, 42, 4)?;
    let from = header + 30 + number(archive, header + 26, 2)? + number(archive, header + 28, 2)?;
    Some(PackedFile { is_deflated, bytes: archive.get(from..from + number(entry, 20, 4)?)? })
}

/// A number of so many bytes, the lowest first.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let digits = bytes.get(at..at + length)?;
    Some(digits.iter().rev().fold(0, |number, digit| number << 8 | usize::from(*digit)))
}
