//! Sizes in bytes, and how a requested range becomes one size.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A size in bytes, at most `i64::MAX` because that is what CSI can carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(u64);

impl Bytes {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest size that CSI can carry.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// This many bytes, capped at [`Bytes::MAX`].
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        if bytes > Self::MAX.0 { Self::MAX } else { Self(bytes) }
    }

    /// This many mebibytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self::new(count.saturating_mul(1 << 20))
    }

    /// This many gibibytes.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self::new(count.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as CSI writes it.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }

    /// The smallest multiple of `step` that is not smaller; `None` where that exceeds [`Bytes::MAX`].
    #[must_use]
    pub fn round_up(self, step: Self) -> Option<Self> {
        self.0.checked_next_multiple_of(step.0.max(1)).filter(|bytes| *bytes <= Self::MAX.0).map(Self)
    }

    /// The sum, capped at [`Bytes::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::new(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Bytes {
    /// Exact: `1536 MiB`, or bytes where no unit divides the size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{} {name}", self.0 / unit),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = Error;

    /// Reads `4096`, `10GiB`, `10 GiB` or Kubernetes' `10Gi`.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!("{text:?} is no size: write bytes, or a number with KiB, MiB, GiB or TiB"))
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text.get(..digits).and_then(|n| n.parse().ok()).ok_or_else(bad)?;
        let unit = match text.get(digits..).unwrap_or_default().trim_start() {
            "" | "B" => 1,
            name => {
                UNITS
                    .iter()
                    .find(|(unit, _)| *unit == name || unit.trim_end_matches('B') == name)
                    .ok_or_else(bad)?
                    .1
            }
        };
        number.checked_mul(unit).filter(|bytes| *bytes <= Self::MAX.0).map(Self).ok_or_else(bad)
    }
}

/// The range of sizes that a caller accepts. `limit` is never smaller than `required`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeRange {
    required: Bytes,
    limit: Option<Bytes>,
}

/// What sizes a back end can make. `step` is at least 1 byte; `min`, `max` and `default` are multiples of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRules {
    /// The smallest volume.
    pub min: Bytes,
    /// The largest volume.
    pub max: Bytes,
    /// Sizes are multiples of this.
    pub step: Bytes,
    /// The size where the caller names none.
    pub default: Bytes,
}

impl SizeRange {
    /// A range from CSI's two fields, where 0 means "not given".
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] for a negative number (CSI spec, CapacityRange);
    /// [`Kind::OutOfRange`] where `limit < required`.
    pub fn new(required: i64, limit: i64) -> Result<Self> {
        let parse = |what: &str, value: i64| {
            u64::try_from(value)
                .map(Bytes::new)
                .map_err(|_| Error::invalid(format!("{what} is negative: {value}")))
        };
        let (required, limit) = (parse("required_bytes", required)?, parse("limit_bytes", limit)?);
        let limit = (limit > Bytes::ZERO).then_some(limit);
        match limit {
            Some(limit) if limit < required => Err(Error::refused(
                Kind::OutOfRange,
                format!("limit_bytes ({limit}) is smaller than required_bytes ({required})"),
            )),
            _ => Ok(Self { required, limit }),
        }
    }

    /// At least this size, without an upper limit.
    #[must_use]
    pub const fn at_least(required: Bytes) -> Self {
        Self { required, limit: None }
    }

    /// The smallest acceptable size; zero where the caller did not say.
    #[must_use]
    pub const fn required(self) -> Bytes {
        self.required
    }

    /// The largest acceptable size.
    #[must_use]
    pub const fn limit(self) -> Option<Bytes> {
        self.limit
    }

    /// Whether a volume of this size is acceptable.
    #[must_use]
    pub fn accepts(self, size: Bytes) -> bool {
        size >= self.required && self.limit.is_none_or(|limit| size <= limit)
    }

    /// The same, for what can be used only from `least` on.
    ///
    /// # Errors
    /// [`Kind::OutOfRange`] where the caller's limit is smaller.
    pub fn raised_to(self, least: Bytes) -> Result<Self> {
        match self.limit {
            Some(limit) if limit < least => Err(Error::refused(
                Kind::OutOfRange,
                format!("limit_bytes ({limit}) is smaller than what is needed at least, {least}"),
            )),
            // Nothing asked for stays so: the default is chosen later.
            _ if self.required == Bytes::ZERO => Ok(self),
            limit => Ok(Self { required: self.required.max(least), limit }),
        }
    }

    /// The size to make: the requirement (or `floor`, the size of the source, or the default where neither is
    /// given), raised to the back end's minimum and rounded up to its step.
    ///
    /// # Errors
    /// [`Kind::OutOfRange`], with the numbers, where that exceeds the caller's limit or the back end's maximum,
    /// or where the requirement is smaller than `floor`.
    pub fn choose(self, rules: SizeRules, floor: Option<Bytes>) -> Result<Bytes> {
        let out = |text: String| Err(Error::refused(Kind::OutOfRange, text));
        if let Some(floor) = floor
            && self.required > Bytes::ZERO
            && self.required < floor
        {
            return out(format!("{} is asked for, but the source has {floor}", self.required));
        }
        let default = self.limit.map_or(rules.default, |limit| rules.default.min(limit));
        let wanted = if self.required > Bytes::ZERO { self.required } else { floor.unwrap_or(default) };
        match wanted.max(rules.min).round_up(rules.step) {
            Some(size) if size > rules.max => {
                out(format!("{size} is asked for, but the largest volume here has {}", rules.max))
            }
            None => out(format!("{wanted} is asked for, but the largest volume here has {}", rules.max)),
            Some(size) => match self.limit {
                Some(limit) if size > limit => out(format!(
                    "{wanted} becomes {size} here (smallest {}, step {}), over limit_bytes ({limit})",
                    rules.min, rules.step
                )),
                _ => Ok(size),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: SizeRules =
        SizeRules { min: Bytes::mib(1), max: Bytes::gib(16), step: Bytes::new(4096), default: Bytes::gib(1) };

    #[test]
    fn text_round_trips() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("10Gi", 10 << 30), ("10 GiB", 10 << 30), ("3KiB", 3072)]
        {
            assert_eq!(text.parse::<Bytes>().unwrap().get(), bytes, "{text}");
        }
        assert_eq!(Bytes::new(3 << 29).to_string(), "1536 MiB");
        assert_eq!(Bytes::new(1025).to_string(), "1025 B");
        for text in ["", "GiB", "-1", "1.5GiB", "1XB", "9999999999999TiB", "99999999999999999999"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_becomes_one_size() {
        let choose = |required, limit, floor: Option<u64>| {
            SizeRange::new(required, limit)
                .and_then(|r| r.choose(RULES, floor.map(Bytes::new)))
                .map(Bytes::get)
        };
        assert_eq!(choose(0, 0, None).unwrap(), 1 << 30);
        assert_eq!(choose(0, 5 << 20, None).unwrap(), 5 << 20);
        assert_eq!(choose(1, 0, None).unwrap(), 1 << 20);
        assert_eq!(choose((1 << 20) + 1, 0, None).unwrap(), (1 << 20) + 4096);
        assert_eq!(choose(0, 0, Some(7 << 20)).unwrap(), 7 << 20);
        for (required, limit, floor) in [
            (2 << 20, 1 << 20, None),
            (1, 4096, None),
            (i64::MAX, 0, None),
            (17 << 30, 0, None),
            (1 << 20, 0, Some(2 << 20)),
        ] {
            assert_eq!(
                choose(required, limit, floor).unwrap_err().kind(),
                Kind::OutOfRange,
                "{required} {limit}"
            );
        }
        assert_eq!(SizeRange::new(-1, 0).unwrap_err().kind(), Kind::InvalidArgument);
    }
}
