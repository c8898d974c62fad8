//! Whether mounts reach other mount namespaces.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use crate::error::{Error, Result};

use super::mountinfo;

/// Whether what is mounted below a directory appears in other mount namespaces, such as the one that the container's
/// was made from: the mount that holds the directory is a shared one (mount_namespaces(7)).
///
/// # Errors
/// Where the directory or the mount table cannot be read.
pub fn is_shared(directory: &Path) -> Result<bool> {
    let look = |error| Error::io(format!("look at {}", directory.display()), error);
    let open = File::open(directory).map_err(look)?;
    // Which mount holds it, the kernel says itself (proc_pid_fdinfo(5)); paths alone do not tell, because one mount may
    // cover another.
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", open.as_raw_fd())).map_err(look)?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u64>().ok());
    let mounts = mountinfo::read()?;
    mounts.iter().find(|mount| Some(mount.id) == id).map(|mount| mount.shared).ok_or_else(|| {
        Error::internal(format!("the mount that holds {} is not in the mount table", directory.display()))
    })
}
