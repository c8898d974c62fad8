//! Times as OpenStack's services write them: ISO 8601, with or without a fraction and a zone; without one it is UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time from its text; `None` for what is none, or before 1970.
#[must_use]
pub fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = text.trim().split_once(['T', ' '])?;
    let mut parts = date.splitn(3, '-').map(|part| number(part, 4));
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (clock, offset) = zone(time)?;
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = whole.splitn(3, ':').map(|part| number(part, 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let sound = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour <= 24
        && minute <= 59
        && second <= 60;
    if !sound || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let nanoseconds: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanoseconds))
}

/// The clock's part, and how many seconds it is ahead of UTC.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (clock, zone) = time.split_at(at);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let zone = zone.get(1..)?.replace(':', "");
    let (hours, minutes) = (number(zone.get(..2)?, 2)?, number(zone.get(2..)?, 2)?);
    Some((clock, sign * (hours * 3600 + minutes * 60)))
}

/// A time as the filters of lists want it: UTC, whole seconds, rounded down. Times before 1970 are its begin.
#[must_use]
pub fn show(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (day, second) = (i64::try_from(seconds / 86_400).unwrap_or(i64::MAX / 2), seconds % 86_400);
    let (year, month, day) = date(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// The date so many days from 1970-01-01: the inverse of [`days`].
const fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let since_march = (5 * of_year + 2) / 153;
    let month = if since_march < 10 { since_march + 3 } else { since_march - 9 };
    let year = year + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, of_year - (153 * since_march + 2) / 5 + 1)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let sound = (1..=digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    sound.then(|| text.parse().ok())?
}

/// Days from 1970-01-01 in the Gregorian calendar, counted in years that begin in March, so that a leap day is the last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let since_march = (month + 9) % 12;
    let day_of_year = (153 * since_march + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        Some(parse(text)?.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn all_forms_of_the_services_are_read() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:00:00"), Some(951_825_600));
        assert_eq!(seconds("2018-11-28T06:21:12.715987"), Some(1_543_386_072));
        assert_eq!(seconds("2018-11-28 06:21:12"), Some(1_543_386_072));
        assert_eq!(seconds("2018-11-28T08:21:12.000000+02:00"), Some(1_543_386_072));
        assert_eq!(seconds("2018-11-28T01:21:12-0500"), Some(1_543_386_072));
        assert_eq!(parse("1970-01-01T00:00:00.25Z"), Some(UNIX_EPOCH + Duration::from_millis(250)));
        for bad in [
            "",
            "yesterday",
            "2018-13-01T00:00:00Z",
            "2018-11-28",
            "2018-11-28T06:21",
            "1969-12-31T00:00:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(seconds in 0_u64..253_402_300_800) {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            prop_assert_eq!(parse(&show(time)), Some(time));
        }

        #[test]
        fn no_text_hurts(text in "\\PC{0,40}") {
            if let Some(moment) = parse(&text) {
                prop_assert!(moment >= UNIX_EPOCH);
            }
        }

        #[test]
        fn a_day_later_is_a_day_more(year in 1970_i64..2400, month in 1_i64..=12, day in 1_i64..=27) {
            prop_assert_eq!(days(year, month, day) + 1, days(year, month, day + 1));
            let first_of_next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
            let length = first_of_next - days(year, month, 1);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let expected = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            prop_assert_eq!(length, expected);
        }
    }
}
