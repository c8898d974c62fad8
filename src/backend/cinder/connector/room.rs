//! How many volumes this node can have, as far as a node can tell.
//!
//! A disk of virtio-blk needs a PCI slot of its own, so there is room for those that are there and as many as there are
//! free slots. SCSI has room for more than any cloud gives.

use super::finder;
use crate::error::{Kind, Result};
use crate::host::disks::{Bus, Disk, Disks};

/// The units that Nova numbers on one SCSI controller.
const SCSI_UNITS: u32 = 256;

/// `None` where no limit is known. `per_server` is the cloud's own limit of volumes.
pub(super) async fn volumes(disks: &Disks, per_server: Option<u32>) -> Result<Option<u32>> {
    let list = disks.list().await?;
    let (volumes, others): (Vec<_>, Vec<_>) = list.iter().partition(|disk| is_volume(disk));
    let mut foreign = 0;
    for disk in &volumes {
        foreign += u32::from(is_foreign(disks, disk).await?);
    }
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let ours = count(volumes.len()).saturating_sub(foreign);
    let bus = match bus(&volumes, &others) {
        Some(Bus::Virtio) => disks.free_slots().await?.map(|free| ours.saturating_add(free)),
        Some(Bus::Scsi) => {
            let other = others.iter().filter(|disk| disk.bus == Bus::Scsi).count();
            Some(SCSI_UNITS.saturating_sub(count(other)).saturating_sub(foreign))
        }
        _ => None,
    };
    let cloud = per_server.map(|cap| cap.saturating_sub(foreign));
    // 0 would mean that no limit is known (CSI, NodeGetInfo).
    Ok([bus, cloud].into_iter().flatten().min().map(|cap| cap.max(1)))
}

fn is_volume(disk: &Disk) -> bool {
    disk.identifiers.iter().any(|one| finder::is_volume(&one.text))
}

/// Whether it is a volume of the cloud that this driver has not brought up: the driver mounts whole disks, so one with a
/// partition in use, such as a server's boot volume, is somebody else's.
async fn is_foreign(disks: &Disks, disk: &Disk) -> Result<bool> {
    if !disk.partitions {
        return Ok(false);
    }
    match disks.free(disk).await {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == Kind::Busy => Ok(true),
        // It went away, or does not answer: the next time tells.
        Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Timeout) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where the next volume will be plugged in: Nova gives all disks of a server one kind of bus.
fn bus(volumes: &[&Disk], others: &[&Disk]) -> Option<Bus> {
    let has = |disks: &[&Disk], bus| disks.iter().any(|disk| disk.bus == bus);
    [Bus::Virtio, Bus::Scsi].into_iter().find(|bus| has(volumes, *bus)).or_else(|| {
        // An emulated CD drive is SCSI too, so virtio is looked for first.
        [Bus::Virtio, Bus::Scsi].into_iter().find(|bus| has(others, *bus))
    })
}
