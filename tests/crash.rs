//! Kills the driver (SIGKILL to itself) at every named step of a volume's life, starts it again, repeats the call that
//! was under way, and goes on: everything must complete, the data must be there, and nothing may be left over.

#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "test code")]

#[path = "common/driver.rs"]
mod driver;
#[path = "common/life.rs"]
mod life;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use driver::{Driver, Lab, loops_below, mounts_below};
use life::{Seat, block, from_snapshot, from_volume, mount};
use tonic::{Code, Status};

const MIB: i64 = 1 << 20;

/// Every step that the sources name: the walk can miss none.
fn steps() -> BTreeSet<String> {
    fn collect(dir: &Path, steps: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, steps);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                steps.extend(
                    text.split("step(\"")
                        .skip(1)
                        .filter_map(|rest| rest.split('"').next())
                        .map(str::to_owned),
                );
            }
        }
    }
    let mut steps = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut steps);
    steps
}

/// A driver that is started again, without the failpoint, when it has died.
struct Phoenix<'a> {
    lab: &'a Lab,
    driver: Driver,
    deaths: usize,
    /// How the volume at hand is used.
    capability: fairlead::proto::csi::VolumeCapability,
}

impl Phoenix<'_> {
    fn seat(&self) -> Seat {
        Seat {
            client: self.driver.client(),
            home: self.lab.root.join("kubelet"),
            capability: self.capability.clone(),
        }
    }

    /// Makes a call until it succeeds: again after a death, and again while a step of the killed try is still under way
    /// (an orphaned mkfs, say), as the sidecars and the kubelet do.
    async fn call<T>(&mut self, what: &str, call: impl AsyncFn(Seat) -> Result<T, Status>) -> T {
        for _ in 0..100 {
            match call(self.seat()).await {
                Ok(value) => return value,
                Err(status) => {
                    // The process needs a moment to die after the connection broke.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    if self.driver.ended() {
                        self.deaths += 1;
                        self.driver = self.lab.start("all", "server", &[]).await;
                    } else if !matches!(
                        status.code(),
                        Code::Aborted | Code::Unavailable | Code::DeadlineExceeded
                    ) {
                        panic!("{what}: {status:?}\n{}", self.driver.log());
                    }
                }
            }
        }
        panic!("{what} does not complete\n{}", self.driver.log());
    }
}

async fn live_through(step: &str) {
    let lab = Lab::new("crash");
    let driver = lab.start("all", "server", &[("FAIRLEAD_FAILPOINT", step)]).await;
    let mut p = Phoenix { lab: &lab, driver, deaths: 0, capability: mount("xfs") };
    live(&mut p, step).await;
    live_raw(&mut p, step).await;
    live_larger(&mut p, step).await;
    check_nothing_is_left(p, step).await;
}

/// A file system's life: written, grown, read-only, snapshot, restored, in a group.
async fn live(p: &mut Phoenix<'_>, step: &str) {
    let volume = p.call("create", async |s| s.create("one", 320 * MIB, None).await).await;
    let context = p.call("attach", async |s| s.attach(&volume).await).await;
    p.call("stage", async |s| s.stage(&volume, &context).await).await;
    p.call("publish", async |s| s.publish(&volume, &context, false).await).await;
    let data = p.seat().target(&volume).join("data");
    fs::write(&data, "precious").unwrap();
    fs::File::open(&data).unwrap().sync_all().unwrap();
    p.call("expand", async |s| s.expand(&volume, 400 * MIB).await).await;
    p.call("expand on the node", async |s| s.expand_node(&volume, 400 * MIB).await).await;
    p.call("unpublish", async |s| s.unpublish(&volume).await).await;
    p.call("publish read-only", async |s| s.publish(&volume, &context, true).await).await;
    assert_eq!(fs::read_to_string(&data).unwrap(), "precious", "after {step}");
    leave(p, &volume).await;
    let snapshot = p.call("snapshot", async |s| s.snapshot("cut", &volume).await).await;
    let source = from_snapshot(&snapshot);
    let clone = p.call("restore", async |s| s.create("two", 400 * MIB, Some(source.clone())).await).await;
    let members = vec![volume.clone(), clone.clone()];
    let group = p
        .call("group snapshot", async |s| {
            let request = fairlead::proto::csi::CreateVolumeGroupSnapshotRequest {
                name: "group".into(),
                source_volume_ids: members.clone(),
                ..Default::default()
            };
            Ok(s.client
                .group()
                .create_volume_group_snapshot(request)
                .await?
                .into_inner()
                .group_snapshot
                .unwrap())
        })
        .await;
    assert_eq!(group.snapshots.len(), 2);
    let context = p.call("attach", async |s| s.attach(&clone).await).await;
    p.call("stage", async |s| s.stage(&clone, &context).await).await;
    p.call("publish", async |s| s.publish(&clone, &context, false).await).await;
    assert_eq!(fs::read_to_string(p.seat().target(&clone).join("data")).unwrap(), "precious", "after {step}");
    leave(p, &clone).await;
    p.call("delete the group", async |s| {
        let request = fairlead::proto::csi::DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: group.group_snapshot_id.clone(),
            snapshot_ids: group.snapshots.iter().map(|member| member.snapshot_id.clone()).collect(),
            ..Default::default()
        };
        s.client.group().delete_volume_group_snapshot(request).await
    })
    .await;
    p.call("delete the snapshot", async |s| s.delete_snapshot(&snapshot).await).await;
    p.call("delete", async |s| s.delete(&volume).await).await;
    p.call("delete the clone", async |s| s.delete(&clone).await).await;
}

/// A raw device's life, read-only at the end.
async fn live_raw(p: &mut Phoenix<'_>, step: &str) {
    use std::io::{Read as _, Write as _};
    p.capability = block();
    let volume = p.call("create", async |s| s.create("raw", 4 * MIB, None).await).await;
    let context = p.call("attach", async |s| s.attach(&volume).await).await;
    p.call("stage", async |s| s.stage(&volume, &context).await).await;
    p.call("publish", async |s| s.publish(&volume, &context, false).await).await;
    let target = p.seat().target(&volume);
    let mut device = fs::File::options().write(true).open(&target).unwrap();
    device.write_all(b"precious").unwrap();
    device.sync_all().unwrap();
    drop(device);
    p.call("unpublish", async |s| s.unpublish(&volume).await).await;
    p.call("publish read-only", async |s| s.publish(&volume, &context, true).await).await;
    let mut read = [0; 8];
    fs::File::open(&target).unwrap().read_exact(&mut read).unwrap();
    assert_eq!(&read, b"precious", "after {step}");
    leave(p, &volume).await;
    p.call("delete", async |s| s.delete(&volume).await).await;
}

/// An ext4 that is cloned into a larger volume, and grows before its mount.
async fn live_larger(p: &mut Phoenix<'_>, step: &str) {
    p.capability = mount("ext4");
    let small = p.call("create", async |s| s.create("small", 16 * MIB, None).await).await;
    let context = p.call("attach", async |s| s.attach(&small).await).await;
    p.call("stage", async |s| s.stage(&small, &context).await).await;
    p.call("publish", async |s| s.publish(&small, &context, false).await).await;
    leave(p, &small).await;
    let source = from_volume(&small);
    let large = p.call("clone", async |s| s.create("large", 64 * MIB, Some(source.clone())).await).await;
    let context = p.call("attach", async |s| s.attach(&large).await).await;
    p.call("stage", async |s| s.stage(&large, &context).await).await;
    p.call("publish", async |s| s.publish(&large, &context, false).await).await;
    let room = nix::sys::statvfs::statvfs(&p.seat().target(&large)).unwrap();
    assert!(room.blocks() * room.fragment_size() > 40 << 20, "after {step}: it did not grow");
    leave(p, &large).await;
    p.call("delete", async |s| s.delete(&large).await).await;
    p.call("delete", async |s| s.delete(&small).await).await;
}

/// Takes a volume off its server.
async fn leave(p: &mut Phoenix<'_>, volume: &str) {
    p.call("unpublish", async |s| s.unpublish(volume).await).await;
    p.call("unstage", async |s| s.unstage(volume).await).await;
    p.call("detach", async |s| s.detach(volume).await).await;
}

async fn check_nothing_is_left(p: Phoenix<'_>, step: &str) {
    let lab = p.lab;
    assert_eq!(p.deaths, 1, "the step {step} was not reached\n{}", p.driver.log());
    assert_eq!(mounts_below(&lab.root), Vec::<std::path::PathBuf>::new(), "after {step}");
    assert_eq!(loops_below(&lab.root), Vec::new(), "after {step}");
    // A half-made object is recognised at the next start, if not before.
    drop(p);
    drop(lab.start("all", "server", &[]).await);
    for kind in ["volumes", "snapshots", "groups", "attachments/server", "holds/server"] {
        let dir = lab.volumes().join(kind);
        let left: Vec<_> =
            fs::read_dir(&dir).map(|d| d.flatten().map(|e| e.file_name()).collect()).unwrap_or_default();
        assert!(left.is_empty(), "after {step}: {} holds {left:?}", dir.display());
    }
}

#[tokio::test]
async fn killed_at_any_step_the_retry_completes() {
    let steps: Vec<_> = steps().into_iter().collect();
    assert!(steps.len() > 15, "the steps were not found: {steps:?}");
    let start = std::time::Instant::now();
    let (even, odd): (Vec<_>, Vec<_>) = steps.iter().enumerate().partition(|(index, _)| index % 2 == 0);
    let walk = async |steps: Vec<(usize, &String)>| {
        for (_, step) in steps {
            live_through(step).await;
        }
    };
    tokio::join!(walk(even), walk(odd));
    println!("{} steps walked in {:.1?}", steps.len(), start.elapsed());
}
