//! Ids as the clouds make them.

use std::fmt::Write as _;

/// Makes ids, the same ones for the same seed.
#[derive(Debug)]
pub struct Ids {
    state: u64,
    last: u64,
}

impl Ids {
    /// Ids of this seed; numbers begin after 0.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed, last: 0 }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): good enough for ids that only have to differ.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A random UUID (version 4).
    pub fn uuid(&mut self) -> String {
        let (high, low) = (self.random(), self.random());
        let (high, low) = (high & !0xf000 | 0x4000, low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000);
        let mut text = format!("{high:016x}{low:016x}");
        for at in [8, 13, 18, 23] {
            text.insert(at, '-');
        }
        text
    }

    /// A secret of 64 hexadecimal digits.
    pub fn secret(&mut self) -> String {
        (0..4).fold(String::new(), |mut text, _| {
            // Writing to a text cannot fail.
            write!(text, "{:016x}", self.random()).unwrap_or_default();
            text
        })
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_uuids_and_differ() {
        let mut ids = Ids::new(7);
        let made: std::collections::BTreeSet<_> = (0..10_000).map(|_| ids.uuid()).collect();
        assert_eq!(made.len(), 10_000);
        for id in made {
            let parts: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
            assert!(id[14..].starts_with('4') && "89ab".contains(&id[19..20]), "{id}");
        }
    }
}
