//! What tells that a backup is as it was written: a line behind the database with the SHA-256 of all before it.
//!
//! SQLite goes by the number of pages in its header and does not look at what follows them. The database says of itself
//! that such a line follows, so that one that was cut off is missed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};

use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::documents;

/// The setting by which a database says that a seal follows it.
const SEALED: &str = "backup.sealed";
const SHA_256: &str = "sha256";

const BEFORE: &str = "\nhookline backup sha256 ";
const BETWEEN: &str = " bytes ";
const AFTER: &str = "\n";
const HEX: usize = 64;
const DIGITS: usize = 20;
const LENGTH: usize = BEFORE.len() + HEX + BETWEEN.len() + DIGITS + AFTER.len();

/// What is read at once.
const CHUNK: usize = 256 << 10;

/// What the end of a file says about the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BackupSeal {
    /// There is none.
    Missing,
    /// So many bytes before it are what was written.
    Whole {
        /// Of the database.
        bytes: u64,
    },
    /// They are not.
    Broken(String),
}

/// Writes down in a database that a seal follows it.
pub(super) fn announce(connection: &Connection) -> rusqlite::Result<()> {
    documents::set_setting(connection, SEALED, SHA_256)
}

/// Whether a seal should follow.
pub(super) fn is_announced(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(documents::setting(connection, SEALED)?.is_some_and(|kind| !kind.is_empty()))
}

/// A database that is in use changes, and no seal follows it.
pub(super) fn renounce(connection: &Connection) -> rusqlite::Result<()> {
    if is_announced(connection)? { documents::set_setting(connection, SEALED, "") } else { Ok(()) }
}

/// Appends the seal; answers the length of the whole.
pub(super) fn seal(file: &mut File) -> io::Result<u64> {
    file.rewind()?;
    let (digest, bytes) = digest(&mut *file)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(line(&digest, bytes).as_bytes())?;
    file.rewind()?;
    Ok(bytes + LENGTH as u64)
}

/// Reads the seal, and all before it.
pub(super) fn look(file: &mut File) -> io::Result<BackupSeal> {
    let length = file.seek(SeekFrom::End(0))?;
    let Some(bytes) = length.checked_sub(LENGTH as u64) else { return Ok(BackupSeal::Missing) };
    file.seek(SeekFrom::Start(bytes))?;
    let mut end = Vec::with_capacity(LENGTH);
    file.read_to_end(&mut end)?;
    let says = String::from_utf8_lossy(&end).into_owned();
    if !says.starts_with(BEFORE) {
        return Ok(BackupSeal::Missing);
    }
    file.rewind()?;
    let (digest, bytes) = digest((&mut *file).take(bytes))?;
    if says == line(&digest, bytes) {
        return Ok(BackupSeal::Whole { bytes });
    }
    Ok(BackupSeal::Broken(format!(
        "it is not what was written: its checksum line says {:?}, and its {bytes} bytes have the SHA-256 {digest}",
        says.trim()
    )))
}

fn line(digest: &str, bytes: u64) -> String {
    format!("{BEFORE}{digest}{BETWEEN}{bytes:0width$}{AFTER}", width = DIGITS)
}

fn digest(mut from: impl Read) -> io::Result<(String, u64)> {
    let (mut sha, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => {
                sha.update(chunk.get(..read).unwrap_or_default());
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let hex = sha.finalize().iter().fold(String::with_capacity(HEX), |mut hex, byte| {
        // Writing to a String does not fail.
        _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok((hex, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let length = seal(&mut file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), length);
        file
    }

    #[test]
    fn what_was_sealed_is_whole() {
        for content in [&b""[..], b"some bytes", &[7; 600_000]] {
            let bytes = content.len() as u64;
            assert_eq!(look(&mut sealed(content)).unwrap(), BackupSeal::Whole { bytes });
        }
    }

    #[test]
    fn no_byte_can_be_changed_and_no_end_cut_off_unseen() {
        let mut whole = Vec::new();
        sealed(b"some bytes").read_to_end(&mut whole).unwrap();
        for at in 0..whole.len() {
            for (changed, what) in [(flipped(&whole, at), "flipped"), (whole[..at].to_vec(), "cut")] {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&changed).unwrap();
                let seal = look(&mut file).unwrap();
                // Without the line it is for the database to miss it.
                assert!(
                    matches!(seal, BackupSeal::Broken(_) | BackupSeal::Missing),
                    "{what} at {at}: {seal:?}"
                );
            }
        }
    }

    fn flipped(whole: &[u8], at: usize) -> Vec<u8> {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 1;
        flipped
    }
}
