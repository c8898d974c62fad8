//! What a project may have, and has.

use std::fmt;

use crate::backend::cinder::model::AbsoluteLimits;
use crate::error::{Error, Kind, Result};
use crate::volume::Bytes;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Volumes,
    Gib,
    Snapshots,
}

/// What a project may have of something, and has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    unit: Unit,
    /// Of this type of volumes alone.
    of: Option<String>,
    used: u64,
    max: Option<u64>,
}

impl Share {
    fn left(&self) -> Option<u64> {
        self.max.map(|max| max.saturating_sub(self.used))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Volumes => "volumes",
            Unit::Gib => "GiB",
            Unit::Snapshots => "snapshots",
        };
        match self.max {
            Some(max) => write!(f, "{} of {max} {unit}", self.used)?,
            None => write!(f, "{} of any number of {unit}", self.used)?,
        }
        self.of.iter().try_for_each(|of| write!(f, " of {of}"))
    }
}

/// All that is granted to a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::backend::cinder) struct Room(Vec<Share>);

impl Room {
    /// From what the cloud tells of both.
    pub(super) fn told(limits: &AbsoluteLimits) -> Self {
        let mut room = Self::default();
        let mut add = |unit, used: Option<i64>, max: Option<i64>| {
            // -1 is no limit.
            let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
            room.add(unit, None, number(used).unwrap_or(0), number(max));
        };
        add(Unit::Volumes, limits.total_volumes_used, limits.max_total_volumes);
        add(Unit::Gib, limits.total_gigabytes_used, limits.max_total_volume_gigabytes);
        add(Unit::Snapshots, limits.total_snapshots_used, limits.max_total_snapshots);
        room
    }

    /// Adds something that is counted, of a type of volumes or of all.
    pub(super) fn add(&mut self, unit: Unit, of: Option<&str>, used: u64, max: Option<u64>) {
        self.0.push(Share { unit, of: of.map(str::to_owned), used, max });
    }

    /// What is left of something; `None` where that is without limit.
    pub(super) fn left(&self, unit: Unit) -> Option<u64> {
        self.0.iter().filter(|share| share.unit == unit).filter_map(Share::left).min()
    }

    /// Refuses what is more than is left.
    pub(super) fn admit(&self, volumes: u64, gib: u64) -> Result<()> {
        let over = |unit, more| more > 0 && self.left(unit).is_some_and(|left| more > left);
        match over(Unit::Volumes, volumes) || over(Unit::Gib, gib) {
            true => Err(Error::refused(Kind::ResourceExhausted, self.words(gib))),
            false => Ok(()),
        }
    }

    /// What there is, and what was asked for.
    pub(super) fn words(&self, gib: u64) -> String {
        let shares: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        let shares = match shares.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => shares.concat(),
        };
        format!("the project has {shares}; {} were asked for", Bytes::gib(gib))
    }
}
