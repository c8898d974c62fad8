//! The calls that sidecars make, each noted and compared with the truth.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fairlead::proto::csi;
use fairlead::proto::csi::volume_capability::access_mode::Mode;
use fairlead::proto::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use fairlead::proto::csi::volume_content_source::{SnapshotSource, Type, VolumeSource};

use crate::seat::{Answer, Seat};
use crate::world::{World, is_shared};
use crate::{INITIATORS, initiator};

/// How long a sidecar waits for a call.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a volume is made from, by its name in StorPool.
#[derive(Clone, Debug)]
pub enum From {
    Volume(String),
    Snapshot(String),
}

/// Someone who calls the driver, and waits so long for an answer.
#[derive(Clone)]
pub struct Caller {
    pub seat: Arc<Seat>,
    pub world: World,
    pub patience: Duration,
}

/// The id of what has this name in StorPool.
fn handle(name: &str) -> String {
    format!("fast/{name}")
}

/// The name that CSI has for a volume.
fn csi_name(name: &str) -> String {
    let rest = name.trim_start_matches("csi--");
    rest.trim_start_matches("snap--").trim_start_matches("group--").to_owned()
}

fn node(number: u16) -> String {
    match INITIATORS.contains(&number) {
        true => format!("node-{number};iscsi={}", initiator(number)),
        false => format!("node-{number};storpool=d.n.{number}"),
    }
}

fn capability(name: &str) -> csi::VolumeCapability {
    let (access, mode) = match is_shared(name) {
        true => (AccessType::Block(BlockVolume {}), Mode::MultiNodeMultiWriter),
        false => (
            AccessType::Mount(MountVolume { fs_type: "ext4".into(), ..Default::default() }),
            Mode::SingleNodeWriter,
        ),
    };
    csi::VolumeCapability { access_type: Some(access), access_mode: Some(AccessMode { mode: mode.into() }) }
}

fn range(bytes: u64) -> Option<csi::CapacityRange> {
    Some(csi::CapacityRange { required_bytes: i64::try_from(bytes).unwrap(), limit_bytes: 0 })
}

impl Caller {
    pub fn new(seat: &Arc<Seat>, world: &World) -> Self {
        Self { seat: Arc::clone(seat), world: world.clone(), patience: PATIENCE }
    }

    pub async fn create(&self, name: &str, from: Option<&From>) -> Answer<()> {
        let source = from.map(|from| match from {
            From::Volume(name) => Type::Volume(VolumeSource { volume_id: handle(name) }),
            From::Snapshot(name) => Type::Snapshot(SnapshotSource { snapshot_id: handle(name) }),
        });
        let request = csi::CreateVolumeRequest {
            name: csi_name(name),
            capacity_range: if from.is_some() { None } else { range(1 << 30) },
            volume_capabilities: vec![capability(name)],
            volume_content_source: source.map(|source| csi::VolumeContentSource { r#type: Some(source) }),
            ..Default::default()
        };
        let number = self.world.making(name);
        let answer = self
            .seat
            .call(self.patience, async |client| {
                let answer = client.controller().create_volume(request).await?.into_inner();
                assert_eq!(answer.volume.unwrap().volume_id, handle(name));
                Ok(())
            })
            .await;
        self.world.count(if from.is_some() { "copy" } else { "create" }, &answer);
        self.world.made(name, number, &answer);
        if let (Some(Ok(())), Some(from)) = (&answer, from) {
            let tag = match from {
                From::Volume(name) => format!("v:{name}"),
                From::Snapshot(name) => format!("s:{name}"),
            };
            let noted = move |one: &storpoolsim::state::Object| one.tags.get("fl-from") == Some(&tag);
            self.world.is_so(name, number, "a copy", noted);
        }
        answer
    }

    pub async fn delete(&self, name: &str) -> Answer<()> {
        let request = csi::DeleteVolumeRequest { volume_id: handle(name), ..Default::default() };
        let number = self.world.doom(name);
        let answer = self
            .seat
            .call(self.patience, async |client| client.controller().delete_volume(request).await.map(drop))
            .await;
        self.world.count("delete", &answer);
        self.world.doomed(name, number, &answer);
        answer
    }

    pub async fn publish(&self, name: &str, to: u16) -> Answer<()> {
        let request = csi::ControllerPublishVolumeRequest {
            volume_id: handle(name),
            node_id: node(to),
            volume_capability: Some(capability(name)),
            ..Default::default()
        };
        let number = self.world.moving(name);
        let answer = self
            .seat
            .call(self.patience, async |client| {
                client.controller().controller_publish_volume(request).await.map(drop)
            })
            .await;
        let exports = INITIATORS.contains(&to);
        self.world.count(if exports { "publish over iSCSI" } else { "publish" }, &answer);
        if let Some(Ok(())) = &answer {
            self.world.moved(name, number, Some(to), true);
            if exports {
                self.world.log_in(name, number, to);
            }
        }
        answer
    }

    /// From this node, or from all.
    pub async fn unpublish(&self, name: &str, from: Option<u16>) -> Answer<()> {
        let request = csi::ControllerUnpublishVolumeRequest {
            volume_id: handle(name),
            node_id: from.map(node).unwrap_or_default(),
            ..Default::default()
        };
        let number = self.world.moving(name);
        let answer = self
            .seat
            .call(self.patience, async |client| {
                client.controller().controller_unpublish_volume(request).await.map(drop)
            })
            .await;
        self.world.count("unpublish", &answer);
        if let Some(Ok(())) = &answer {
            self.world.moved(name, number, from, false);
        }
        answer
    }

    pub async fn expand(&self, name: &str, size: u64) -> Answer<()> {
        let request = csi::ControllerExpandVolumeRequest {
            volume_id: handle(name),
            capacity_range: range(size),
            ..Default::default()
        };
        let number = self.world.changing();
        let answer = self
            .seat
            .call(self.patience, async |client| {
                client.controller().controller_expand_volume(request).await.map(drop)
            })
            .await;
        self.world.count("expand", &answer);
        if let Some(Ok(())) = &answer {
            self.world.is_so(name, number, &format!("{size} bytes"), |one| one.size >= size);
        }
        answer
    }

    pub async fn modify(&self, name: &str, key: &str, value: &str) -> Answer<()> {
        let request = csi::ControllerModifyVolumeRequest {
            volume_id: handle(name),
            mutable_parameters: HashMap::from([(key.to_owned(), value.to_owned())]).into_iter().collect(),
            ..Default::default()
        };
        let answer = self
            .seat
            .call(self.patience, async |client| {
                client.controller().controller_modify_volume(request).await.map(drop)
            })
            .await;
        self.world.count("modify", &answer);
        answer
    }

    pub async fn snapshot(&self, name: &str, volume: &str) -> Answer<()> {
        let request = csi::CreateSnapshotRequest {
            name: csi_name(name),
            source_volume_id: handle(volume),
            ..Default::default()
        };
        let number = self.world.making(name);
        let answer = self
            .seat
            .call(self.patience, async |client| {
                let answer = client.controller().create_snapshot(request).await?.into_inner();
                assert_eq!(answer.snapshot.unwrap().snapshot_id, handle(name));
                Ok(())
            })
            .await;
        self.world.count("snapshot", &answer);
        self.world.made(name, number, &answer);
        answer
    }

    pub async fn delete_snapshot(&self, name: &str) -> Answer<()> {
        let request = csi::DeleteSnapshotRequest { snapshot_id: handle(name), ..Default::default() };
        let number = self.world.doom(name);
        let answer = self
            .seat
            .call(self.patience, async |client| client.controller().delete_snapshot(request).await.map(drop))
            .await;
        self.world.count("delete snapshot", &answer);
        self.world.doomed(name, number, &answer);
        answer
    }

    pub async fn group(&self, name: &str, volumes: &[String]) -> Answer<()> {
        let request = csi::CreateVolumeGroupSnapshotRequest {
            name: csi_name(name),
            source_volume_ids: volumes.iter().map(|volume| handle(volume)).collect(),
            ..Default::default()
        };
        let number = self.world.making(name);
        let answer = self
            .seat
            .call(self.patience, async |client| {
                let answer = client.group().create_volume_group_snapshot(request).await?.into_inner();
                Ok(answer.group_snapshot.unwrap().snapshots)
            })
            .await;
        self.world.count("group", &answer);
        self.world.made(name, number, &answer);
        answer.map(|answer| {
            answer.map(|members| {
                let mut of: Vec<_> = members.iter().map(|one| one.source_volume_id.clone()).collect();
                of.sort();
                let mut wanted: Vec<_> = volumes.iter().map(|volume| handle(volume)).collect();
                wanted.sort();
                let ids = members.into_iter().map(|one| one.snapshot_id).collect();
                self.world.with(|book| {
                    if of != wanted {
                        book.is_wrong(format!("{name} is of {of:?}, and was to be of {wanted:?}"));
                    }
                    book.members.insert(name.to_owned(), ids);
                });
            })
        })
    }

    /// With the members that were answered last.
    pub async fn delete_group(&self, name: &str) -> Answer<()> {
        let members = self.world.with(|book| book.members.get(name).cloned().unwrap_or_default());
        let request = csi::DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: handle(name),
            snapshot_ids: members,
            ..Default::default()
        };
        let number = self.world.doom(name);
        let answer = self
            .seat
            .call(self.patience, async |client| {
                client.group().delete_volume_group_snapshot(request).await.map(drop)
            })
            .await;
        self.world.count("delete group", &answer);
        self.world.doomed(name, number, &answer);
        answer
    }

    /// All volumes and snapshots, page by page.
    pub async fn list(&self) -> Answer<()> {
        let volumes = csi::ListVolumesRequest { max_entries: 7, ..Default::default() };
        let snapshots = csi::ListSnapshotsRequest::default();
        let answer = self
            .seat
            .call(self.patience, async |client| {
                client.controller().list_volumes(volumes).await?;
                client.controller().list_snapshots(snapshots).await.map(drop)
            })
            .await;
        self.world.count("list", &answer);
        answer
    }
}
