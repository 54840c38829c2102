//! How much may stay mapped of generations that have ended, and what is refused beyond it. Pure.
//!
//! What counts is memory: the pages of the library's segments, as its file says, whether they are in memory right now or
//! could be read again, and a fixed sum for what is beside them. So the limit bounds what the process takes for them, and
//! the same file costs the same every time.

/// Thread-local keys that may be taken before no more library is loaded: the process has 1024, and aborts when
/// they are used up.
pub const MAX_KEYS: u32 = 900;

/// Bytes that a generation which stays mapped costs beside its segments: what the loader, the C library and the module's
/// statics keep on the heap. Some 27 KiB were measured of a small module,
/// over 750 generations.
pub const BESIDE_SEGMENTS: u64 = 32 * 1024;

/// What has been used of all that bounds how often modules can be replaced in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PinnedUse {
    /// Generations that have ended and stay mapped.
    pub generations: usize,
    /// Bytes that they are counted with.
    pub bytes: u64,
    /// Bytes that they may have (`modules.pinned_memory_limit`).
    pub limit: u64,
    /// Thread-local keys that are taken, of [`MAX_KEYS`].
    pub keys: u32,
}

impl PinnedUse {
    /// Whether another generation may be loaded, `to_come` being what will stay for certain of the one that it replaces.
    ///
    /// # Errors
    /// What is used up, and of what, to stand in a sentence.
    pub fn room(&self, to_come: u64) -> Result<(), String> {
        let PinnedUse { generations, bytes, limit, keys } = *self;
        if bytes.saturating_add(to_come) > limit {
            let more = match to_come {
                0 => String::new(),
                _ => format!(", and the one that serves would add {to_come}"),
            };
            return Err(format!(
                "{generations} earlier generations stay mapped with {bytes} bytes{more}; \
                 modules.pinned_memory_limit is {limit}"
            ));
        }
        if keys >= MAX_KEYS {
            return Err(format!(
                "{keys} of the process's thread-local keys are taken; the limit is {MAX_KEYS}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_next_may_not_exceed_either_limit() {
        let check = |bytes, to_come, keys, refused: Option<&str>| {
            let used = PinnedUse { generations: 7, bytes, limit: 1000, keys };
            let reason = used.room(to_come).err();
            assert_eq!(reason.is_some(), refused.is_some(), "{reason:?}");
            assert!(reason.unwrap_or_default().contains(refused.unwrap_or_default()), "{used:?}");
        };
        check(0, 0, 0, None);
        check(1000, 0, 899, None);
        check(900, 100, 0, None);
        check(
            900,
            101,
            0,
            Some("7 earlier generations stay mapped with 900 bytes, and the one that serves would add 101"),
        );
        check(1001, 0, 0, Some("stay mapped with 1001 bytes; modules.pinned_memory_limit is 1000"));
        check(u64::MAX, u64::MAX, 0, Some("modules.pinned_memory_limit"));
        check(0, 0, 900, Some("900 of the process's thread-local keys are taken; the limit is 900"));
    }

    #[test]
    fn without_any_memory_what_can_be_unmapped_is_loaded() {
        let none = PinnedUse::default();
        assert!(none.room(0).is_ok());
        assert!(none.room(1).is_err());
    }
}
