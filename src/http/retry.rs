//! Whether, and when, a call is made again.

use std::time::{Duration, SystemTime};

use super::fault::Lost;
use super::{Answer, Request};

/// Tries of one call, where the cloud does not answer or answers with a fault of its own.
const TRIES: u32 = 3;
/// The wait before the second try; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(250);
/// The wait where a rate limit does not say how long.
const THROTTLED: Duration = Duration::from_secs(1);
/// The longest wait that a cloud may ask for. Longer ones are usually a day's quota or a mistake, and the caller must
/// hear of them.
const LONGEST: Duration = Duration::from_secs(60);

/// What follows on a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It stays as it is.
    Done,
    /// Again after this time.
    After(Duration),
    /// The cloud asks that nobody calls for so long; again after that, if `again`.
    Hold {
        /// How long.
        pause: Duration,
        /// Whether this call may be made again.
        again: bool,
    },
}

/// Judges a try, the `tries`th of its call.
pub(super) fn next(request: &Request, result: &Result<Answer, Lost>, tries: u32) -> Next {
    let backoff = |first: Duration| first * 2_u32.saturating_pow(tries.min(8) - 1);
    let more = tries < TRIES;
    match result {
        Ok(answer) => match (answer.status(), answer.retry_after()) {
            // A quota that is used up also answers 413, with no or no real time to wait.
            (413, None) => Next::Done,
            (413, Some(pause)) if pause.is_zero() => Next::Done,
            (413 | 429, _) if answer.settles() => Next::Done,
            // Turned away at the door: not carried out, so this holds for every call.
            (413 | 429, pause) => {
                let pause = pause.filter(|pause| !pause.is_zero());
                let pause = pause.unwrap_or_else(|| backoff(THROTTLED).min(LONGEST));
                Next::Hold { pause, again: true }
            }
            (503, Some(pause)) if !pause.is_zero() => Next::Hold { pause, again: request.repeatable && more },
            (500 | 502 | 503 | 504, _) if request.repeatable && more => Next::After(backoff(FIRST)),
            _ => Next::Done,
        },
        Err(lost) if lost.hopeless || !more => Next::Done,
        Err(lost) if !lost.sent || request.repeatable => Next::After(backoff(FIRST)),
        Err(_) => Next::Done,
    }
}

/// What a `Retry-After` header asks for (RFC 9110, 10.2.3): seconds or a date. At most a minute.
pub(super) fn after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let asked = match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        // More digits than a number holds is long, too.
        true => Duration::from_secs(text.parse().unwrap_or(u64::MAX)),
        false => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(now).unwrap_or_default()
        }
    };
    Some(asked.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_as_seconds_or_date_and_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |text| after(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:27 GMT"), Some(0), "a date that is past");
        assert_eq!(seconds("Sun, 06 Nov 2044 08:49:37 GMT"), Some(60));
        for bad in ["", "-1", "soon", "1.5"] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
    }
}
