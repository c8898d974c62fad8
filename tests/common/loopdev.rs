//! Loop devices over sparse images that vanish with their guard, also when a test fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Runs a command and gives its standard output; its failure is the test's.
pub fn sh(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started (install its package): {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}

/// A temporary directory; what is still mounted in it is unmounted first.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests use loop devices and mounts: run them as root"
        );
        Self { directory: tempfile::Builder::new().prefix("fairlead-test-").tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    /// A sparse file of so many bytes.
    pub fn image(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        std::fs::File::create_new(&path).unwrap().set_len(size).unwrap();
        path
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ok(root) = self.directory.path().canonicalize() else { return };
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let targets = table.lines().filter_map(|line| line.split(' ').nth(4));
        let plain = targets.map(|target| PathBuf::from(target.replace("\\040", " ")));
        let mut mounted: Vec<_> = plain.filter(|target| target.starts_with(&root)).collect();
        mounted.reverse();
        for target in mounted {
            let lazy = nix::mount::MntFlags::MNT_DETACH | nix::mount::MntFlags::UMOUNT_NOFOLLOW;
            if let Err(error) = nix::mount::umount2(&target, lazy) {
                eprintln!("left mounted: {}: {error}", target.display());
                // Removing the tree would remove what is mounted in it.
                self.directory.disable_cleanup(true);
            }
        }
    }
}

/// A loop device over an image. Declare it after its [`Place`] is made and before anything is mounted from it.
#[derive(Debug)]
pub struct LoopDev {
    pub path: PathBuf,
}

impl LoopDev {
    pub fn attach(image: &Path) -> Self {
        Self::attach_with(image, &[])
    }

    pub fn attach_with(image: &Path, options: &[&str]) -> Self {
        let image = image.to_str().unwrap();
        let arguments: Vec<_> = ["--show", "-f"].iter().chain(options).chain(&[image]).copied().collect();
        Self { path: PathBuf::from(sh("losetup", &arguments).trim()) }
    }

    pub fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Makes the device show its image's present size.
    pub fn refresh(&self) {
        sh("losetup", &["-c", self.name()]);
    }
}

impl Drop for LoopDev {
    fn drop(&mut self) {
        let detached = Command::new("losetup").args(["-d", self.name()]).status();
        if !detached.is_ok_and(|status| status.success()) {
            eprintln!("left attached: {}", self.name());
        }
    }
}
