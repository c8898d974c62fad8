//! Shows servers their disks: a loop device for each volume that a server has, over a sparse file for each volume.
//!
//! `nodes/<server>/virtio-<20 characters of the volume's id>` links to the device: the name that a guest of KVM sees. Where
//! guests see no serial, as in Cyclades, it is `nodes/<server>/vdb` and so on, the first that is free.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::state::DiskChange;

/// Somebody who is told when servers get and lose disks. It is told while the cloud stands still, so that a volume is
/// `in-use` only once its disk is there.
pub trait Disks: Send {
    /// Does what has changed.
    ///
    /// # Errors
    /// Where that cannot be done; then the simulation ends.
    fn change(&mut self, change: &DiskChange) -> io::Result<()>;
}

/// Loop devices over files in a directory. They go when it is dropped.
#[derive(Debug)]
pub struct LoopDisks {
    directory: PathBuf,
    serials: bool,
    /// The device and the link to it, by server and volume.
    plugged: BTreeMap<(String, String), (PathBuf, PathBuf)>,
}

impl LoopDisks {
    /// Disks in this directory, which must be there and empty. Needs root and `losetup`.
    ///
    /// # Errors
    /// Where the directory cannot be used.
    pub fn new(directory: &Path) -> io::Result<Self> {
        fs::create_dir(directory.join("volumes"))?;
        fs::create_dir(directory.join("nodes"))?;
        Ok(Self { directory: directory.to_owned(), serials: true, plugged: BTreeMap::new() })
    }

    /// The same, where guests see no serial.
    #[must_use]
    pub fn without_serials(mut self) -> Self {
        self.serials = false;
        self
    }

    fn file(&self, object: &str) -> PathBuf {
        self.directory.join("volumes").join(object)
    }

    fn link(&self, server: &str, volume: &str) -> io::Result<PathBuf> {
        let node = self.directory.join("nodes").join(server);
        if self.serials {
            let serial: String = volume.chars().take(20).collect();
            return Ok(node.join(format!("virtio-{serial}")));
        }
        let mut names = (b'b'..=b'z').map(|letter| node.join(format!("vd{}", char::from(letter))));
        let free = names.find(|name| fs::symlink_metadata(name).is_err());
        free.ok_or_else(|| io::Error::other(format!("server {server} has too many disks")))
    }

    fn plug(&mut self, server: &str, volume: &str, size: u64, readonly: bool) -> io::Result<()> {
        let file = self.file(volume);
        grow(&file, size << 30)?;
        let device = bind(&file, readonly)?;
        fs::create_dir_all(self.directory.join("nodes").join(server))?;
        let link = self.link(server, volume)?;
        self.plugged.insert((server.to_owned(), volume.to_owned()), (device.clone(), link.clone()));
        std::os::unix::fs::symlink(device, link)
    }

    fn unplug(&mut self, server: &str, volume: &str) -> io::Result<()> {
        let Some((device, link)) = self.plugged.remove(&(server.to_owned(), volume.to_owned())) else {
            return Ok(());
        };
        fs::remove_file(link)?;
        losetup(&["--detach"], &device).map(drop)
    }
}

impl Disks for LoopDisks {
    fn change(&mut self, change: &DiskChange) -> io::Result<()> {
        match change {
            DiskChange::Made { volume, size, from } => {
                let file = self.file(volume);
                match from {
                    Some(from) => copy(&self.file(from), &file)?,
                    None => drop(File::create_new(&file)?),
                }
                grow(&file, *size << 30)
            }
            DiskChange::Cut { volume, snapshot } => copy(&self.file(volume), &self.file(snapshot)),
            DiskChange::Plugged { server, volume, size, readonly } => {
                self.plug(server, volume, *size, *readonly)
            }
            DiskChange::Unplugged { server, volume } => self.unplug(server, volume),
            DiskChange::Grown { server, volume, size } => {
                grow(&self.file(volume), *size << 30)?;
                match self.plugged.get(&(server.clone(), volume.clone())) {
                    Some((device, _)) => losetup(&["--set-capacity"], device).map(drop),
                    None => Ok(()),
                }
            }
            DiskChange::Gone { object } => match fs::remove_file(self.file(object)) {
                // What could not be made has no content.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            },
        }
    }
}

impl Drop for LoopDisks {
    fn drop(&mut self) {
        let plugged: Vec<_> = self.plugged.keys().cloned().collect();
        for (server, volume) in plugged {
            // The one who gave the directory sees what is left in it; the others must still go.
            self.unplug(&server, &volume).unwrap_or_default();
        }
    }
}

/// Makes a file so many bytes long.
///
/// # Errors
/// Where it cannot be changed.
pub fn grow(file: &Path, bytes: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.set_len(bytes)
}

/// Copies a file with its holes. What a server has written is in the device's cache first.
///
/// # Errors
/// What `cp` says.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    run("cp", &["--sparse=always", "--reflink=auto"], &[from, to]).map(drop)
}

/// Puts a file behind a free loop device.
///
/// # Errors
/// What the tools say.
pub fn bind(file: &Path, readonly: bool) -> io::Result<PathBuf> {
    let mut arguments = vec!["--find", "--show"];
    if readonly {
        arguments.push("--read-only");
    }
    let device = PathBuf::from(losetup(&arguments, file)?.trim());
    if !readonly {
        // Who had it before may have made it refuse writes, and that outlives the binding.
        run("blockdev", &["--setrw"], &[&device])?;
    }
    Ok(device)
}

/// Runs `losetup` on a file or device, and gives what it prints.
///
/// # Errors
/// What it says.
pub fn losetup(arguments: &[&str], target: &Path) -> io::Result<String> {
    run("losetup", arguments, &[target])
}

#[allow(clippy::disallowed_methods, reason = "what starts the driver's commands is the driver's")]
fn run(program: &str, arguments: &[&str], paths: &[&Path]) -> io::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .args(paths)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {arguments:?} {paths:?}: {}: {}", output.status, said.trim())))
}
