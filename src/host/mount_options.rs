//! Mount options as in mount(8): which are flags of mount(2), and what is left for the file system.

use nix::mount::MsFlags;

/// Options, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct MountOptions {
    /// Flags of mount(2).
    pub(super) flags: MsFlags,
    /// Flags of mount(2) that the options deny (`exec` denies `noexec`).
    denied: MsFlags,
    /// What is for the file system, joined by commas. May hold secrets: never for a log or an error.
    pub(super) data: String,
}

/// Not in nix: MS_NOSYMFOLLOW (mount(2), since Linux 5.10).
const NO_SYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// Name, flag, and whether it sets or denies the flag (mount(8), "filesystem-independent mount options").
const FLAGS: [(&str, MsFlags, bool); 28] = [
    ("ro", MsFlags::MS_RDONLY, true),
    ("rw", MsFlags::MS_RDONLY, false),
    ("nosuid", MsFlags::MS_NOSUID, true),
    ("suid", MsFlags::MS_NOSUID, false),
    ("nodev", MsFlags::MS_NODEV, true),
    ("dev", MsFlags::MS_NODEV, false),
    ("noexec", MsFlags::MS_NOEXEC, true),
    ("exec", MsFlags::MS_NOEXEC, false),
    ("sync", MsFlags::MS_SYNCHRONOUS, true),
    ("async", MsFlags::MS_SYNCHRONOUS, false),
    ("dirsync", MsFlags::MS_DIRSYNC, true),
    ("noatime", MsFlags::MS_NOATIME, true),
    ("atime", MsFlags::MS_NOATIME, false),
    ("nodiratime", MsFlags::MS_NODIRATIME, true),
    ("diratime", MsFlags::MS_NODIRATIME, false),
    ("relatime", MsFlags::MS_RELATIME, true),
    ("norelatime", MsFlags::MS_RELATIME, false),
    ("strictatime", MsFlags::MS_STRICTATIME, true),
    ("nostrictatime", MsFlags::MS_STRICTATIME, false),
    ("lazytime", MsFlags::MS_LAZYTIME, true),
    ("nolazytime", MsFlags::MS_LAZYTIME, false),
    ("nosymfollow", NO_SYMFOLLOW, true),
    ("symfollow", NO_SYMFOLLOW, false),
    ("iversion", MsFlags::MS_I_VERSION, true),
    ("noiversion", MsFlags::MS_I_VERSION, false),
    ("silent", MsFlags::MS_SILENT, true),
    ("loud", MsFlags::MS_SILENT, false),
    ("defaults", MsFlags::empty(), true),
];

/// Options that are for mount(8) and fstab alone.
const USERSPACE: [&str; 8] = ["_netdev", "nofail", "auto", "noauto", "user", "nouser", "users", "owner"];

/// The flags that belong to one mount and not to the file system; only these can a bind mount have of its own.
const PER_MOUNT: MsFlags = MsFlags::MS_RDONLY
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::MS_NOATIME)
    .union(MsFlags::MS_NODIRATIME)
    .union(MsFlags::MS_RELATIME)
    .union(MsFlags::MS_STRICTATIME)
    .union(NO_SYMFOLLOW);

impl MountOptions {
    /// Takes options apart. Each may itself be a list; commas within double quotes do not part
    /// (`context="system_u:object_r:x:s0:c1,c2"`), and the quotes stay because the kernel reads them.
    pub(super) fn parse(options: &[String]) -> Self {
        let mut parsed = Self { flags: MsFlags::empty(), denied: MsFlags::empty(), data: String::new() };
        for option in options.iter().flat_map(|list| split(list)) {
            if let Some((_, flag, sets)) = FLAGS.iter().find(|(name, ..)| *name == option) {
                let (to, from) = if *sets {
                    (&mut parsed.flags, &mut parsed.denied)
                } else {
                    (&mut parsed.denied, &mut parsed.flags)
                };
                to.insert(*flag);
                from.remove(*flag);
            } else if !USERSPACE.contains(&option)
                && !option.starts_with("x-")
                && !option.starts_with("X-")
                && !option.starts_with("comment=")
            {
                if !parsed.data.is_empty() {
                    parsed.data.push(',');
                }
                parsed.data.push_str(option);
            }
        }
        parsed
    }

    /// The flags of a bind mount that now has `current`: a remount replaces them all, so those of the source stay unless
    /// they are denied. `None` where nothing is to be changed.
    pub(super) fn for_bind(&self, readonly: bool, current: &[String]) -> Option<MsFlags> {
        let now = Self::parse(current).flags & PER_MOUNT;
        let readonly = if readonly { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        // The options are those of the whole volume: a bind is made writable by nothing that they say.
        let denied = self.denied - MsFlags::MS_RDONLY;
        let mut wanted = (now - denied) | (self.flags & PER_MOUNT) | readonly;
        for access_time in [MsFlags::MS_NOATIME, MsFlags::MS_STRICTATIME] {
            if self.flags.contains(access_time) {
                wanted.remove(MsFlags::MS_NOATIME | MsFlags::MS_RELATIME | MsFlags::MS_STRICTATIME);
                wanted.insert(access_time);
            }
        }
        (wanted != now).then_some(wanted)
    }
}

/// Splits at commas outside double quotes; empty parts vanish.
fn split(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    list.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .filter(|option| !option.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> MountOptions {
        MountOptions::parse(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_and_data_are_told_apart_and_quotes_hold_commas() {
        let parsed =
            parse(&["ro,noatime", "context=\"u:r:t:s0:c1,c2\",discard", "", "nouuid", "x-a=b", "_netdev"]);
        assert_eq!(parsed.flags, MsFlags::MS_RDONLY | MsFlags::MS_NOATIME);
        assert_eq!(parsed.data, "context=\"u:r:t:s0:c1,c2\",discard,nouuid");
        assert_eq!(parse(&["defaults"]).data, "");
    }

    #[test]
    fn the_last_of_opposites_wins() {
        assert_eq!(parse(&["ro", "rw"]).flags, MsFlags::empty());
        assert_eq!(parse(&["exec,noexec"]).flags, MsFlags::MS_NOEXEC);
    }

    #[test]
    fn what_would_change_the_kind_of_mount_is_no_flag() {
        for option in ["remount", "bind", "rbind", "move", "shared"] {
            let parsed = parse(&[option]);
            assert_eq!((parsed.flags, parsed.data.as_str()), (MsFlags::empty(), option));
        }
    }

    #[test]
    fn a_bind_keeps_the_flags_of_its_source() {
        let now = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parse(&["discard", "rw"]).for_bind(false, &now("rw,nosuid,relatime")), None);
        assert_eq!(
            parse(&["noexec"]).for_bind(true, &now("rw,nosuid,relatime")),
            Some(MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME)
        );
        assert_eq!(parse(&["suid"]).for_bind(false, &now("rw,nosuid")), Some(MsFlags::empty()));
        assert_eq!(parse(&["rw"]).for_bind(false, &now("ro")), None);
        assert_eq!(parse(&["noatime"]).for_bind(false, &now("rw,relatime")), Some(MsFlags::MS_NOATIME));
    }
}
