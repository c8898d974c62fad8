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
        for directory in
            ["sys/block", "sys/dev/block", "sys/bus/virtio", "sys/bus/xen", "dev", "by-id", "state"]
        {
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
        let sequence = u64::try_from(self.loops.len()).unwrap() + 1;
        self.plug_whole("virtio", name, sequence, size, Some(serial));
    }

    /// Plugs in a disk of a bus, the kernel's so manieth, that tells no serial.
    pub(in crate::backend::cinder::connector) fn plug_on(
        &mut self,
        bus: &str,
        name: &str,
        sequence: u64,
        size: u64,
    ) {
        self.plug_whole(bus, name, sequence, size, None);
    }

    fn plug_whole(&mut self, bus: &str, name: &str, sequence: u64, size: u64, serial: Option<&str>) {
        let image = self.path().join(format!("{name}.img"));
        std::fs::File::create(&image).unwrap().set_len(size).unwrap();
        let tag = format!("cinder-test:{}", crate::host::files::random_hex(8).unwrap());
        let found = loopdev::attach(&image, false, &tag).unwrap();
        let number = format!("{}:{}", major(found.number), minor(found.number));
        // The first data disk of Xen's, xvdb, is 51728 at its host.
        let vbd = 51_712 + 16 * (u32::from(name.as_bytes()[name.len() - 1]) - u32::from(b'a'));
        let device = self.path().join(format!("sys/vbd-{vbd}"));
        std::fs::create_dir_all(&device).unwrap();
        let subsystem = device.join("subsystem");
        if !subsystem.exists() {
            std::os::unix::fs::symlink(self.path().join("sys/bus").join(bus), subsystem).unwrap();
        }
        // Whoever lists the disks meanwhile sees it whole or not at all.
        let (shown, made) = (self.sys(name), self.path().join(format!("{name}.sys")));
        std::fs::create_dir_all(&made).unwrap();
        std::os::unix::fs::symlink(&device, made.join("device")).unwrap();
        let (sequence, sectors) = (sequence.to_string(), (size / 512).to_string());
        let serial = serial.map(|serial| ("serial", serial));
        let files = [("dev", &*number), ("size", &*sectors), ("diskseq", &*sequence)];
        for (file, text) in files.into_iter().chain(serial) {
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
