//! Shows clients their devices: a loop device for each volume or snapshot that a client has, over a sparse file for each
//! volume and snapshot.
//!
//! `<directory>/<client>/storpool-byid/<global id>` and `<directory>/<client>/storpool/<name>` lead to the device, as
//! `/dev/storpool-byid` and `/dev/storpool` do on that client.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cloudsim::disks::{bind, copy, grow, losetup};

use crate::state::DiskChange;

/// What a client sees of a volume.
#[derive(Debug)]
struct Shown {
    device: PathBuf,
    links: Vec<PathBuf>,
}

/// Loop devices over files in a directory. They go when it is dropped.
#[derive(Debug)]
pub struct Devices {
    directory: PathBuf,
    /// By client and number of the volume or snapshot.
    shown: BTreeMap<(u16, u64), Shown>,
}

impl Devices {
    /// In this directory, which must be there and empty. Needs root and `losetup`.
    ///
    /// # Errors
    /// Where the directory cannot be used.
    pub fn new(directory: &Path) -> io::Result<Self> {
        fs::create_dir(directory.join("data"))?;
        Ok(Self { directory: directory.to_owned(), shown: BTreeMap::new() })
    }

    fn file(&self, id: u64) -> PathBuf {
        self.directory.join("data").join(id.to_string())
    }

    /// Does what has changed.
    pub(crate) fn change(&mut self, change: &DiskChange) -> io::Result<()> {
        match change {
            DiskChange::Made { id, size, from } => {
                let file = self.file(*id);
                match from {
                    Some(from) => copy(&self.file(*from), &file)?,
                    None => drop(File::create_new(&file)?),
                }
                grow(&file, *size)
            }
            DiskChange::Sized { id, size } => grow(&self.file(*id), *size),
            DiskChange::Attached { client, id, global_id, name, readonly } => {
                self.attach(*client, *id, global_id, name.as_deref(), *readonly)
            }
            DiskChange::Shown { client, id } => match self.shown.get(&(*client, *id)) {
                Some(shown) => losetup(&["--set-capacity"], &shown.device).map(drop),
                None => Ok(()),
            },
            DiskChange::Detached { client, id } => self.detach(*client, *id),
            DiskChange::Gone { id } => fs::remove_file(self.file(*id)),
        }
    }

    fn attach(
        &mut self,
        client: u16,
        id: u64,
        global_id: &str,
        name: Option<&str>,
        readonly: bool,
    ) -> io::Result<()> {
        let device = bind(&self.file(id), readonly)?;
        let home = self.directory.join(client.to_string());
        let mut links = vec![home.join("storpool-byid").join(global_id)];
        links.extend(name.map(|name| home.join("storpool").join(name)));
        for kind in ["storpool-byid", "storpool"] {
            fs::create_dir_all(home.join(kind))?;
        }
        for link in &links {
            symlink(&device, link)?;
        }
        self.shown.insert((client, id), Shown { device, links });
        Ok(())
    }

    fn detach(&mut self, client: u16, id: u64) -> io::Result<()> {
        let Some(shown) = self.shown.remove(&(client, id)) else { return Ok(()) };
        // The device goes also where its links are gone already.
        let unlinked: io::Result<Vec<()>> = shown.links.iter().map(fs::remove_file).collect();
        losetup(&["--detach"], &shown.device)?;
        unlinked.map(drop)
    }

    /// The devices that a process of this machine has open or mounted, by client and number.
    pub(crate) fn open(&self) -> Vec<(u16, u64)> {
        if self.shown.is_empty() {
            return Vec::new();
        }
        let mut used = descriptors();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        used.extend(
            mounts.lines().filter_map(|line| line.split(" - ").nth(1)?.split(' ').nth(1)).map(PathBuf::from),
        );
        let open = self.shown.iter().filter(|(_, shown)| used.contains(&shown.device));
        open.map(|(key, _)| *key).collect()
    }
}

/// What processes have open. One that ends meanwhile has nothing open any more.
fn descriptors() -> Vec<PathBuf> {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    entries("/proc".into())
        .filter(|entry| is_process(&entry.file_name().to_string_lossy()))
        .flat_map(|process| entries(process.path().join("fd")))
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .filter(|target| target.starts_with("/dev"))
        .collect()
}

impl Drop for Devices {
    fn drop(&mut self) {
        let keys: Vec<_> = self.shown.keys().copied().collect();
        for (client, id) in keys {
            // The one who gave the directory sees what is left in it; the others must still go.
            self.detach(client, id).unwrap_or_default();
        }
    }
}
