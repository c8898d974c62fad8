//! Use of a file system.

use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use super::Usage;
use super::ask::Asker;
use crate::error::{Error, Result};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Use of the file system at a path; dead storage gives `Timeout`.
pub(super) async fn usage(asker: &Asker, path: &Path) -> Result<Usage> {
    let asked = path.to_owned();
    let subject = format!("the file system at {}", path.display());
    asker.ask(&subject, DEADLINE, move || statfs(&asked)).await
}

fn statfs(path: &Path) -> Result<Usage> {
    let found = statvfs(path).map_err(|errno| match errno {
        nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR => {
            Error::not_found(format!("{} does not exist", path.display()))
        }
        _ => Error::io(format!("ask the use of {}", path.display()), errno.into()),
    })?;
    let unit = found.fragment_size();
    let bytes = |blocks: u64| blocks.saturating_mul(unit);
    Ok(Usage {
        total: bytes(found.blocks()),
        available: bytes(found.blocks_available()),
        used: bytes(found.blocks().saturating_sub(found.blocks_free())),
        inodes: found.files(),
        inodes_free: found.files_free(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[tokio::test]
    async fn a_live_file_system_answers() {
        let asker = Asker::default();
        let found = usage(&asker, Path::new("/proc/self")).await.unwrap();
        assert!(found.used <= found.total);
        let found = usage(&asker, &std::env::temp_dir()).await.unwrap();
        assert!(found.total > 0 && found.used <= found.total && found.available <= found.total, "{found:?}");
        let missing = usage(&asker, Path::new("/no/such/place")).await;
        assert_eq!(missing.unwrap_err().kind(), Kind::NotFound);
    }
}
