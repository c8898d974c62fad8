//! What the demo shows: the calls that Kubernetes would make, and the user's own reads and writes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::client::refused;
use crate::demo::servers::{Servers, text};
use crate::demo::timed;
use crate::error::{Error, Result};
use crate::proto::csi;

const GIB: i64 = 1 << 30;
/// How much the user writes, in blocks of 1 MiB.
const WRITTEN: u64 = 64;

/// Tells the whole story; what it made stands in `servers`, for the clean-up.
pub(super) async fn tell(servers: &mut Servers) -> Result<()> {
    let data = timed("order a volume of 1 GiB", order(servers, "demo-data", None)).await?;
    attach_and_mount(servers, 'a', &data).await?;
    let file = |servers: &mut Servers, letter, volume: &str, name: &str| -> Result<_> {
        Ok(servers.server(letter)?.target(volume).join(name))
    };
    let written = file(servers, 'a', &data, "data")?;
    let sum = timed("write 64 MiB on server A, sync, checksum", async { write(&written) }).await?;
    let snapshot = timed("cut a snapshot while it is mounted", cut(servers, &data)).await?;
    let later = file(servers, 'a', &data, "later")?;
    timed("write another file, after the snapshot", async { write(&later) }).await?;
    timed("grow it to 2 GiB while it is mounted (xfs)", grow(servers, 'a', &data)).await?;
    timed("move it: unmount and detach from server A", leave(servers, 'a', &data)).await?;
    attach_and_mount(servers, 'b', &data).await?;
    let moved = file(servers, 'b', &data, "data")?;
    timed("read it on server B, compare the checksum", async { verify(&moved, &sum) }).await?;
    let restored =
        timed("restore the snapshot as a new volume", order(servers, "demo-restored", Some(&snapshot)))
            .await?;
    attach_and_mount(servers, 'b', &restored).await?;
    let (old, absent) = (file(servers, 'b', &restored, "data")?, file(servers, 'b', &restored, "later")?);
    timed("it holds the state of the snapshot: first file yes, later file no", async {
        verify(&old, &sum)?;
        if absent.exists() {
            return Err(Error::internal("the restored volume holds a file from after the snapshot"));
        }
        Ok(())
    })
    .await
}

fn capability() -> csi::VolumeCapability {
    use csi::volume_capability::access_mode::Mode;
    use csi::volume_capability::{AccessMode, AccessType, MountVolume};
    csi::VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume { fs_type: "xfs".into(), ..Default::default() })),
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
    }
}

async fn order(servers: &mut Servers, name: &str, snapshot: Option<&str>) -> Result<String> {
    use csi::volume_content_source::{SnapshotSource, Type};
    let source = snapshot.map(|id| csi::VolumeContentSource {
        r#type: Some(Type::Snapshot(SnapshotSource { snapshot_id: id.to_owned() })),
    });
    let request = csi::CreateVolumeRequest {
        name: name.to_owned(),
        capacity_range: Some(csi::CapacityRange { required_bytes: GIB, limit_bytes: 0 }),
        volume_capabilities: vec![capability()],
        volume_content_source: source,
        ..Default::default()
    };
    let answer = servers.controller()?.controller().create_volume(request).await;
    let volume =
        answer.map_err(|status| refused("CreateVolume", &status))?.into_inner().volume.unwrap_or_default();
    servers.volumes.push(volume.volume_id.clone());
    Ok(volume.volume_id)
}

async fn attach_and_mount(servers: &mut Servers, letter: char, volume: &str) -> Result<()> {
    let name = letter.to_ascii_uppercase();
    let context = timed(&format!("attach it to server {name}"), async {
        let node_id = servers.server(letter)?.node_id.clone();
        let request = csi::ControllerPublishVolumeRequest {
            volume_id: volume.to_owned(),
            node_id,
            volume_capability: Some(capability()),
            ..Default::default()
        };
        let answer = servers.controller()?.controller().controller_publish_volume(request).await;
        Ok(answer.map_err(|status| refused("ControllerPublishVolume", &status))?.into_inner().publish_context)
    })
    .await?;
    let server = servers.server(letter)?;
    let (staging, target) = (server.staging(volume)?, server.target(volume));
    let mut node = server.client.node();
    timed(&format!("server {name}: find the device, prove it blank and mkfs if new, mount"), async {
        let request = csi::NodeStageVolumeRequest {
            volume_id: volume.to_owned(),
            publish_context: context.clone(),
            staging_target_path: text(&staging),
            volume_capability: Some(capability()),
            ..Default::default()
        };
        node.node_stage_volume(request).await.map_err(|status| refused("NodeStageVolume", &status))
    })
    .await?;
    timed(&format!("server {name}: bind it to the workload's path"), async {
        let request = csi::NodePublishVolumeRequest {
            volume_id: volume.to_owned(),
            publish_context: context,
            staging_target_path: text(&staging),
            target_path: text(&target),
            volume_capability: Some(capability()),
            ..Default::default()
        };
        node.node_publish_volume(request).await.map_err(|status| refused("NodePublishVolume", &status))
    })
    .await?;
    Ok(())
}

async fn cut(servers: &mut Servers, volume: &str) -> Result<String> {
    let request = csi::CreateSnapshotRequest {
        source_volume_id: volume.to_owned(),
        name: "demo-snapshot".into(),
        ..Default::default()
    };
    let answer = servers.controller()?.controller().create_snapshot(request).await;
    let snapshot = answer
        .map_err(|status| refused("CreateSnapshot", &status))?
        .into_inner()
        .snapshot
        .unwrap_or_default();
    servers.snapshots.push(snapshot.snapshot_id.clone());
    Ok(snapshot.snapshot_id)
}

async fn grow(servers: &mut Servers, letter: char, volume: &str) -> Result<()> {
    let range = Some(csi::CapacityRange { required_bytes: 2 * GIB, limit_bytes: 0 });
    let target = servers.server(letter)?.target(volume);
    let request = csi::ControllerExpandVolumeRequest {
        volume_id: volume.to_owned(),
        capacity_range: range,
        volume_capability: Some(capability()),
        ..Default::default()
    };
    let answer = servers.controller()?.controller().controller_expand_volume(request).await;
    answer.map_err(|status| refused("ControllerExpandVolume", &status))?;
    let request = csi::NodeExpandVolumeRequest {
        volume_id: volume.to_owned(),
        volume_path: text(&target),
        capacity_range: range,
        ..Default::default()
    };
    let mut node = servers.server(letter)?.client.node();
    node.node_expand_volume(request).await.map_err(|status| refused("NodeExpandVolume", &status))?;
    let request = csi::NodeGetVolumeStatsRequest {
        volume_id: volume.to_owned(),
        volume_path: text(&target),
        ..Default::default()
    };
    let stats =
        node.node_get_volume_stats(request).await.map_err(|status| refused("NodeGetVolumeStats", &status))?;
    match stats.into_inner().usage.iter().map(|usage| usage.total).max() {
        // XFS keeps its log and headers for itself: some tens of MiB of 2 GiB.
        Some(total) if total > GIB * 19 / 10 => Ok(()),
        total => {
            Err(Error::internal(format!("the file system did not grow to 2 GiB: it has {total:?} bytes")))
        }
    }
}

async fn leave(servers: &mut Servers, letter: char, volume: &str) -> Result<()> {
    let server = servers.server(letter)?;
    server.release(volume).await?;
    let node_id = server.node_id.clone();
    let request =
        csi::ControllerUnpublishVolumeRequest { volume_id: volume.to_owned(), node_id, ..Default::default() };
    let answer = servers.controller()?.controller().controller_unpublish_volume(request).await;
    answer.map(|_| ()).map_err(|status| refused("ControllerUnpublishVolume", &status))
}

/// Writes blocks that differ from each other, syncs, and returns their checksum.
fn write(path: &Path) -> Result<Vec<u8>> {
    let fault = |error| Error::io(format!("write {}", path.display()), error);
    let mut file = fs::File::create(path).map_err(fault)?;
    let mut sum = Sha256::new();
    for block in 0..WRITTEN {
        let seed = Sha256::digest(block.to_le_bytes());
        let bytes = seed.repeat((1 << 20) / seed.len());
        file.write_all(&bytes).map_err(fault)?;
        sum.update(&bytes);
    }
    file.sync_all().map_err(fault)?;
    Ok(sum.finalize().to_vec())
}

fn verify(path: &Path, expected: &[u8]) -> Result<()> {
    let fault = |error| Error::io(format!("read {}", path.display()), error);
    let mut file = fs::File::open(path).map_err(fault)?;
    let (mut sum, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(fault)? {
            0 => break,
            read => sum.update(&buffer[..read]),
        }
    }
    if sum.finalize().as_slice() == expected {
        Ok(())
    } else {
        Err(Error::internal(format!("{} does not hold what was written", path.display())))
    }
}
