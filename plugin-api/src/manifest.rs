//! The plain bytes by which a library is known to be a module before it is opened.

use std::fmt;

/// Name of the exported symbol that holds the [`Manifest`].
pub const SYMBOL: &str = "HOOKLINE_MODULE_MANIFEST";

/// Name of the symbol through which abi_stable finds the exports.
pub const ROOT_SYMBOL: &str = "_1as_0lib_1header_0root_bmodule_bloader";

/// First bytes of every manifest.
pub const MAGIC: [u8; 8] = *b"HOOKLINE";

/// Flag: the module keeps no static state and may be unloaded.
pub const UNLOADABLE: u32 = 1;

/// Bytes that the id of a module, its crate's name, may have.
pub const MAX_ID: usize = 64;

/// A module's manifest as it lies in the file: no pointers, so it can be read without opening the library.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Manifest {
    magic: [u8; 8],
    api_major: u16,
    api_minor: u16,
    flags: u32,
    id: [u8; MAX_ID],
    version: [u8; 32],
    rustc: [u8; 64],
}

/// Bytes of a [`Manifest`].
pub const SIZE: usize = size_of::<Manifest>();

impl Manifest {
    /// The manifest of the crate that calls it; used by [`export_module!`](crate::export_module), where a name that
    /// is too long does not compile.
    ///
    /// # Panics
    /// The id has more than [`MAX_ID`] bytes.
    #[must_use]
    pub const fn new(id: &str, version: &str) -> Self {
        assert!(id.len() <= MAX_ID, "a module's crate has a name of at most 64 bytes");
        Manifest {
            magic: MAGIC,
            api_major: crate::abi::VERSION.0,
            api_minor: crate::abi::VERSION.1,
            flags: UNLOADABLE,
            id: padded(id),
            version: padded(version),
            rustc: padded(env!("PLUGIN_API_RUSTC")),
        }
    }
}

const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut padded = [0; N];
    let mut i = 0;
    while i < bytes.len() && i < N {
        padded[i] = bytes[i];
        i += 1;
    }
    padded
}

/// A manifest that was read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadManifest {
    /// Major and minor version of the plugin-api that the module was built with.
    pub api: (u16, u16),
    /// Bits such as [`UNLOADABLE`].
    pub flags: u32,
    /// The crate's name.
    pub id: String,
    /// The crate's version.
    pub version: String,
    /// The compiler.
    pub rustc: String,
}

/// Why bytes are not a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadManifest {
    /// Fewer bytes than a manifest has.
    Short(usize),
    /// Other first bytes.
    Magic,
    /// A text that is empty or not UTF-8; which one.
    Text(&'static str),
}

impl fmt::Display for BadManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadManifest::Short(found) => write!(f, "its manifest has {found} bytes instead of {SIZE}"),
            BadManifest::Magic => f.write_str("its manifest does not begin with HOOKLINE"),
            BadManifest::Text(field) => write!(f, "its manifest's {field} is empty or not text"),
        }
    }
}

impl std::error::Error for BadManifest {}

impl ReadManifest {
    /// Reads the bytes at [`SYMBOL`] in a module's file.
    ///
    /// # Errors
    /// Says what about the bytes is not a manifest; no bytes make it panic.
    pub fn read(bytes: &[u8]) -> Result<Self, BadManifest> {
        let short = || BadManifest::Short(bytes.len());
        let mut rest = bytes.get(..SIZE).ok_or_else(short)?;
        let mut take = |n: usize| {
            let (head, tail) = rest.split_at(n.min(rest.len()));
            rest = tail;
            head
        };
        if take(MAGIC.len()) != MAGIC {
            return Err(BadManifest::Magic);
        }
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |n, byte| (n << 8) | u32::from(*byte));
        let short_number = |bytes: &[u8]| u16::try_from(number(bytes)).unwrap_or(u16::MAX);
        Ok(ReadManifest {
            api: (short_number(take(2)), short_number(take(2))),
            flags: number(take(4)),
            id: text("id", take(MAX_ID))?,
            version: text("version", take(32))?,
            rustc: text("compiler", take(64))?,
        })
    }
}

fn text(field: &'static str, bytes: &[u8]) -> Result<String, BadManifest> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(BadManifest::Text(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(id: &str, version: &str) -> Vec<u8> {
        let manifest = Manifest::new(id, version);
        let mut bytes = manifest.magic.to_vec();
        bytes.extend(manifest.api_major.to_le_bytes());
        bytes.extend(manifest.api_minor.to_le_bytes());
        bytes.extend(manifest.flags.to_le_bytes());
        bytes.extend(manifest.id);
        bytes.extend(manifest.version);
        bytes.extend(manifest.rustc);
        bytes
    }

    #[test]
    fn a_manifest_reads_as_it_was_written() {
        let read = ReadManifest::read(&bytes_of("webhooks_doorbell", "1.2.3")).unwrap();
        assert_eq!(read.id, "webhooks_doorbell");
        assert_eq!(read.version, "1.2.3");
        assert_eq!(read.api, crate::abi::VERSION);
        assert_eq!(read.flags, UNLOADABLE);
        assert!(read.rustc.starts_with("rustc "), "{}", read.rustc);
    }

    #[test]
    fn what_is_not_a_manifest_says_why() {
        let good = bytes_of("a", "1");
        assert_eq!(ReadManifest::read(&good[..20]), Err(BadManifest::Short(20)));
        assert_eq!(ReadManifest::read(&[b'x'; SIZE]), Err(BadManifest::Magic));
        assert_eq!(ReadManifest::read(&bytes_of("", "1")), Err(BadManifest::Text("id")));
    }

    #[test]
    fn the_abi_version_is_the_crates_version() {
        let (major, minor) = crate::abi::VERSION;
        assert!(env!("CARGO_PKG_VERSION").starts_with(&format!("{major}.{minor}.")));
    }
}
