//! Times as people and programs write them: RFC 3339, or nanoseconds since the Unix epoch.

use jiff::Timestamp;

/// Nanoseconds of either form.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    if let Ok(nanos) = text.parse() {
        return Ok(nanos);
    }
    let time: Timestamp = text.parse().map_err(|error: jiff::Error| {
        format!("{text:?} is neither a whole number of nanoseconds nor a time such as 2026-01-31T12:00:00Z: {error}")
    })?;
    u64::try_from(time.as_nanosecond()).map_err(|_| format!("{text:?} is before 1970 or after 2554"))
}

/// RFC 3339, as exact as the time is.
pub(super) fn format(nanos: u64) -> String {
    Timestamp::from_nanosecond(i128::from(nanos)).map_or_else(|_| nanos.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_every_time_comes_back() {
        assert_eq!(parse("17"), Ok(17));
        assert_eq!(parse("2026-01-31T12:00:00.000000001Z"), Ok(1_769_860_800_000_000_001));
        assert_eq!(parse("2026-01-31T13:00:00+01:00"), Ok(1_769_860_800_000_000_000));
        for nanos in [0, 1, 951_782_400_000_000_000, u64::MAX] {
            assert_eq!(parse(&format(nanos)), Ok(nanos));
        }
        for bad in
            ["", "yesterday", "-1", "1969-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "99999999999999999999"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
