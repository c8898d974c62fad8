//! Removing a directory tree without ever reaching into a mount.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::mountinfo;
use crate::error::{Error, Result};

/// Removes a directory with all below it. For directories of the caller's own making: a mount at or below it is
/// looked for before anything is touched, and no other file system is entered.
///
/// # Errors
/// `FailedPrecondition` naming a mount at or below it; what the file system says.
pub fn remove(root: &Path) -> Result<()> {
    if let Some(mount) = mountinfo::read()?.iter().find(|mount| mount.target.starts_with(root)) {
        return Err(Error::precondition(format!(
            "{} is not removed, because something is mounted at {}",
            root.display(),
            mount.target.display()
        )));
    }
    let fault = |error| Error::io(format!("remove {}", root.display()), error);
    let device = fs::symlink_metadata(root).map_err(fault)?.dev();
    remove_below(root, device)?;
    fs::remove_dir(root).map_err(fault)
}

fn remove_below(directory: &Path, device: u64) -> Result<()> {
    let fault = |path: &Path, error| Error::io(format!("remove {}", path.display()), error);
    for entry in fs::read_dir(directory).map_err(|error| fault(directory, error))? {
        let path = entry.map_err(|error| fault(directory, error))?.path();
        let meta = fs::symlink_metadata(&path).map_err(|error| fault(&path, error))?;
        if meta.dev() != device {
            return Err(Error::precondition(format!(
                "{} is another file system: left alone",
                path.display()
            )));
        }
        if meta.is_dir() {
            remove_below(&path, device)?;
            fs::remove_dir(&path).map_err(|error| fault(&path, error))?;
        } else {
            fs::remove_file(&path).map_err(|error| fault(&path, error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_goes_and_what_a_link_points_at_stays() {
        let home = tempfile::tempdir().unwrap();
        let (tree, kept) = (home.path().join("tree"), home.path().join("kept"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        fs::write(tree.join("a/file"), "x").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("a/link")).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists() && kept.join("file").exists());
        assert!(remove(Path::new("/proc")).unwrap_err().to_string().contains("mounted"));
    }
}
