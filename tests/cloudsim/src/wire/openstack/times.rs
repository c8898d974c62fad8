//! Filters by time: `gte:2018-11-28T06:25:15,lt:2018-11-29T00:00:00`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::state::{Moment, Refusal, Result};

/// Times that are to be met, all of them.
#[derive(Debug)]
pub(super) struct Range(Vec<(Compare, Timestamp)>);

type Compare = fn(&Timestamp, &Timestamp) -> bool;

impl Range {
    /// Reads a filter.
    pub(super) fn read(text: &str) -> Result<Self> {
        let bounds = text.split(',').map(|bound| {
            let (operator, time) = bound.split_once(':').unwrap_or((bound, ""));
            let compare: Compare = match operator {
                "gt" => |a, b| a > b,
                "gte" => |a, b| a >= b,
                "eq" => |a, b| a == b,
                "neq" => |a, b| a != b,
                "lt" => |a, b| a < b,
                "lte" => |a, b| a <= b,
                other => return Err(Refusal::invalid(format!("Invalid {other} operator"))),
            };
            let time = parse(time).ok_or_else(|| Refusal::invalid(format!("Invalid {time} value")))?;
            Ok((compare, time))
        });
        bounds.collect::<Result<_>>().map(Self)
    }

    /// Whether the moment is one of them.
    pub(super) fn has(&self, moment: Moment) -> bool {
        let moment =
            i64::try_from(moment.as_micros()).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
        moment.is_some_and(|moment| self.0.iter().all(|(compare, time)| compare(&moment, time)))
    }
}

/// Times without a zone are UTC.
fn parse(text: &str) -> Option<Timestamp> {
    let zoned = text.parse::<Timestamp>().ok();
    zoned.or_else(|| text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp()))
}
