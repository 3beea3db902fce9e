//! Times on the command line.

use thalweg_api::moment;

/// Reads a length of time in seconds: `90s`, `10m`, `2h`, `1d`.
///
/// # Errors
///
/// What to write instead.
pub fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no length of time; write 90s, 10m, 2h or 1d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(unit).ok_or_else(wrong)
}

/// Reads how often something is done, in seconds; `0` is never.
///
/// # Errors
///
/// What to write instead.
pub fn period(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { seconds(text).map_err(|why| format!("{why}, or 0 for never")) }
}

/// Reads a moment in milliseconds since 1970: so long ago, or a date with or without a time in UTC.
///
/// # Errors
///
/// What to write instead.
pub fn since(text: &str) -> Result<u64, String> {
    if let Ok(ago) = seconds(text) {
        return Ok(moment::now().saturating_sub(ago.saturating_mul(1_000)));
    }
    moment::parse(text).ok_or_else(|| {
        format!("`{text}` is no time; write 10m for ten minutes ago, or 2026-11-27T16:35:00Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("2h"), Ok(7_200));
        assert_eq!(seconds("1d"), Ok(86_400));
        for nonsense in ["", "s", "90", "-1s", "1w", "1.5h", "99999999999999999999s", "9é"] {
            assert!(seconds(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn moments_are_ago_or_dates() {
        assert_eq!(since("1970-01-02"), Ok(86_400_000));
        let hour = moment::now() - since("1h").unwrap();
        assert!((3_600_000..3_610_000).contains(&hour), "{hour}");
        assert!(since("yesterday").unwrap_err().contains("10m"));
    }
}
