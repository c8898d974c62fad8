//! A made-up sysfs and `/dev` whose disks are loop devices of this machine, shown as virtio's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{major, minor};

use crate::host::disks::Disks;
use crate::host::loopdev::{self, LoopDevice};

/// What a disk has where nothing else is said.
const SIZE: u64 = 16 << 20;

pub(in crate::backend::cinder::connector) struct Rig {
    place: tempfile::TempDir,
    loops: Vec<LoopDevice>,
}

impl Rig {
    pub(in crate::backend::cinder::connector) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test binds loop devices: run it as root");
        let place = tempfile::tempdir().unwrap();
        for directory in ["sys/block", "sys/dev/block", "sys/bus/virtio", "dev", "by-id", "state"] {
            std::fs::create_dir_all(place.path().join(directory)).unwrap();
        }
        Self { place, loops: Vec::new() }
    }

    pub(in crate::backend::cinder::connector) fn path(&self) -> &Path {
        self.place.path()
    }

    pub(in crate::backend::cinder::connector) fn disks(&self) -> Disks {
        Disks::at(&self.path().join("sys"), &self.path().join("dev"))
    }

    /// The device number of the disk that was plugged in as the n-th, from 0.
    pub(in crate::backend::cinder::connector) fn number(&self, n: usize) -> u64 {
        self.loops[n].number
    }

    /// Plugs in a disk that tells this serial.
    pub(in crate::backend::cinder::connector) fn plug(&mut self, name: &str, serial: &str) {
        self.plug_sized(name, serial, SIZE);
    }

    /// The same with so many bytes.
    pub(in crate::backend::cinder::connector) fn plug_sized(&mut self, name: &str, serial: &str, size: u64) {
        let image = self.path().join(format!("{name}.img"));
        std::fs::File::create(&image).unwrap().set_len(size).unwrap();
        let tag = format!("cinder-test:{}", crate::host::files::random_hex(8).unwrap());
        let found = loopdev::attach(&image, false, &tag).unwrap();
        let number = format!("{}:{}", major(found.number), minor(found.number));
        let sequence = (self.loops.len() + 1).to_string();
        let sectors = (size / 512).to_string();
        // Whoever lists the disks meanwhile sees it whole or not at all.
        let (shown, made) = (self.sys(name), self.path().join(format!("{name}.sys")));
        std::fs::create_dir_all(made.join("device")).unwrap();
        std::os::unix::fs::symlink(self.path().join("sys/bus/virtio"), made.join("device/subsystem"))
            .unwrap();
        for (file, text) in
            [("dev", &*number), ("size", &sectors), ("diskseq", &sequence), ("serial", serial)]
        {
            std::fs::write(made.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink(&shown, self.path().join("sys/dev/block").join(&number)).unwrap();
        std::os::unix::fs::symlink(&found.path, self.dev(name)).unwrap();
        std::fs::rename(made, shown).unwrap();
        self.loops.push(found);
    }

    pub(in crate::backend::cinder::connector) fn sys(&self, name: &str) -> PathBuf {
        self.path().join("sys/block").join(name)
    }

    pub(in crate::backend::cinder::connector) fn dev(&self, name: &str) -> PathBuf {
        self.path().join("dev").join(name)
    }

    pub(in crate::backend::cinder::connector) fn unplug(&self, name: &str) {
        crate::host::tree::remove(&self.sys(name)).unwrap();
        std::fs::remove_file(self.dev(name)).unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for found in &self.loops {
            if let Err(error) = loopdev::detach(found, Duration::from_secs(5)) {
                eprintln!("left behind: {error:?}");
            }
        }
    }
}
