//! How often is looked.

use std::time::Duration;

/// The shortest pause between two looks for the same object.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest pause for who waits for minutes.
const LONG: Duration = Duration::from_secs(4);
/// The longest pause for who waits for less than a minute. An attach that fails says so only by a state, and has to be
/// seen within two seconds.
const SOON: Duration = Duration::from_millis(1500);
/// The longest pause while looks fail.
const FAILING: Duration = Duration::from_secs(5);

/// The pause before the next look for who has waited for so long: a quarter of that, so that the time that is lost stays
/// in proportion to the time that it took anyhow.
pub(in crate::backend::cinder) fn next(age: Duration) -> Duration {
    let longest = if age < Duration::from_secs(60) { SOON } else { LONG };
    (age / 4).clamp(SHORTEST, longest)
}

/// The pause after so many failed looks in a row.
pub(super) fn after_failures(failures: u32) -> Duration {
    (SHORTEST * 2_u32.saturating_pow(failures.min(10))).min(FAILING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rare_and_stay_bounded() {
        let mut age = Duration::ZERO;
        let mut looks = Vec::new();
        while age < Duration::from_secs(600) {
            age += next(age);
            looks.push(age.as_secs_f64());
        }
        let within = |seconds: f64| looks.iter().filter(|look| **look <= seconds).count();
        assert!((3..=5).contains(&within(1.0)), "{:?}", &looks[..8]);
        assert!((10..=16).contains(&within(10.0)), "{:?}", &looks[..16]);
        assert!(looks.len() < 200, "{}", looks.len());
        assert_eq!(after_failures(1), Duration::from_millis(400));
        assert_eq!(after_failures(u32::MAX), FAILING);
    }
}
