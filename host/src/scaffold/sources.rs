//! Which files of the repository are compiled in, as they stand.

include!(concat!(env!("OUT_DIR"), "/sources.rs"));

pub(super) const ROOT_MANIFEST: &str = include_str!("../../../Cargo.toml");
pub(super) const ROOT_LOCK: &str = include_str!("../../../Cargo.lock");
pub(super) const RUSTFMT: &str = include_str!("../../../rustfmt.toml");
pub(super) const CLIPPY: &str = include_str!("../../../clippy.toml");
pub(super) const LICENCES: [(&str, &str); 2] = [
    ("LICENSE-APACHE", include_str!("../../../LICENSE-APACHE")),
    ("LICENSE-MIT", include_str!("../../../LICENSE-MIT")),
];
