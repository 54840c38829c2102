//! When memory that was freed goes back to the system. While a host starts that is at once: what is used for a moment
//! then, such as modules' files and documents as they are read, would otherwise be what others come to stand in, a little
//! in each page, for as long as it runs. Afterwards it is kept for a while, as the next event needs as much.

use std::sync::OnceLock;

/// Says whether freed memory is kept for a while. The program sets it, as the allocator is its own.
pub static KEEP_FREED: OnceLock<fn(bool)> = OnceLock::new();

pub(in crate::app) fn keep_freed(keep: bool) {
    if let Some(set) = KEEP_FREED.get() {
        set(keep);
    }
}
