//! Exports something, but nothing of a module.

/// Not what a host looks for.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> u32 {
    42
}
