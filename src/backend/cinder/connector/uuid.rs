//! The ids that Nova gives to servers.

/// An id of Nova: a UUID in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerId(String);

impl ServerId {
    /// From any text of a UUID's form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        const SHAPE: &str = "00000000-0000-0000-0000-000000000000";
        let text = text.trim().to_ascii_lowercase();
        let fits = text.len() == SHAPE.len()
            && text.bytes().zip(SHAPE.bytes()).all(|(byte, shape)| match shape {
                b'-' => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        // No machine's own, but what is there where nobody has set one.
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let nonsense = digits.iter().all(|digit| Some(digit) == digits.first());
        (fits && !nonsense).then_some(Self(text))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is random (RFC 9562, version 4), as all are that Nova makes. What firmware says where nobody has set
    /// it mostly is not.
    pub(super) fn random(&self) -> bool {
        self.0.as_bytes().get(14) == Some(&b'4')
            && matches!(self.0.as_bytes().get(19), Some(b'8' | b'9' | b'a' | b'b'))
    }

    /// The same bytes with the first three fields the other way round: SMBIOS before 2.6 did not say which way they are,
    /// so a kernel may show them wrongly.
    pub(super) fn swapped(&self) -> Self {
        let turn = |field: &str| -> String {
            let bytes: Vec<_> = field.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
            bytes.into_iter().rev().collect()
        };
        let fields = self.0.split('-').enumerate();
        let fields: Vec<_> =
            fields.map(|(at, field)| if at < 3 { turn(field) } else { field.to_owned() }).collect();
        Self(fields.join("-"))
    }
}

impl std::fmt::Display for ServerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
