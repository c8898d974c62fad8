use super::*;

/// A made-up sysfs and /dev.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for place in ["sys/block", "sys/bus/virtio", "sys/bus/scsi", "dev"] {
            std::fs::create_dir_all(tree.0.path().join(place)).unwrap();
        }
        tree
    }

    fn disk(&self, name: &str, bus: &str, minor: u32, files: &[(&str, &[u8])]) {
        let at = self.0.path().join("sys/block").join(name);
        std::fs::create_dir_all(at.join("device")).unwrap();
        std::os::unix::fs::symlink(self.0.path().join("sys/bus").join(bus), at.join("device/subsystem"))
            .unwrap();
        let number = format!("7:{minor}\n");
        let usual: [(&str, &[u8]); 2] = [("dev", number.as_bytes()), ("size", b"2097152\n")];
        for (file, content) in usual.iter().chain(files) {
            std::fs::write(at.join(file), content).unwrap();
        }
    }

    fn disks(&self) -> Disks {
        Disks::at(&self.0.path().join("sys"), &self.0.path().join("dev"))
    }
}

#[tokio::test]
async fn disks_are_listed_with_what_they_say() {
    let tree = Tree::new();
    tree.disk("vdb", "virtio", 3, &[("serial", b"cb49b381-9012-40cb-b"), ("diskseq", b"11\n")]);
    tree.disk("vdaa", "virtio", 4, &[("serial", b"")]);
    let page = [&[0, 0x80, 0, 36][..], b"cb49b381-9012-40cb-b8ee-80c19a4801b6"].concat();
    tree.disk("sda", "scsi", 5, &[("device/vpd_pg80", &page), ("device/state", b"offline\n")]);
    // No device behind it, as loop devices and mappings have none.
    std::fs::create_dir_all(tree.0.path().join("sys/block/loop0")).unwrap();
    // Half gone.
    std::fs::create_dir_all(tree.0.path().join("sys/block/vdz/device")).unwrap();
    let disks = tree.disks().list().await.unwrap();
    let names: Vec<_> = disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["sda", "vdb", "vdaa"]);
    let [sda, vdb, vdaa] = disks.try_into().unwrap();
    assert_eq!((sda.bus, sda.fault.as_deref()), (Bus::Scsi, Some("offline")));
    assert_eq!(sda.identifiers[0].text, "cb49b381-9012-40cb-b8ee-80c19a4801b6");
    assert_eq!(
        (vdb.bus, vdb.size, vdb.number, vdb.sequence),
        (Bus::Virtio, 1 << 30, libc::makedev(7, 3), Some(11))
    );
    assert_eq!(vdb.to_string(), r#"vdb (1 GiB, serial "cb49b381-9012-40cb-b")"#);
    assert_eq!(vdaa.to_string(), "vdaa (1 GiB, tells no serial)");
}

#[tokio::test]
async fn a_serial_is_remembered_for_the_life_of_its_disk_alone() {
    let tree = Tree::new();
    tree.disk("vdb", "virtio", 3, &[("serial", b"one"), ("diskseq", b"1")]);
    let disks = tree.disks();
    let serial = async || disks.list().await.unwrap()[0].identifiers[0].text.clone();
    assert_eq!(serial().await, "one");
    let at = tree.0.path().join("sys/block/vdb");
    std::fs::write(at.join("serial"), "two").unwrap();
    assert_eq!(serial().await, "one");
    std::fs::write(at.join("diskseq"), "2").unwrap();
    assert_eq!(serial().await, "two");
}

#[tokio::test]
async fn a_disk_that_hangs_hides_no_other() {
    let tree = Tree::new();
    tree.disk("vdb", "virtio", 3, &[]);
    tree.disk("vdc", "virtio", 4, &[("serial", b"one")]);
    // A FIFO that nobody writes to hangs its reader as a stuck disk does.
    let fifo = tree.0.path().join("sys/block/vdb/serial");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let disks = tree.disks().list().await.unwrap();
    assert!(disks[0].silent.as_ref().unwrap().contains("did not answer"), "{:?}", disks[0]);
    assert_eq!(disks[0].to_string(), "vdb (1 GiB, does not answer)");
    assert_eq!(disks[1].identifiers[0].text, "one");
    // Its thread ends.
    drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
}

#[tokio::test]
async fn scans_are_for_the_hosts_of_hypervisors() {
    let tree = Tree::new();
    for (host, driver) in [("host0", "virtio_scsi"), ("host1", "ahci")] {
        let at = tree.0.path().join("sys/class/scsi_host").join(host);
        std::fs::create_dir_all(&at).unwrap();
        std::fs::write(at.join("proc_name"), driver).unwrap();
        std::fs::write(at.join("scan"), "").unwrap();
    }
    assert_eq!(tree.disks().scan().await.unwrap(), 1);
    let scan =
        |host| std::fs::read_to_string(tree.0.path().join("sys/class/scsi_host").join(host).join("scan"));
    assert_eq!((scan("host0").unwrap().as_str(), scan("host1").unwrap().as_str()), ("- - -", ""));
}

#[tokio::test]
async fn only_disks_of_hypervisors_are_forgotten() {
    let tree = Tree::new();
    let sys = tree.0.path().join("sys");
    for (at, (name, driver, kind)) in
        [("sda", "virtio_scsi", Kind::Unavailable), ("sdb", "iscsi_tcp", Kind::FailedPrecondition)]
            .into_iter()
            .enumerate()
    {
        let host = sys.join(format!("class/scsi_host/host{at}"));
        std::fs::create_dir_all(&host).unwrap();
        std::fs::write(host.join("proc_name"), format!("{driver}\n")).unwrap();
        let device = sys.join(format!("devices/host{at}/target{at}:0:0/{at}:0:0:0"));
        std::fs::create_dir_all(&device).unwrap();
        std::os::unix::fs::symlink(sys.join("bus/scsi"), device.join("subsystem")).unwrap();
        std::fs::create_dir_all(sys.join("block").join(name)).unwrap();
        std::os::unix::fs::symlink(&device, sys.join("block").join(name).join("device")).unwrap();
        for (file, text) in [("dev", "7:3"), ("size", "8"), ("device/delete", "")] {
            std::fs::write(sys.join("block").join(name).join(file), text).unwrap();
        }
        let disks = tree.disks();
        let disk = disks.list().await.unwrap().into_iter().find(|disk| disk.name == name).unwrap();
        assert_eq!(disk.bus, Bus::Scsi);
        // The hypervisor's gets as far as to its node in /dev, which is not there.
        assert_eq!(disks.forget(&disk).await.unwrap_err().kind(), kind, "{driver}");
        assert_eq!(std::fs::read_to_string(device.join("delete")).unwrap(), "");
    }
}
