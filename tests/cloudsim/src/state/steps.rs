//! What happens when the time of a step has come.

use super::agenda::{Step, What};
use super::{Caller, Cloud, DiskChange, Phase};
use crate::config::Dialect;

impl Cloud {
    pub(super) fn take(&mut self, step: Step) {
        let Step { object, what, caller, .. } = step;
        let id = object.as_str();
        match what {
            What::VolumeFilled => {
                self.set(id, "downloading");
                self.plan(self.config.timings.image, Phase::Create, id, What::VolumeMade, &caller);
            }
            What::VolumeMade => self.volume_made(id, &caller),
            What::VolumeRegistered => {
                let service = self.config.region.clone();
                self.touch(id, |volume| volume.service = Some(service_of(&service)));
            }
            What::VolumeGone => self.volume_gone(id, &caller),
            What::VolumeGrown(size) => self.volume_grown(id, size, &caller),
            What::DisksGrown => self.disks_grown(id, &caller),
            What::VolumeRetyped(kind) => self.touch(id, |volume| {
                if caller.fate.fails.is_none() {
                    volume.kind = kind;
                }
                volume.status = volume.before;
            }),
            What::VolumeReverted => self.volume_reverted(id, &caller),
            What::SnapshotMade => self.snapshot_made(id, &caller),
            What::SnapshotGone => self.snapshot_gone(id, &caller),
            What::BackupMade => self.backup_made(id, &caller),
            What::BackupGone => self.backup_gone(id, &caller),
            What::Restored { backup } => self.restored(id, &backup, &caller),
            What::Connected => self.connected(id),
            What::Attached => self.attached(id, &caller),
            What::InUse => self.in_use(id),
            What::Unplugged { server } => self.unplugged(&server, id, &caller),
            What::Detached { server } => self.detached(&server, id),
            What::DiskGone { server } => self.disk_gone(&server, id),
            What::GroupSettled => self.group_settled(id, &caller),
            What::GroupChanged { add, remove } => self.group_changed(id, &add, &remove, &caller),
            What::GroupGone { volumes } => self.group_gone(id, volumes, &caller),
            What::CutMade => self.cut_made(id, &caller),
            What::CutGone => self.cut_gone(id, &caller),
        }
    }

    fn volume_made(&mut self, id: &str, caller: &Caller) {
        if let Some(text) = &caller.fate.fails {
            let text = format!("schedule allocate volume:{text}");
            self.set(id, "error");
            self.tell(caller, "VOLUME", id, "VOLUME_VOLUME_001_003", text);
            return;
        }
        self.set(id, "available");
        let Some(volume) = self.volumes.get(id) else { return };
        self.ledger.made += 1;
        let from = volume.snapshot.as_ref().or(volume.source.as_ref()).or(volume.backup.as_ref());
        let (size, from) = (volume.size, from.cloned());
        self.disk_change(|| DiskChange::Made { volume: id.to_owned(), size, from });
        let usual = self.config.timings.register;
        let after = caller.fate.registers.map_or(usual, std::time::Duration::from_millis);
        self.plan(after, Phase::Register, id, What::VolumeRegistered, &Caller::default());
    }

    pub(super) fn volume_gone(&mut self, id: &str, caller: &Caller) {
        if let Some(text) = &caller.fate.fails {
            let text = format!("delete volume:{text}");
            self.set(id, "error_deleting");
            self.tell(caller, "VOLUME", id, "VOLUME_VOLUME_003_001", text);
            return;
        }
        let attachments = self.attachments.iter().filter(|one| one.volume == id);
        let attachments: Vec<_> = attachments.map(|one| (one.id.clone(), one.server.clone())).collect();
        // One that was made on a server is taken from it by its deletion, and in no other way.
        let own = self.volumes.get(id).and_then(|volume| volume.server.clone());
        if let Some(server) = &own {
            self.pull(server, id);
        }
        self.ledger.delete(id, self.now);
        for (attachment, server) in attachments {
            self.attachments.remove(&attachment);
            if let Some(server) = server {
                self.pull(&server, id);
                self.change_server(&server, |server| server.disks.retain(|disk| disk.volume != id));
            }
        }
        self.disk_change(|| DiskChange::Gone { object: id.to_owned() });
        if self.config.dialect == Dialect::Cyclades {
            self.touch(id, |volume| {
                volume.status = "deleted";
                volume.deleted = true;
            });
        } else {
            self.volumes.remove(id);
        }
    }

    fn volume_grown(&mut self, id: &str, size: u64, caller: &Caller) {
        if let Some(text) = &caller.fate.fails {
            let text = format!("extend volume:{text}");
            self.set(id, "error_extending");
            self.tell(caller, "VOLUME", id, "VOLUME_VOLUME_005_004", text);
            return;
        }
        self.touch(id, |volume| {
            volume.size = size;
            volume.status = volume.before;
        });
        // Cinder is done before the servers see it.
        self.plan(self.config.timings.grow_disk, Phase::Extend, id, What::DisksGrown, caller);
    }

    fn disks_grown(&mut self, id: &str, caller: &Caller) {
        let Some(size) = self.volumes.get(id).map(|volume| volume.size) else { return };
        for server in self.ledger.holders(id) {
            self.disk_change(|| DiskChange::Grown { server: server.clone(), volume: id.to_owned(), size });
            self.note_action(&server, "extend_volume", &caller.request, None);
        }
    }
}

/// The id of the service that holds a region's volumes.
fn service_of(region: &str) -> String {
    let sum = region
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    super::Ids::new(sum).uuid()
}
