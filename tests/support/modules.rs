//! Compiled modules for tests: `scripts/test` builds them, one by one, before the tests run.

use std::path::{Path, PathBuf};

/// The program, as `cargo build -p hookline` left it.
///
/// # Panics
/// It was not built.
#[must_use]
#[track_caller]
pub fn hookline() -> PathBuf {
    built("hookline", "hookline")
}

/// The library of a module's crate, as `cargo build -p NAME` left it.
///
/// # Panics
/// It was not built.
#[must_use]
#[track_caller]
pub fn cdylib(name: &str) -> PathBuf {
    built(&format!("lib{name}.{}", std::env::consts::DLL_EXTENSION), name)
}

#[track_caller]
fn built(file: &str, package: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    // target/debug/deps/it-… or target/release/load
    let folder = test.ancestors().find(|folder| folder.join("deps").is_dir()).expect("a target folder");
    let file = folder.join(file);
    assert!(file.is_file(), "{} is missing: run scripts/test, or `cargo build -p {package}`", file.display());
    file
}

/// A copy of a file in `folder`, changed by `damage`.
///
/// # Panics
/// It cannot be copied.
pub fn corrupted_copy(file: &Path, folder: &Path, name: &str, damage: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = std::fs::read(file).expect("the file");
    damage(&mut bytes);
    let copy = folder.join(name);
    std::fs::write(&copy, bytes).expect("the copy");
    copy
}

/// Overwrites bytes of a module's manifest, counted from its beginning (`HOOKLINE`).
///
/// # Panics
/// The library has no manifest.
pub fn with_manifest_bytes(library: &mut [u8], offset: usize, bytes: &[u8]) {
    let magic = plugin_api::manifest::MAGIC;
    // The magic also stands in code that compares it; the manifest is where an API version follows it.
    let version = plugin_api::abi::VERSION.0.to_le_bytes();
    let is_manifest = |window: &[u8]| window.starts_with(&magic) && window.ends_with(&version);
    let at = library.windows(magic.len() + 2).position(is_manifest).expect("a manifest");
    library[at + offset..at + offset + bytes.len()].copy_from_slice(bytes);
}

/// The library of `webhooks_versioned` with another version number in it.
///
/// # Panics
/// It was not built.
#[must_use]
#[track_caller]
pub fn versioned(number: u32) -> Vec<u8> {
    numbered("webhooks_versioned", "hookline-version-", number)
}

/// The library of `webhooks_flawed`: the first version fails on some events, the second only on what says so, later ones on
/// none.
///
/// # Panics
/// It was not built.
#[must_use]
#[track_caller]
pub fn flawed(number: u32) -> Vec<u8> {
    numbered("webhooks_flawed", "flawed-version-", number)
}

#[track_caller]
fn numbered(name: &str, text: &str, number: u32) -> Vec<u8> {
    let mut library = std::fs::read(cdylib(name)).expect("the library");
    let before = format!("{text}000001").into_bytes();
    let after = format!("{text}{number:06}");
    let places: Vec<usize> = (0..library.len() - before.len())
        .filter(|at| library[*at] == before[0] && library[*at..].starts_with(&before))
        .collect();
    assert!(!places.is_empty(), "the library should hold its version");
    for at in places {
        library[at..at + before.len()].copy_from_slice(after.as_bytes());
    }
    library
}

/// The library of [`versioned`], marked so that the loader never lets it go.
///
/// # Panics
/// As [`versioned`].
#[must_use]
pub fn versioned_for_good(number: u32) -> Vec<u8> {
    const FLAGS_1: [u8; 8] = 0x6fff_fffb_u64.to_le_bytes();
    const NODELETE: u8 = 8;
    let mut library = versioned(number);
    let entry = library.windows(16).position(|entry| entry.starts_with(&FLAGS_1) && entry[9..] == [0; 7]);
    library[entry.expect("the entry of its flags") + 8] |= NODELETE;
    library
}
