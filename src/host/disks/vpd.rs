//! The pages on which a SCSI disk says what it is (SPC-5: 7.7.6 device identification, 7.7.19 unit serial number).

use std::io;

use super::Identifier;

/// The unit serial number.
pub(super) const SERIAL: u8 = 0x80;
/// The designators.
pub(super) const DESIGNATORS: u8 = 0x83;

/// The length of a page's head: what it is, and how much follows.
const HEAD: usize = 4;

/// Where an identifier of this page says that it comes from.
pub(super) const fn source(page: u8) -> &'static str {
    match page {
        SERIAL => "VPD 0x80",
        _ => "VPD 0x83",
    }
}

/// How many bytes a page has in all, by its head; `None` where there is no whole head.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let [_, _, high, low, ..] = bytes else { return None };
    Some(HEAD + usize::from(u16::from_be_bytes([*high, *low])))
}

/// Proves that an answer is the page that was asked for, all of it.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] where the target says that it has no such logical unit (SPC-5: 6.7.2, peripheral
/// qualifier 011b); [`io::ErrorKind::InvalidData`] for what is less than the page, or another one.
pub(super) fn check(page: u8, bytes: &[u8]) -> io::Result<()> {
    let bad = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    match (bytes, length(bytes)) {
        ([0x60..=0x7f, ..], _) => {
            Err(io::Error::new(io::ErrorKind::NotFound, "the target has no such logical unit"))
        }
        ([_, found, ..], _) if *found != page => {
            bad(format!("page {page:#x} was asked for, {found:#x} came"))
        }
        (_, Some(all)) if all <= bytes.len() => Ok(()),
        _ => bad(format!("only {} bytes of the page {page:#x} came", bytes.len())),
    }
}

/// What a whole page says; nothing for what is no such page.
pub(super) fn identifiers(page: u8, bytes: &[u8]) -> Vec<Identifier> {
    let [_, found, high, low, body @ ..] = bytes else { return Vec::new() };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let Some(body) = body.get(..length).filter(|_| *found == page) else { return Vec::new() };
    match page {
        SERIAL => text(body).map(|text| Identifier { source: source(page), text }).into_iter().collect(),
        DESIGNATORS => {
            designators(body).into_iter().map(|text| Identifier { source: source(page), text }).collect()
        }
        _ => Vec::new(),
    }
}

/// Those that name the logical unit itself, not its port or target.
fn designators(mut list: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let [set, kind, _, length, rest @ ..] = list {
        let Some((value, after)) = rest.split_at_checked(usize::from(*length)) else { break };
        list = after;
        let (set, association, kind) = (set & 0x0f, kind & 0x30, kind & 0x0f);
        if association != 0 {
            continue;
        }
        found.extend(match (kind, set) {
            // Vendor specific: QEMU's device_id.
            (0, 2 | 3) => text(value),
            // T10 vendor identification: eight characters of the vendor, then what the vendor likes; the serial is last.
            (1, 2 | 3) => text(value).and_then(|all| all.split_whitespace().next_back().map(str::to_owned)),
            // EUI-64, NAA, UUID.
            (2 | 3, 1) => Some(hexadecimal(value)),
            (0xa, 1) => value.get(2..).map(hexadecimal),
            _ => None,
        });
    }
    found
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_matches(|c: char| c == ' ' || c == '\0');
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '))
        .then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(page: u8, body: &[u8]) -> Vec<u8> {
        let length = u8::try_from(body.len()).unwrap();
        [&[0, page, 0, length], body].concat()
    }

    fn texts(number: u8, bytes: &[u8]) -> Vec<String> {
        identifiers(number, bytes).into_iter().map(|found| found.text).collect()
    }

    #[test]
    fn pages_of_the_usual_hypervisors_are_read() {
        let id = "cb49b381-9012-40cb-b8ee-80c19a4801b6";
        assert_eq!(texts(SERIAL, &page(SERIAL, id.as_bytes())), [id]);
        assert_eq!(texts(SERIAL, &page(SERIAL, b"  12345 ")), ["12345"]);
        // QEMU with a device_id; a T10 identification; VMware's NAA of 16 bytes; a port's own, which is not the disk's.
        let qemu = [&[2, 0, 0, 36][..], id.as_bytes()].concat();
        let t10 = [&[2, 1, 0, 25][..], b"QEMU    QEMU HARDDISK ab1"].concat();
        let naa = [&[1, 3, 0, 16][..], &[0x60; 16]].concat();
        let port = [&[1, 0x13, 0, 8][..], &[7; 8]].concat();
        let body = [qemu, t10, naa, port].concat();
        assert_eq!(
            texts(DESIGNATORS, &page(DESIGNATORS, &body)),
            [id.to_owned(), "ab1".to_owned(), "60".repeat(16)]
        );
    }

    #[test]
    fn a_page_that_is_not_whole_is_told_from_a_unit_that_is_gone() {
        let whole = page(SERIAL, b"abc");
        assert_eq!((check(SERIAL, &whole).is_ok(), length(&whole)), (true, Some(7)));
        // A disk may send more than the page.
        assert!(check(SERIAL, &[&whole[..], &[0; 9]].concat()).is_ok());
        for short in (0..7).map(|length| &whole[..length]) {
            assert_eq!(check(SERIAL, short).unwrap_err().kind(), io::ErrorKind::InvalidData, "{short:?}");
        }
        assert_eq!(check(DESIGNATORS, &whole).unwrap_err().kind(), io::ErrorKind::InvalidData);
        for gone in [&[0x7f, SERIAL, 0, 0][..], &[0x7f, 0, 6, 2, 31]] {
            assert_eq!(check(SERIAL, gone).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn broken_pages_say_nothing() {
        for bytes in [
            &[][..],
            &[0, 0x80],
            &[0, 0x80, 0, 9, b'a'],
            &[0, 0x83, 0, 1, b'a'],
            &[0, 0x80, 0, 0],
            &[0, 0x80, 0, 2, b' ', 0],
        ] {
            assert!(identifiers(SERIAL, bytes).is_empty(), "{bytes:?}");
        }
        assert!(texts(DESIGNATORS, &page(DESIGNATORS, &[2, 0, 0, 200, b'a'])).is_empty());
        assert!(
            texts(SERIAL, &page(SERIAL, b"a\xffb")).is_empty()
                && texts(SERIAL, &page(SERIAL, b"a\nb")).is_empty()
        );
    }
}
