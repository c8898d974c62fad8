//! The live mount table, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::makedev;

use super::Mount;
use crate::error::{Error, Kind, Result};

const TABLE: &str = "/proc/self/mountinfo";
/// How often the table is read at most until two reads agree.
const TRIES: u32 = 50;

/// Reads the table until two reads agree: one read can miss a mount where another goes away meanwhile, because the
/// kernel hands the table out in pieces.
///
/// # Errors
/// Where it cannot be read or parsed; `Unavailable` where it never stands still.
pub(super) fn read() -> Result<Vec<Mount>> {
    read_by(|| std::fs::read(TABLE).map_err(|error| Error::io(format!("read {TABLE}"), error)))
}

fn read_by(mut read: impl FnMut() -> Result<Vec<u8>>) -> Result<Vec<Mount>> {
    let mut before = read()?;
    for _ in 0..TRIES {
        let now = read()?;
        if now == before {
            return parse(&now);
        }
        before = now;
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(Error::unknown(Kind::Unavailable, format!("{TABLE} changed during each of {TRIES} reads")))
}

/// The mounts at a canonical path in the order of the table, so the one on top is the last.
pub(super) fn at(mounts: &[Mount], target: &Path) -> Vec<Mount> {
    mounts.iter().filter(|mount| mount.target == target).cloned().collect()
}

fn parse(table: &[u8]) -> Result<Vec<Mount>> {
    let lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            parse_line(line).ok_or_else(|| {
                Error::internal(format!("{TABLE} has a line that cannot be read: {:?}", {
                    // The options may hold secrets: the place alone must do.
                    line.split(|byte| *byte == b' ')
                        .take(5)
                        .map(String::from_utf8_lossy)
                        .collect::<Vec<_>>()
                        .join(" ")
                }))
            })
        })
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = text(fields.next()?).parse().ok()?;
    let _parent: u64 = text(fields.next()?).parse().ok()?;
    let number = text(fields.next()?);
    let (major, minor) = number.split_once(':')?;
    let device = makedev(major.parse().ok()?, minor.parse().ok()?);
    let root = path(fields.next()?);
    let target = path(fields.next()?);
    let options = list(fields.next()?);
    // Optional fields, ended by a lone hyphen.
    let mut shared = false;
    while let field = fields.next()?
        && field != b"-"
    {
        shared |= field.starts_with(b"shared:");
    }
    let fs_type = text(fields.next()?);
    let source = text(fields.next()?);
    let super_options = list(fields.next()?);
    Some(Mount { id, device, root, target, options, fs_type, source, super_options, shared })
}

/// Undoes the kernel's escapes: backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.first_chunk::<3>().filter(|_| *first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match octal {
            Some(byte) => {
                plain.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

fn list(field: &[u8]) -> Vec<String> {
    text(field).split(',').map(str::to_owned).collect()
}

/// The canonical form of a path whose last part is not to be followed: what the table calls it. `None` where the
/// directory that would hold it is missing.
///
/// # Errors
/// `InvalidArgument` for a path without a last part.
pub(super) fn canonical(path: &Path) -> Result<Option<PathBuf>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::invalid(format!("{} names no file or directory", path.display())));
    };
    if !path.is_absolute() || path.as_os_str().as_bytes().contains(&0) {
        return Err(Error::invalid(format!("{:?} is no absolute path", path.display())));
    }
    match parent.canonicalize() {
        Ok(parent) => Ok(Some(parent.join(name))),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io(format!("resolve {}", parent.display()), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_parse_with_escapes_and_optional_fields() {
        let table = b"36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n\
            37 36 0:44 / /a-b rw - btrfs /dev/loop0 rw\n38 1 7:1 / /\xff rw - tmpfs  rw\n";
        let mounts = parse(table).unwrap();
        assert_eq!(mounts[2].source, "", "the third line has an empty source");
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[0].target, Path::new("/mnt 2\\x"));
        assert_eq!((mounts[0].id, mounts[0].device), (36, makedev(98, 0)));
        assert_eq!(mounts[0].options, ["rw", "noatime"]);
        assert_eq!(mounts[0].super_options, ["rw", "errors=continue"]);
        assert!(mounts[0].shared && !mounts[1].shared);
        assert_eq!((mounts[1].fs_type.as_str(), mounts[1].source.as_str()), ("btrfs", "/dev/loop0"));
        assert_eq!(mounts[2].target.as_os_str().as_bytes(), b"/\xff");
    }

    #[test]
    fn the_last_line_is_on_top_whatever_the_ids_say() {
        let mounts = parse(b"40 1 7:1 / /a rw - ext4 s rw\n36 40 7:2 / /a rw - ext4 s rw\n").unwrap();
        assert_eq!(at(&mounts, Path::new("/a")).last().unwrap().id, 36);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error_without_its_options() {
        for line in
            ["x 35 98:0 / /a rw - ext4 s rw", "1 2 98 / /a secret", "1 2 9:8 / /a secret - ext4 s", "1"]
        {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            assert_eq!(error.kind(), Kind::Internal);
        }
    }

    #[test]
    fn two_reads_must_agree() {
        let mut reads = ["1 0 1:1 / /a rw - t s rw", "2 0 1:1 / /a rw - t s rw", "2 0 1:1 / /a rw - t s rw"]
            .into_iter()
            .map(|line| Ok(line.as_bytes().to_vec()));
        assert_eq!(read_by(|| reads.next().unwrap()).unwrap()[0].id, 2);
        let mut count = 0;
        let restless = || {
            count += 1;
            Ok(format!("{count} 0 1:1 / /a rw - t s rw").into_bytes())
        };
        assert_eq!(read_by(restless).unwrap_err().kind(), Kind::Unavailable);
    }

    #[test]
    fn the_table_of_this_process_parses_and_has_a_root() {
        assert!(!at(&read().unwrap(), Path::new("/")).is_empty());
    }

    #[test]
    fn of_a_path_the_last_part_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let real = place.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(canonical(&real.join("link/link")).unwrap(), Some(real.join("link")));
        assert_eq!(canonical(&real.join("missing/x")).unwrap(), None);
        assert_eq!(canonical(Path::new("relative")).unwrap_err().kind(), Kind::InvalidArgument);
        assert_eq!(canonical(Path::new("/")).unwrap_err().kind(), Kind::InvalidArgument);
    }
}
