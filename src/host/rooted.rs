//! Tools of the host itself, as against those of the driver's own image: they have to fit the daemons that run there.
//!
//! A driver in a container sees the host's root directory somewhere, and runs such a tool with that as its own root
//! (chroot(1)).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exec::{self, Finished};
use super::tools::DIRECTORIES;
use crate::error::{Error, Kind, Result};

/// chroot(1)'s own exit codes: it failed, the tool cannot be run, the tool is not there.
const CHROOT: [i32; 3] = [125, 126, 127];

/// Runs tools of the host.
#[derive(Clone, Debug)]
pub struct Rooted {
    root: PathBuf,
    /// Whether `root` is to be the tools' root, too.
    enter: bool,
}

impl Rooted {
    /// The host whose root directory is seen there.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), enter: root != Path::new("/") }
    }

    /// Tools below a directory that is no root.
    #[cfg(test)]
    pub(crate) fn below(directory: &Path) -> Self {
        Self { root: directory.to_owned(), enter: false }
    }

    /// Where a file of the host is seen.
    #[must_use]
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// What to run for a tool.
    fn command(&self, tool: &str, package: &str) -> Result<(PathBuf, Vec<OsString>)> {
        let places = DIRECTORIES.split(':').map(|directory| format!("{directory}/{tool}"));
        let mut there = places.filter(|place| self.path(place).symlink_metadata().is_ok());
        let place = there.next().ok_or_else(|| {
            let text = format!(
                "{tool} is not in {} of {}: install {package} on the node",
                DIRECTORIES,
                self.root.display()
            );
            Error::unknown(Kind::FailedPrecondition, text)
        })?;
        if !self.enter {
            return Ok((self.path(&place), Vec::new()));
        }
        let chroot = which::which_in("chroot", Some(DIRECTORIES), "/")
            .map_err(|_| Error::unknown(Kind::FailedPrecondition, "chroot is not here: install coreutils"))?;
        Ok((chroot, vec![self.root.clone().into(), place.into()]))
    }

    /// Runs a tool to its end. How it ended is for the caller to judge.
    ///
    /// # Errors
    /// `FailedPrecondition` where it is not there; where it cannot be run; `Timeout` at the deadline.
    pub(super) async fn run(
        &self,
        tool: &str,
        package: &str,
        arguments: &[&str],
        deadline: Duration,
    ) -> Result<Finished> {
        let (program, mut words) = self.command(tool, package)?;
        words.extend(arguments.iter().map(OsString::from));
        let finished = exec::run(&program, &words, deadline).await?;
        if self.enter && finished.code().is_some_and(|code| CHROOT.contains(&code)) {
            return Err(finished.failure(Kind::FailedPrecondition));
        }
        Ok(finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_tool_is_run_in_its_own_root() {
        let here = Rooted::at(Path::new("/"));
        assert_eq!(here.run("true", "coreutils", &[], LONG).await.unwrap().code(), Some(0));
        let error = here.run("no-such-tool", "open-iscsi", &[], LONG).await.unwrap_err();
        assert!(error.to_string().contains("install open-iscsi"), "{error}");
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("SKIPPED: another root needs root");
        }
        let other = Rooted::at(Path::new("/proc/self/root"));
        let (program, words) = other.command("env", "coreutils").unwrap();
        assert!(program.ends_with("chroot") && words[0] == "/proc/self/root", "{words:?}");
        assert!(other.run("env", "coreutils", &[], LONG).await.unwrap().stdout.contains("LC_ALL=C"));
        // The tool is there, and nothing of what it needs.
        let bare = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(bare.path().join("usr/bin")).unwrap();
        std::fs::copy("/bin/true", bare.path().join("usr/bin/true")).unwrap();
        let error = Rooted::at(bare.path()).run("true", "coreutils", &[], LONG).await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition);
    }
}
