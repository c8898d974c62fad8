//! Mount options: which are allowed, which are added, and whether a mount already has them.

use crate::error::{Error, Result};
use crate::host::Mount;
use crate::node::mounted::has;
use crate::volume::{FsType, MountFlags};

/// Words that turn a mount into an act on another mount (mount(8): operations and propagation).
const FORBIDDEN: [&str; 14] = [
    "remount",
    "bind",
    "rbind",
    "move",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "unbindable",
    "runbindable",
    "loop",
    "user",
];

/// Per-mount flags that mountinfo always shows, so that they can be compared.
const VISIBLE: [&str; 5] = ["nosuid", "nodev", "noexec", "noatime", "nodiratime"];

/// The flags one by one, split at commas outside quotes (an SELinux context holds commas inside).
///
/// # Errors
/// `InvalidArgument` for a flag that would act on another mount. The flag is not named: flags are not for logs.
pub(super) fn split(flags: &MountFlags) -> Result<Vec<String>> {
    let mut options = Vec::new();
    for flag in flags.iter() {
        let mut quoted = false;
        let parts = flag.split(|c: char| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        options.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
    }
    if options.iter().any(|option| option.chars().any(|c| c.is_control() && c != '\t')) {
        return Err(Error::invalid("a mount flag holds a control character"));
    }
    let name = |option: &String| option.split('=').next().unwrap_or_default().to_ascii_lowercase();
    if options.iter().any(|option| FORBIDDEN.contains(&name(option).as_str())) {
        return Err(Error::invalid(
            "a mount flag is not allowed: remount, bind, move, loop, user and the propagation words act beyond this mount",
        ));
    }
    Ok(options)
}

/// Whether the flags themselves ask for read-only; the last word counts, as in mount(8).
pub(super) fn readonly(options: &[String]) -> bool {
    options
        .iter()
        .rev()
        .find(|option| matches!(option.as_str(), "ro" | "rw"))
        .is_some_and(|last| last == "ro")
}

/// The options for a file system's first mount. `sealed` means that the device must not or cannot be written, also not
/// to replay a journal.
pub(super) fn complete(mut options: Vec<String>, fs: FsType, readonly: bool, sealed: bool) -> Vec<String> {
    options.retain(|option| option != "rw" && option != "ro");
    let mut add = |option: &str| {
        if !has(&options, option) {
            options.push(option.to_owned());
        }
    };
    if fs == FsType::Xfs {
        // A clone has its source's UUID, and xfs mounts each only once otherwise.
        add("nouuid");
    }
    if sealed {
        add(match fs {
            FsType::Ext4 => "noload",
            FsType::Xfs => "norecovery",
            FsType::Btrfs => "rescue=nologreplay",
        });
    }
    if readonly {
        add("ro");
    }
    options
}

/// Whether the per-mount flags are all in force. Options of the file system are not compared: the kernel shows
/// neither all of them nor in the words in which they were given.
pub(super) fn in_force(options: &[String], mount: &Mount) -> bool {
    VISIBLE.iter().all(|flag| !has(options, flag) || has(&mount.options, flag))
}

/// Whether a mount has the per-mount flags that were asked for and no others.
pub(super) fn same(options: &[String], mount: &Mount) -> bool {
    in_force(options, mount) && VISIBLE.iter().all(|flag| has(options, flag) || !has(&mount.options, flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn flags(flags: &[&str]) -> MountFlags {
        MountFlags::new(flags.iter().map(|flag| (*flag).to_owned()).collect())
    }

    #[test]
    fn flags_split_at_commas_outside_quotes() {
        let context = r#"context="system_u:object_r:container_file_t:s0:c1,c2""#;
        let options = split(&flags(&[&format!("noatime,{context}"), "discard"])).unwrap();
        assert_eq!(options, ["noatime", context, "discard"]);
    }

    #[test]
    fn words_that_act_on_other_mounts_are_refused_without_being_told() {
        for bad in ["remount", "noatime,bind", "rshared", "loop=/dev/loop9", "REMOUNT", "a\nb"] {
            let error = split(&flags(&[bad])).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument, "{bad:?}");
            assert!(!error.to_string().contains("loop9"), "{error}");
        }
        assert!(split(&flags(&["usrquota", "context=bind"])).is_ok());
    }

    #[test]
    fn options_are_completed_for_each_file_system() {
        let none = Vec::new;
        assert!(complete(none(), FsType::Ext4, false, false).is_empty());
        assert_eq!(complete(none(), FsType::Xfs, false, false), ["nouuid"]);
        assert_eq!(complete(vec!["rw".into(), "ro".into()], FsType::Ext4, true, true), ["noload", "ro"]);
        assert_eq!(complete(none(), FsType::Xfs, true, true), ["nouuid", "norecovery", "ro"]);
        assert_eq!(complete(none(), FsType::Btrfs, true, true), ["rescue=nologreplay", "ro"]);
        assert!(readonly(&["ro".into()]) && !readonly(&["ro".into(), "rw".into()]));
    }
}
