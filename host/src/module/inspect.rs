//! Whether a file is a module that this host can open, decided from its bytes alone.
//!
//! Opening a library runs its constructors, and a library that was cut short kills the process inside the
//! loader with SIGBUS. So everything that can be known is known before.

use std::fmt::Write as _;

use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::{Architecture, LittleEndian, Object as _, ObjectSegment as _, ObjectSymbol as _};
use plugin_api::abi;
use plugin_api::manifest::{ROOT_SYMBOL, ReadManifest, SIZE, SYMBOL};
use sha2::{Digest as _, Sha256};

use super::unloading::{PinReason, pin_reason};

/// Bytes of a page at least; segments of systems with larger ones are aligned to those.
const PAGE: u64 = 4096;

/// What a file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedFile {
    /// Its manifest.
    pub manifest: ReadManifest,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Why its library can never be unmapped; `None` where it may be.
    pub pin_reason: Option<PinReason>,
    /// Bytes of memory that its segments take when they are mapped, in whole pages.
    pub mapped_bytes: u64,
}

/// Why a file is not taken. Each text ends a sentence that begins with the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitFile {
    /// No bytes.
    #[error("is empty")]
    Empty,
    /// Not a library of this system.
    #[error("is not a dynamic library of this system: {0}")]
    NotALibrary(String),
    /// Fewer bytes than its headers promise.
    #[error("was cut short: its headers speak of {need} bytes and it has {have}; copy it again")]
    CutShort {
        /// Bytes that its headers speak of.
        need: u64,
        /// Bytes that it has.
        have: u64,
    },
    /// For another processor.
    #[error("was built for {found}, this host runs on {}", std::env::consts::ARCH)]
    OtherMachine {
        /// What it was built for.
        found: String,
    },
    /// A library, not a module.
    #[error(
        "is a library but not a module: it does not export {0}; a module has one `plugin_api::export_module!` line and crate-type \"cdylib\""
    )]
    NotAModule(&'static str),
    /// The manifest is damaged.
    #[error("is not a module: {0}")]
    BadManifest(String),
    /// Built against an API that this host does not speak.
    #[error(
        "was built against plugin-api {}.{}, this host speaks {}.{}: set `plugin-api = \"~{}.{}\"` in its Cargo.toml (where that has `path = \"plugin-api\"`, replace the folder by the one that `hookline new` of this host writes) and build it again{}",
        found.0, found.1, abi::VERSION.0, abi::VERSION.1, abi::VERSION.0, abi::VERSION.1, or_a_newer_host(*found)
    )]
    OtherApi {
        /// Major and minor version that it was built with.
        found: (u16, u16),
    },
    /// An id that is no hook's.
    #[error("has the id {0:?}; a module's crate is named webhooks_<hook>, in lower case")]
    BadId(String),
}

/// A host takes older minor versions, so one that speaks what the module was built against, or more of it, would do.
fn or_a_newer_host(found: (u16, u16)) -> String {
    if found < abi::VERSION {
        return String::new();
    }
    format!(", or load it into a host that speaks {}.{}", found.0, found.1)
}

/// Looks at the bytes of a file.
///
/// # Errors
/// [`UnfitFile`] says what is wrong and what would be right. No bytes make it panic.
pub fn inspect(bytes: &[u8]) -> Result<InspectedFile, UnfitFile> {
    if bytes.is_empty() {
        return Err(UnfitFile::Empty);
    }
    let not_a_library = |error: object::Error| UnfitFile::NotALibrary(error.to_string());
    if bytes.starts_with(b"\x7fELF") {
        whole_elf(bytes)?;
    }
    if object::FileKind::parse(bytes).is_err() {
        let start: String = String::from_utf8_lossy(bytes).chars().take(16).collect();
        return Err(UnfitFile::NotALibrary(format!("it begins with {start:?}")));
    }
    let file = object::File::parse(bytes).map_err(not_a_library)?;
    if file.architecture() != this_architecture() {
        return Err(UnfitFile::OtherMachine { found: format!("{:?}", file.architecture()) });
    }
    if file.kind() != object::ObjectKind::Dynamic {
        return Err(UnfitFile::NotALibrary(format!("it is of the kind {:?}", file.kind())));
    }
    let manifest = read_manifest(&file)?;
    fits(&manifest)?;
    let pin_reason = pin_reason(&file, manifest.flags);
    let segments = file.segments().map(|segment| (segment.address(), segment.size(), segment.align()));
    let mapped_bytes = mapped_bytes(segments);
    Ok(InspectedFile { manifest, sha256: hex(&Sha256::digest(bytes)), pin_reason, mapped_bytes })
}

/// The pages of segments, each an address, a size and an alignment.
fn mapped_bytes(segments: impl Iterator<Item = (u64, u64, u64)>) -> u64 {
    let pages = segments.map(|(address, size, align)| {
        let page = align.max(PAGE);
        let end = address.saturating_add(size).div_ceil(page).saturating_mul(page);
        end.saturating_sub(address / page * page)
    });
    pages.fold(0, u64::saturating_add)
}

/// Every segment and the section table must lie inside the file, or the loader maps pages that are not there.
fn whole_elf(bytes: &[u8]) -> Result<(), UnfitFile> {
    let cut_short = |need: u64| UnfitFile::CutShort { need, have: bytes.len() as u64 };
    let bad = |error: object::Error| UnfitFile::NotALibrary(error.to_string());
    if bytes.len() < 64 {
        return Err(cut_short(64));
    }
    let header = object::elf::FileHeader64::<LittleEndian>::parse(bytes).map_err(bad)?;
    let endian = header.endian().map_err(bad)?;
    let segments_end = header.e_phoff(endian).saturating_add(
        u64::from(header.e_phentsize(endian)).saturating_mul(u64::from(header.e_phnum(endian))),
    );
    let sections_end = header.e_shoff(endian).saturating_add(
        u64::from(header.e_shentsize(endian)).saturating_mul(u64::from(header.e_shnum(endian))),
    );
    let mut need = segments_end.max(sections_end);
    if need > bytes.len() as u64 {
        return Err(cut_short(need));
    }
    let elf = ElfFile64::<LittleEndian>::parse(bytes).map_err(bad)?;
    for segment in elf.elf_program_headers() {
        need = need.max(segment.p_offset(endian).saturating_add(segment.p_filesz(endian)));
    }
    for section in elf.elf_section_table().iter() {
        if section.sh_type(endian) != object::elf::SHT_NOBITS {
            need = need.max(section.sh_offset(endian).saturating_add(section.sh_size(endian)));
        }
    }
    if need > bytes.len() as u64 {
        return Err(cut_short(need));
    }
    Ok(())
}

fn read_manifest(file: &object::File<'_>) -> Result<ReadManifest, UnfitFile> {
    let address_of = |name: &'static str| {
        file.dynamic_symbols()
            .chain(file.symbols())
            .find(|symbol| symbol.is_definition() && symbol_is(symbol, name))
            .map(|symbol| symbol.address())
            .ok_or(UnfitFile::NotAModule(name))
    };
    let address = address_of(SYMBOL)?;
    address_of(ROOT_SYMBOL)?;
    let bytes = file
        .segments()
        .find_map(|segment| segment.data_range(address, SIZE as u64).ok().flatten())
        .ok_or_else(|| UnfitFile::BadManifest("its manifest lies outside the file".to_owned()))?;
    ReadManifest::read(bytes).map_err(|error| UnfitFile::BadManifest(error.to_string()))
}

/// On macOS every symbol carries one more underscore.
fn symbol_is(symbol: &object::Symbol<'_, '_>, name: &str) -> bool {
    symbol.name().is_ok_and(|found| found == name || found.strip_prefix('_') == Some(name))
}

fn fits(manifest: &ReadManifest) -> Result<(), UnfitFile> {
    let (major, minor) = manifest.api;
    if major != abi::VERSION.0 || minor > abi::VERSION.1 {
        return Err(UnfitFile::OtherApi { found: manifest.api });
    }
    let hook = manifest.id.strip_prefix("webhooks_").unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if hook.is_empty() || !hook.chars().all(plain) {
        return Err(UnfitFile::BadId(manifest.id.clone()));
    }
    Ok(())
}

fn this_architecture() -> Architecture {
    match std::env::consts::ARCH {
        "x86_64" => Architecture::X86_64,
        "aarch64" => Architecture::Aarch64,
        "arm" => Architecture::Arm,
        "riscv64" => Architecture::Riscv64,
        _ => Architecture::Unknown,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String does not fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library that every Linux has mapped: the C library of the test itself.
    fn some_library() -> Vec<u8> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .find(|path| path.contains("libc.so"));
        std::fs::read(path.unwrap()).unwrap()
    }

    #[track_caller]
    fn check(bytes: &[u8], reason: &str) {
        let unfit = inspect(bytes).unwrap_err().to_string();
        assert!(unfit.contains(reason), "{unfit}");
    }

    #[test]
    fn what_is_no_library_is_refused_by_what_it_is() {
        check(b"", "is empty");
        check(b"this is text\n", "it begins with \"this is text\\n\"");
        check(b"\x7fELF", "was cut short");
        check(&[0; 4096], "is not a dynamic library");
    }

    #[test]
    fn a_library_that_is_no_module_is_refused_by_what_is_missing() {
        check(&some_library(), "does not export HOOKLINE_MODULE_MANIFEST");
    }

    #[test]
    fn a_library_cut_short_anywhere_is_refused() {
        let whole = some_library();
        for tenth in 0..10 {
            let cut = &whole[..whole.len() * tenth / 10];
            assert!(inspect(cut).is_err(), "{tenth} tenths");
        }
    }

    #[test]
    fn no_damage_to_a_header_makes_it_panic() {
        let whole = some_library();
        for at in 0..1024 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            assert!(inspect(&damaged).is_err());
        }
    }

    #[test]
    fn another_api_is_told_what_to_change() {
        let (major, minor) = abi::VERSION;
        let spoken = format!("{major}.{minor}");
        let change = format!(
            "this host speaks {spoken}: set `plugin-api = \"~{spoken}\"` in its Cargo.toml (where that has \
             `path = \"plugin-api\"`, replace the folder by the one that `hookline new` of this host writes) and \
             build it again"
        );
        for (found, or_else) in [
            ((major - 1, 9), ""),
            (
                (major, minor + 1),
                format!(", or load it into a host that speaks {major}.{}", minor + 1).as_str(),
            ),
            ((major + 1, 0), format!(", or load it into a host that speaks {}.0", major + 1).as_str()),
        ] {
            let told = UnfitFile::OtherApi { found }.to_string();
            let built = format!("was built against plugin-api {}.{}, ", found.0, found.1);
            assert_eq!(told, format!("{built}{change}{or_else}"));
        }
    }

    #[test]
    fn segments_take_whole_pages() {
        let check = |segments: &[(u64, u64, u64)], pages: u64| {
            assert_eq!(mapped_bytes(segments.iter().copied()), pages * PAGE, "{segments:x?}");
        };
        check(&[], 0);
        check(&[(0, 1, 0x1000)], 1);
        check(&[(0, 0x1000, 0x1000), (0x1ff0, 0x20, 0x1000)], 3);
        check(&[(0x10, 1, 0x10000)], 16);
        check(&[(0, 1, 0)], 1);
        assert_eq!(mapped_bytes([(1, u64::MAX, 0x1000); 3].into_iter()), u64::MAX);
        assert_eq!(mapped_bytes([(u64::MAX, u64::MAX, u64::MAX)].into_iter()), 0);
    }

    #[test]
    fn versions_and_ids_are_checked() {
        let manifest = |id: &str, api| ReadManifest {
            api,
            flags: 0,
            id: id.to_owned(),
            version: "1.0.0".to_owned(),
            rustc: "rustc".to_owned(),
        };
        let (major, minor) = abi::VERSION;
        assert_eq!(fits(&manifest("webhooks_door", (major, minor))), Ok(()));
        assert_eq!(fits(&manifest("webhooks_door", (major, 0))), Ok(()));
        for api in [(major + 1, 0), (major, minor + 1), (0, 9)] {
            assert_eq!(fits(&manifest("webhooks_door", api)), Err(UnfitFile::OtherApi { found: api }));
        }
        for id in ["door", "webhooks_", "webhooks_Door", "webhooks_a/b", "webhooks_../x"] {
            assert_eq!(fits(&manifest(id, (major, minor))), Err(UnfitFile::BadId(id.to_owned())));
        }
    }
}
