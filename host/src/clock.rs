//! The wall clock: nothing else reads it, so that whoever decides by time is told it. Unix time, and KAZOO's Gregorian
//! seconds, which count from the year 0.

use time::OffsetDateTime;

/// Gregorian seconds at the beginning of 1970.
pub const GREGORIAN: i64 = 62_167_219_200;

/// Now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the wall clock is read")]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Now, in Unix milliseconds: what is due is kept over restarts, so it goes by the wall clock.
#[must_use]
pub fn now_ms() -> i64 {
    i64::try_from(now().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// Now, in Unix seconds.
#[must_use]
pub fn unix_now() -> i64 {
    now().unix_timestamp()
}

/// Now, in Gregorian seconds.
#[must_use]
pub fn gregorian_now() -> i64 {
    gregorian(unix_now())
}

/// Unix seconds in Gregorian ones.
#[must_use]
pub fn gregorian(unix: i64) -> i64 {
    unix + GREGORIAN
}

/// Gregorian seconds in Unix ones.
#[must_use]
pub fn unix(gregorian: i64) -> i64 {
    gregorian - GREGORIAN
}
