//! Moments as people write and read them: RFC 3339, how long ago, Unix seconds. Pure.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment as people write it, for the API's description.
pub(crate) struct Moment;

impl utoipa::ToSchema for Moment {}

impl utoipa::PartialSchema for Moment {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        const TIME: &str = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]{1,9})?";
        const ZONE: &str = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
        const DAYS: &str = "(?:0[1-9]|1[0-9]|2[0-8])";
        const LEAP: &str =
            "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29";
        let long = "(?:0[13578]|1[02])-(?:29|3[01])";
        let date =
            format!("(?:[0-9]{{4}}-(?:(?:0[1-9]|1[0-2])-{DAYS}|{long}|(?:0[469]|11)-(?:29|30))|{LEAP})");
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some(format!("^(?:{date}T{TIME}{ZONE}|[0-9]{{1,12}}|[0-9]{{1,7}}[smhd])$")))
            .description(Some("`2026-07-01T12:00:00Z`, `90s`, `15m`, `2h`, `3d` (ago), or Unix seconds"))
            .build()
            .into()
    }
}

/// Reads a moment: `2026-07-01T12:00:00Z`, `90s`, `15m`, `2h`, `3d` (ago), or Unix seconds; in Unix milliseconds.
///
/// # Errors
/// What would be right.
pub fn moment(text: &str, now_ms: i64) -> Result<i64, String> {
    let wrong = || {
        format!(
            "{text:?} is no time: write one such as 2026-07-01T12:00:00Z, 90s, 15m, 2h or 3d (ago), or Unix seconds"
        )
    };
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return i64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| wrong());
    }
    let (digits, unit) = text.split_at(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: i64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "" => return number.checked_mul(1000).ok_or_else(wrong),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds * 1000).and_then(|ago| now_ms.checked_sub(ago)).ok_or_else(wrong)
}

/// As people read it, with milliseconds: `2026-07-01T12:00:00.250Z`.
#[must_use]
pub fn shown(time: OffsetDateTime) -> String {
    let whole = time.replace_nanosecond(time.nanosecond() / 1_000_000 * 1_000_000).unwrap_or(time);
    whole.format(&Rfc3339).unwrap_or_default()
}

/// Unix milliseconds as people read them.
#[must_use]
pub fn shown_ms(unix_ms: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok().map(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_or_how_long_ago_or_unix_seconds() {
        let now = 1_000_000_000_000;
        for (text, expected) in [
            ("1970-01-01T00:00:01.5Z", Some(1_500)),
            ("1970-01-01T01:00:01+01:00", Some(1_000)),
            ("90s", Some(now - 90_000)),
            ("15m", Some(now - 900_000)),
            ("2h", Some(now - 7_200_000)),
            ("3d", Some(now - 259_200_000)),
            ("1700000000", Some(1_700_000_000_000)),
            ("", None),
            ("h", None),
            ("2w", None),
            ("-1", None),
            ("yesterday", None),
            ("99999999999999999999", None),
            ("9999999999999999d", None),
        ] {
            assert_eq!(moment(text, now).ok(), expected, "{text:?}");
        }
        assert!(moment("noon", now).unwrap_err().contains("\"noon\" is no time"));
    }

    #[test]
    fn a_time_is_shown_with_milliseconds() {
        assert_eq!(shown_ms(1_500).as_deref(), Some("1970-01-01T00:00:01.5Z"));
        assert_eq!(shown_ms(i64::MAX), None);
    }
}
