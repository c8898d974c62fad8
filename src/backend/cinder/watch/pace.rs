//! How often is looked.

use std::collections::HashMap;
use std::time::Duration;

/// The shortest pause between two looks for the same object.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest pause for who waits for minutes.
const LONG: Duration = Duration::from_secs(4);
/// The longest pause for who waits for less than a minute. An attach that fails says so only by a state, and has to be
/// seen within two seconds.
const SOON: Duration = Duration::from_millis(1500);
/// The earliest and the latest first look. What fails without a word has to be seen within two seconds.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_millis(1200);
/// The longest pause while looks fail.
const FAILING: Duration = Duration::from_secs(5);

/// Who waits alone can be told apart from a crowd.
const CROWD: usize = 4;
/// The shortest pause of a crowd, which shares what a look costs.
const BRISK: Duration = Duration::from_millis(75);
/// The longest pause of a crowd, as long as it moves.
const CROWDED: Duration = Duration::from_millis(1500);

/// The pause before the next look for who has waited for so long: a quarter of that, so that the time that is lost stays
/// in proportion to the time that it took anyhow.
pub(in crate::backend::cinder) fn next(age: Duration) -> Duration {
    let longest = if age < Duration::from_secs(60) { SOON } else { LONG };
    (age / 4).clamp(SHORTEST, longest)
}

/// The shortest pause between two looks for a crowd: as long as it takes until a look ends more than one wait, so that a
/// wait costs less than half a look, whether the cloud is fast or slow.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend::cinder) struct Crowd(Duration);

impl Default for Crowd {
    fn default() -> Self {
        Self(BRISK)
    }
}

impl Crowd {
    /// Learns how many waits ended since the look before, when so many were waiting. Of a few nothing is learned.
    pub(in crate::backend::cinder) fn learn(&mut self, waiting: usize, ended: usize) {
        if waiting + ended < CROWD {
            *self = Self::default();
            return;
        }
        let next = match ended {
            0 => self.0 * 3 / 2,
            1 => self.0 * 5 / 4,
            2 | 3 => self.0,
            _ => self.0 * 3 / 4,
        };
        self.0 = next.clamp(BRISK, CROWDED);
    }

    /// The pause for so many who wait.
    pub(in crate::backend::cinder) fn pause(&self, waiting: usize) -> Duration {
        if waiting < CROWD { Duration::ZERO } else { self.0 }
    }

    /// The pause before the next look for one of so many, who has waited for so long.
    pub(in crate::backend::cinder) fn next(&self, waiting: usize, age: Duration) -> Duration {
        let alone = next(age);
        if waiting < CROWD { alone } else { alone.min(self.0) }
    }
}

/// When it is first looked, by what was waited for and how long that took before: a little before most are done costs a
/// look too many, a little after costs a little time.
#[derive(Debug, Default)]
pub(in crate::backend::cinder) struct Habits(HashMap<&'static str, Duration>);

impl Habits {
    /// How long to wait before the first look.
    pub(in crate::backend::cinder) fn first(&self, habit: Option<&'static str>) -> Option<Duration> {
        self.0.get(habit?).copied()
    }

    /// A wait ended after so many looks.
    pub(in crate::backend::cinder) fn learn(
        &mut self,
        habit: Option<&'static str>,
        looks: u32,
        age: Duration,
    ) {
        let Some(habit) = habit else { return };
        let known = self.0.entry(habit).or_insert(SHORTEST);
        // Settles where two in three are done at the first look.
        let next = if looks <= 1 { *known * 9 / 10 } else { (*known * 5 / 4).min(age) };
        *known = next.clamp(SOONEST, LATEST);
    }
}

/// The pause after so many failed looks in a row.
pub(in crate::backend::cinder) fn after_failures(failures: u32) -> Duration {
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

    #[test]
    fn a_crowd_is_looked_at_as_often_as_it_moves() {
        // Waits end one after the other, so often in a second.
        let run = |per_second: u32| {
            let (mut crowd, mut looks, mut clock) = (Crowd::default(), 0, Duration::ZERO);
            let mut rest = 0.0;
            while clock < Duration::from_secs(60) {
                let pause = crowd.pause(30);
                clock += pause;
                looks += 1;
                rest += pause.as_secs_f64() * f64::from(per_second);
                let ended = (0..100).take_while(|n| f64::from(*n) + 1.0 <= rest).count();
                rest = rest.fract();
                crowd.learn(30, ended);
            }
            (crowd.pause(30), f64::from(looks) / f64::from(per_second * 60))
        };
        for per_second in [2, 5, 10, 30] {
            let (pause, looks) = run(per_second);
            assert!(looks < 0.65, "{per_second} a second: {looks} looks each, every {pause:?}");
        }
        assert!(run(6).0 <= Duration::from_millis(500), "{:?}", run(6).0);
        assert_eq!(Crowd::default().pause(3), Duration::ZERO);
        // Waits that end one by one, each alone, do not make the next crowd wait.
        let mut crowd = Crowd::default();
        (0..50).for_each(|_| crowd.learn(1, 1));
        assert_eq!(crowd.pause(30), BRISK);
    }

    #[test]
    fn the_first_look_comes_when_most_are_done() {
        let mut habits = Habits::default();
        assert_eq!((habits.first(None), habits.first(Some("attach"))), (None, None));
        for turn in 0..200_u64 {
            let first = habits.first(Some("attach")).unwrap_or(SHORTEST);
            let done = Duration::from_millis(500 + turn * 37 % 100);
            let looks = if first >= done { 1 } else { 2 };
            habits.learn(Some("attach"), looks, first.max(done + SHORTEST));
        }
        let first = habits.first(Some("attach")).unwrap();
        assert!(first > Duration::from_millis(480) && first < Duration::from_millis(760), "{first:?}");
        habits.learn(Some("attach"), 9, Duration::from_secs(60));
        assert!(habits.first(Some("attach")).unwrap() <= LATEST);
    }
}
