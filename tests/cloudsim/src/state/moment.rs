//! Times as the services write them.

use std::time::Duration;

/// A time since 1970 as `2018-11-28T06:25:15.288987`, UTC.
#[must_use]
pub fn text(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}",
        since_1970.subsec_micros()
    )
}

/// The date so many days after 1970-01-01 (the Gregorian calendar, in years that begin in March).
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let since_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * since_march + 2) / 5 + 1;
    let month = if since_march < 10 { since_march + 3 } else { since_march - 9 };
    (era * 400 + year + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000"),
            (951_782_399, "2000-02-28T23:59:59.000000"),
            (951_782_400, "2000-02-29T00:00:00.000000"),
            (1_543_386_315, "2018-11-28T06:25:15.000000"),
            (4_107_542_400, "2100-03-01T00:00:00.000000"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(text(Duration::from_secs(seconds)), expected);
        }
        assert!(text(Duration::from_micros(288_987)).ends_with(".288987"));
    }
}
