//! A made-up machine with open-iscsi: a sysfs and a `/dev` of files, loop devices for disks, and scripts for the tools.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::time::Duration;

use super::Iscsi;
use crate::host::device::numbers;
use crate::host::disks::Disks;
use crate::host::loopdev::{self, LoopDevice};
use crate::host::rooted::Rooted;

/// Deletes itself.
pub(crate) struct Machine {
    directory: tempfile::TempDir,
    devices: Vec<LoopDevice>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap(), devices: Vec::new() };
        for place in [
            "usr/sbin",
            "etc/iscsi",
            "dev",
            "db",
            "refuse",
            "targets",
            "sys/block",
            "sys/bus/scsi",
            "sys/class/iscsi_session",
            "sys/class/iscsi_connection",
        ] {
            fs::create_dir_all(machine.path(place)).unwrap();
        }
        let scripts = [
            ("iscsiadm", include_str!("iscsiadm.sh")),
            ("multipath", include_str!("multipath.sh")),
            ("multipathd", include_str!("multipath.sh")),
        ];
        for (tool, script) in scripts {
            let place = machine.path("usr/sbin").join(tool);
            fs::write(&place, script.replace("@ROOT@", machine.directory.path().to_str().unwrap())).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        }
        machine.name_initiator("InitiatorName=iqn.2026-01.example:node\n");
        machine
    }

    pub(crate) fn path(&self, place: &str) -> PathBuf {
        self.directory.path().join(place)
    }

    pub(crate) fn name_initiator(&self, text: &str) {
        fs::write(self.path("etc/iscsi/initiatorname.iscsi"), format!("# made at install\n{text}")).unwrap();
    }

    pub(crate) fn iscsi(&self) -> Iscsi {
        Iscsi::at(&self.path("sys"), &self.path("dev"), Rooted::below(self.directory.path()))
    }

    pub(crate) fn disks(&self) -> Disks {
        Disks::at(&self.path("sys"), &self.path("dev"))
    }

    fn image(&self) -> PathBuf {
        self.path("image")
    }

    /// One more device over the unit's data.
    fn device(&mut self, size: u64) -> (String, PathBuf) {
        let file =
            fs::OpenOptions::new().write(true).create(true).truncate(false).open(self.image()).unwrap();
        file.set_len(size).unwrap();
        let device = loopdev::attach(&self.image(), false, "fairlead-test").unwrap();
        let told = (numbers(device.number), device.path.clone());
        self.devices.push(device);
        told
    }

    /// Lets a login at a portal give a path to a target: a disk of this name and so many bytes.
    pub(crate) fn export(&mut self, target: &str, portal: SocketAddr, disk: &str, size: u64) {
        let (numbers, device) = self.device(size);
        let place = self.path("targets").join(target);
        fs::create_dir_all(&place).unwrap();
        let told = format!("{disk} {numbers} {} {}\n", size / 512, device.display());
        fs::write(place.join(portal.to_string()), told).unwrap();
    }

    /// What multipathd does some time after it has seen the paths: the map `mpatha`, which is `dm-0`.
    pub(crate) fn map(&mut self, paths: &[&str], size: u64) {
        let (numbers, device) = self.device(size);
        let map = self.path("sys/block/dm-0");
        for place in ["dm", "slaves"] {
            fs::create_dir_all(map.join(place)).unwrap();
        }
        for (file, text) in
            [("dev", numbers.as_str()), ("diskseq", "99"), ("dm/name", "mpatha"), ("dm/uuid", "mpath-3600")]
        {
            fs::write(map.join(file), text).unwrap();
        }
        fs::write(map.join("size"), (size / 512).to_string()).unwrap();
        symlink(device, self.path("dev/dm-0")).unwrap();
        for path in paths {
            fs::write(map.join("slaves").join(path), "").unwrap();
            fs::write(self.path("sys/block").join(path).join("holders/dm-0"), "").unwrap();
        }
    }

    /// A login at this portal fails with this exit code, until there is none.
    pub(crate) fn refuse(&self, portal: SocketAddr, code: Option<u8>) {
        let place = self.path("refuse").join(portal.to_string());
        match code {
            Some(code) => fs::write(place, code.to_string()).unwrap(),
            None => fs::remove_file(place).unwrap(),
        }
    }

    /// The tools' calls since this was asked last.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("log")).unwrap_or_default();
        fs::write(self.path("log"), "").unwrap();
        calls.lines().map(str::to_owned).collect()
    }

    /// The unit has another size, and the disks that were told to ask again show it.
    pub(crate) fn grow(&self, disks: &[&str], size: u64) {
        fs::OpenOptions::new().write(true).open(self.image()).unwrap().set_len(size).unwrap();
        for device in &self.devices {
            loopdev::resize(device).unwrap();
        }
        for disk in disks {
            let block = self.path("sys/block").join(disk);
            assert_eq!(fs::read_to_string(block.join("device/rescan")).unwrap(), "1", "{disk} was not asked");
            fs::write(block.join("size"), (size / 512).to_string()).unwrap();
        }
    }

    pub(crate) fn sessions(&self) -> usize {
        fs::read_dir(self.path("sys/class/iscsi_session")).unwrap().count()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for device in &self.devices {
            loopdev::detach(device, Duration::from_secs(5)).unwrap();
        }
    }
}
