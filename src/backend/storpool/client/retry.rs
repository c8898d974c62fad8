//! The one rule for calls that change something and of which it is not known what became: look by name first, and send
//! again only what is not there.

use std::time::Duration;

use super::Failure;
use crate::error::{Error, Outcome, Result};

/// How often a call is sent.
const TRIES: u32 = 5;
/// The first pause; it doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// The tries of one piece of work.
#[derive(Debug, Default)]
pub(in super::super) struct Retry {
    tries: u32,
    /// Whether an answer was lost, so that what was asked for may still be done.
    lost: bool,
}

impl Retry {
    /// Judges a failure: where it may pass, waits a while, after which the caller looks what is there and then tries again.
    ///
    /// # Errors
    /// The failure, where another try would end the same, or there were enough.
    pub(in super::super) async fn again(&mut self, failure: Failure) -> Result<()> {
        self.tries += 1;
        let passes = match &failure {
            Failure::Refused(refusal) => refusal.transient,
            Failure::Lost(lost) => {
                // What cannot be tried again was judged where it arose: a call that could not be made is not under way.
                self.lost |= lost.sent && !lost.hopeless;
                !lost.hopeless
            }
        };
        if !passes || self.tries >= TRIES {
            return Err(self.judge(failure));
        }
        tracing::info!(failure = %failure, tries = self.tries, "what became of a call is looked for");
        tokio::time::sleep(PAUSE * (1 << (self.tries - 1))).await;
        Ok(())
    }

    /// A failure as an error that knows of the answers that were lost before.
    pub(in super::super) fn judge(&self, failure: Failure) -> Error {
        self.doubt(failure.into_error())
    }

    /// The same of an error that arose elsewhere.
    pub(in super::super) fn doubt(&self, error: Error) -> Error {
        if self.lost { error.with_outcome(Outcome::Unknown) } else { error }
    }
}
