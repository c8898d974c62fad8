use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cloudsim::state::{AttachWish, Caller as Asker, DiskChange, Origin, SnapshotWish, VolumeWish};
use cloudsim::{Config, Disks as _, LoopDisks, Sim};

const GIB: u64 = 1 << 30;

/// A directory that is removed by name of what is in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = Self(std::env::temp_dir().join(format!("cloudsim-{name}-{}", std::process::id())));
        fs::create_dir(&place.0).unwrap();
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed =
            std::process::Command::new("rm").arg("-r").arg("--one-file-system").arg(&self.0).status();
        assert!(removed.is_ok_and(|status| status.success()), "{} is left", self.0.display());
    }
}

fn until(what: &str, ask: impl Fn() -> bool) {
    let started = Instant::now();
    while !ask() {
        assert!(started.elapsed() < Duration::from_secs(10), "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn size(device: &Path) -> u64 {
    fs::File::open(device).unwrap().seek(SeekFrom::End(0)).unwrap()
}

/// Whether there can be loop devices here; says so where not.
fn loop_devices() -> bool {
    let there = std::process::Command::new("losetup").arg("--find").output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: loop devices need root, losetup and a kernel that has them");
        return false;
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_see_their_disks() {
    if !loop_devices() {
        return;
    }
    let place = Place::new("serials");
    let mut sim = Sim::start(Config::openstack()).await.unwrap();
    sim.show_disks(LoopDisks::new(&place.0).unwrap());
    let project = sim.cloud().config.project("csi").unwrap().id.clone();
    let asker = Asker { project, ..Asker::default() };
    let servers = ["one", "two"].map(|name| sim.add_server("csi", name));
    let link = |server: usize, volume: &str| {
        place.0.join("nodes").join(&servers[server]).join(format!("virtio-{}", &volume[..20]))
    };
    let status = |id: &str| sim.cloud().volumes.get(id).map_or("gone", |volume| volume.status);
    let create = |origin| {
        let wish = VolumeWish { size: Some(1), origin, ..VolumeWish::default() };
        let id = sim.cloud().create_volume(&asker, wish).unwrap();
        until("a volume", || sim.cloud().volumes.get(&id).unwrap().service.is_some());
        id
    };
    let attach = |server: usize, id: &str| {
        let wish = AttachWish { volume: id.to_owned(), ..AttachWish::default() };
        sim.cloud().attach(&asker, &servers[server], &wish).unwrap();
        until("an attached volume", || status(id) == "in-use");
        let device = fs::read_link(link(server, id)).unwrap();
        assert_eq!(size(&device), sim.cloud().volumes.get(id).unwrap().size * GIB);
        device
    };
    let id = create(Origin::Nothing);
    let device = attach(0, &id);
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&device).unwrap();
    file.write_all(b"kept").unwrap();
    file.sync_all().unwrap();
    drop(file);
    sim.cloud().extend_volume(&asker, &id, 2, true).unwrap();
    until("a larger disk", || size(&device) == 2 * GIB);
    let wish = SnapshotWish { volume: id.clone(), force: true, ..SnapshotWish::default() };
    let snapshot = sim.cloud().create_snapshot(&asker, wish).unwrap();
    until("a snapshot", || sim.cloud().snapshots.get(&snapshot).unwrap().status == "available");
    sim.cloud().detach(&asker, &servers[0], &id, false).unwrap();
    until("a free volume", || status(&id) == "available");
    assert!(fs::symlink_metadata(link(0, &id)).is_err());
    let copy = {
        let wish = VolumeWish { size: Some(3), origin: Origin::Snapshot(snapshot), ..VolumeWish::default() };
        let id = sim.cloud().create_volume(&asker, wish).unwrap();
        until("a copy", || sim.cloud().volumes.get(&id).unwrap().service.is_some());
        id
    };
    for (server, id) in [(1, &id), (0, &copy)] {
        until("a server with time", || sim.cloud().servers.get(&servers[server]).unwrap().working.is_none());
        let device = attach(server, id);
        let mut found = [0; 4];
        fs::File::open(device).unwrap().read_exact(&mut found).unwrap();
        assert_eq!(&found, b"kept");
    }
    drop(sim);
    assert!(fs::symlink_metadata(link(1, &id)).is_err(), "nothing is left plugged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_guests_see_no_serial_disks_have_the_next_name() {
    if !loop_devices() {
        return;
    }
    let place = Place::new("names");
    let mut disks = LoopDisks::new(&place.0).unwrap().without_serials();
    let mut change = |change| disks.change(&change).unwrap();
    let (server, size) = ("7".to_owned(), 1);
    for volume in ["1", "2"] {
        change(DiskChange::Made { volume: volume.to_owned(), size, from: None });
    }
    let plug = |volume: &str| DiskChange::Plugged {
        server: server.clone(),
        volume: volume.to_owned(),
        size,
        readonly: false,
    };
    let there = |name: &str| fs::symlink_metadata(place.0.join("nodes/7").join(name)).is_ok();
    change(plug("1"));
    change(plug("2"));
    assert!(there("vdb") && there("vdc"));
    change(DiskChange::Unplugged { server: server.clone(), volume: "1".to_owned() });
    assert!(!there("vdb") && there("vdc"));
    change(plug("1"));
    assert!(there("vdb") && !there("vdd"));
}
