//! Kills the driver (SIGKILL to itself) at every named step of a volume's life, starts it again, repeats the call that
//! was under way, and goes on: everything must complete, the data must be there, and nothing may be left over.

#![cfg(feature = "failpoints")]

#[path = "common/driver.rs"]
mod driver;
#[path = "common/life.rs"]
mod life;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use driver::{Driver, Lab, loops_below, mounts_below};
use life::{Seat, from_snapshot, mount};
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
}

impl Phoenix<'_> {
    fn seat(&self) -> Seat {
        Seat { client: self.driver.client(), home: self.lab.root.join("kubelet"), capability: mount("xfs") }
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
    let mut p = Phoenix { lab: &lab, driver, deaths: 0 };
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
    p.call("unpublish", async |s| s.unpublish(&volume).await).await;
    p.call("unstage", async |s| s.unstage(&volume).await).await;
    p.call("detach", async |s| s.detach(&volume).await).await;
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
    p.call("unpublish", async |s| s.unpublish(&clone).await).await;
    p.call("unstage", async |s| s.unstage(&clone).await).await;
    p.call("detach", async |s| s.detach(&clone).await).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_the_retry_completes() {
    let steps: Vec<_> = steps().into_iter().collect();
    assert!(steps.len() > 15, "the steps were not found: {steps:?}");
    let start = std::time::Instant::now();
    let (even, odd): (Vec<_>, Vec<_>) = steps.iter().enumerate().partition(|(index, _)| index % 2 == 0);
    let walk = |steps: Vec<(usize, &String)>| {
        let steps: Vec<String> = steps.into_iter().map(|(_, step)| step.clone()).collect();
        tokio::spawn(async move {
            for step in steps {
                live_through(&step).await;
            }
        })
    };
    let (first, second) = tokio::join!(walk(even), walk(odd));
    first.unwrap();
    second.unwrap();
    println!("{} steps walked in {:.1?}", steps.len(), start.elapsed());
}
