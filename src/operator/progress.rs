//! Tells a waiting person what is waited for.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Where it is told: on stderr, so that the output itself stays as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// One line that counts the seconds.
    Terminal,
    /// A line now and then.
    Lines,
    /// Nowhere.
    Silent,
}

impl Progress {
    /// As it suits this process's stderr.
    #[must_use]
    pub fn here() -> Self {
        if io::stderr().is_terminal() { Self::Terminal } else { Self::Lines }
    }

    const fn pause(self) -> Duration {
        Duration::from_secs(if matches!(self, Self::Terminal) { 1 } else { 10 })
    }

    /// Waits for `work`, and says so where it takes longer than a moment.
    pub async fn during<T>(self, what: impl fmt::Display, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let mut ticks = interval_at(began + self.pause(), self.pause());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = pin!(work);
        let mut told = false;
        loop {
            tokio::select! {
                done = &mut work => {
                    if told && self == Self::Terminal {
                        tell("\r\x1b[K");
                    }
                    return done;
                }
                _ = ticks.tick() => told = true,
            }
            let seconds = began.elapsed().as_secs();
            match self {
                Self::Terminal => tell(&format!("\r{what} ... {seconds} s")),
                Self::Lines => tell(&format!("{what}: for {seconds} s now\n")),
                Self::Silent => {}
            }
        }
    }
}

fn tell(text: &str) {
    // Who does not see it still gets the result.
    io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}
