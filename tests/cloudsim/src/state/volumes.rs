//! The life of volumes. The texts are Cinder's (cinder/volume/api.py, cinder/volume/flows/api/create_volume.py).

use super::agenda::What;
use super::objects::{Metadata, Volume};
use super::{Caller, Cloud, Phase, Refusal, Result};
use crate::config::Type;

/// What a volume is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nothing.
    #[default]
    Nothing,
    /// A snapshot.
    Snapshot(String),
    /// A volume.
    Volume(String),
    /// An image, by id or name.
    Image(String),
    /// A backup.
    Backup(String),
}

/// What somebody wants to have made.
#[derive(Clone, Debug, Default)]
pub struct VolumeWish {
    /// Its name.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// GiB; `None`: as large as what it is made from.
    pub size: Option<u64>,
    /// Its type's id or name; `None`: the default one.
    pub kind: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// What it is made from.
    pub origin: Origin,
    /// In which group.
    pub group: Option<String>,
    /// What is noted about it.
    pub metadata: Metadata,
}

/// What a wish comes from, looked up.
#[derive(Default)]
struct From {
    size: Option<u64>,
    zone: Option<String>,
    kind: Option<String>,
    too_small: &'static str,
}

/// The states in which a volume can be deleted.
const DELETABLE: [&str; 5] = ["available", "error", "error_restoring", "error_extending", "error_managing"];

impl Cloud {
    /// A volume of a project.
    pub fn volume(&self, project: &str, id: &str) -> Result<&Volume> {
        let found = self.volumes.get(id).filter(|volume| volume.project == project);
        found.ok_or_else(|| Refusal::missing(format!("Volume {id} could not be found.")))
    }

    /// Its type.
    #[must_use]
    pub fn type_of(&self, volume: &Volume) -> Option<&Type> {
        self.config.volume_type(&volume.kind)
    }

    /// Whether several servers can have it.
    #[must_use]
    pub fn is_shared(&self, volume: &Volume) -> bool {
        self.type_of(volume).is_some_and(|kind| kind.is("multiattach"))
    }

    /// Begins to make a volume, and tells its id.
    pub fn create_volume(&mut self, caller: &Caller, wish: VolumeWish) -> Result<String> {
        let kind = match wish.kind.as_deref().filter(|kind| !kind.is_empty()) {
            None => None,
            Some(wanted) => Some(self.config.volume_type(wanted).ok_or_else(|| {
                Refusal::missing(format!("Volume type with name {wanted} could not be found."))
            })?),
        };
        let kind = kind.map(|kind| kind.id.clone());
        let from = self.origin(&caller.project, &wish.origin)?;
        if let Some(group) = &wish.group {
            self.group(&caller.project, group)?;
        }
        let size = wish.size.or(from.size).unwrap_or_default();
        if size == 0 {
            return Err(Refusal::invalid(format!(
                "Invalid input received: Invalid volume size provided for create request: {size} (size argument must \
                 be an integer (or string representation of an integer) and greater than zero)."
            )));
        }
        if let Some(least) = from.size.filter(|least| size < *least) {
            let text =
                from.too_small.replace("{size}", &size.to_string()).replace("{least}", &least.to_string());
            return Err(Refusal::invalid(format!("Invalid input received: {text}")));
        }
        let default = self.config.types.first().map(|kind| kind.id.clone());
        let kind = kind.or(from.kind).or(default).unwrap_or_default();
        self.fits(&kind, size)?;
        let zone = self.zone(&kind, wish.zone.as_deref(), from.zone)?;
        self.afford(&caller.project, 1, size, &kind)?;
        let zone = caller.fate.zone.clone().unwrap_or(zone);
        let id = self.new_id();
        let (mut snapshot, mut source, mut image, mut backup) = (None, None, None, None);
        match wish.origin {
            Origin::Nothing => {}
            Origin::Backup(id) => backup = Some(id),
            Origin::Snapshot(id) => snapshot = Some(id),
            Origin::Volume(id) => source = Some(id),
            Origin::Image(wanted) => image = self.image(&wanted).map(|image| image.id.clone()),
        }
        let bootable = image.is_some();
        let volume = Volume {
            id: id.clone(),
            project: caller.project.clone(),
            user: caller.user.clone(),
            name: wish.name,
            description: wish.description,
            status: "creating",
            size,
            kind,
            zone,
            created: self.now,
            updated: None,
            snapshot,
            source,
            image,
            backup,
            group: wish.group,
            metadata: wish.metadata,
            bootable,
            readonly: false,
            service: None,
            server: None,
            written: false,
            deleted: false,
            before: "creating",
        };
        self.volumes.insert(volume);
        let after = caller.fate.duration(self.config.timings.create);
        let what = if bootable { What::VolumeFilled } else { What::VolumeMade };
        self.plan(after, Phase::Create, &id, what, caller);
        Ok(id)
    }

    /// An image by id or name.
    pub(super) fn image(&self, wanted: &str) -> Option<&crate::config::Image> {
        let wanted = wanted.rsplit('/').next().unwrap_or(wanted);
        self.config.images.iter().find(|image| image.id == wanted || image.name == wanted)
    }

    fn origin(&self, project: &str, origin: &Origin) -> Result<From> {
        Ok(match origin {
            Origin::Nothing => From::default(),
            Origin::Snapshot(id) => {
                let snapshot = self.snapshot(project, id)?;
                if snapshot.status != "available" {
                    return Err(Refusal::invalid(
                        "Invalid snapshot: Originating snapshot status must be one of 'available' values",
                    ));
                }
                let volume = self.volumes.get(&snapshot.volume);
                From {
                    size: Some(snapshot.size),
                    zone: volume.map(|volume| volume.zone.clone()),
                    kind: volume.map(|volume| volume.kind.clone()),
                    too_small: "Volume size '{size}'GB cannot be smaller than the snapshot size {least}GB. They must \
                                be >= original snapshot size.",
                }
            }
            Origin::Volume(id) => {
                let volume = self.volume(project, id)?;
                if !matches!(volume.status, "available" | "in-use") {
                    return Err(Refusal::invalid(
                        "Invalid volume: Originating volume status must be one of 'available, in-use' values",
                    ));
                }
                From {
                    size: Some(volume.size),
                    zone: Some(volume.zone.clone()),
                    kind: Some(volume.kind.clone()),
                    too_small: "Volume size '{size}'GB cannot be smaller than original volume size {least}GB. They \
                                must be >= original volume size.",
                }
            }
            Origin::Image(wanted) => {
                let image = self.image(wanted).ok_or_else(|| {
                    Refusal::invalid("Invalid image identifier or unable to access requested image.")
                })?;
                From {
                    size: Some(image.min_disk),
                    too_small: "Volume size {size}GB cannot be smaller than the image minDisk size {least}GB.",
                    ..From::default()
                }
            }
            Origin::Backup(id) => {
                let backup = self.backup(project, id)?;
                if backup.status != "available" {
                    return Err(Refusal::invalid(
                        "Invalid backup: Originating backup status must be one of 'available' values",
                    ));
                }
                From {
                    size: Some(backup.size),
                    too_small: "Volume size {size}GB cannot be smaller than the backup size {least}GB. It must be >= \
                                backup size.",
                    ..From::default()
                }
            }
        })
    }

    /// Refuses a size that the type or the cloud does not allow.
    fn fits(&self, kind: &str, size: u64) -> Result<()> {
        let kind = self.config.volume_type(kind);
        let limit = |spec: &str| kind.and_then(|kind| kind.specs.get(spec)?.parse::<u64>().ok());
        if let Some(least) = limit("provisioning:min_vol_size").filter(|least| size < *least) {
            return Err(Refusal::invalid(format!(
                "Invalid input received: Specified volume size of '{size}' is less than the minimum required size of \
                 '{least}' for volume type '{}'.",
                kind.map_or("", |kind| &kind.name)
            )));
        }
        if let Some(most) = limit("provisioning:max_vol_size").filter(|most| size > *most) {
            return Err(Refusal::invalid(format!(
                "Invalid input received: Specified volume size of '{size}' is greater than the maximum allowable \
                 size of '{most}' for volume type '{}'.",
                kind.map_or("", |kind| &kind.name)
            )));
        }
        if size > self.config.largest {
            return Err(Refusal::over_quota(format!(
                "VolumeSizeExceedsLimit: Requested volume size {size}G is larger than maximum allowed limit {}G.",
                self.config.largest
            )));
        }
        Ok(())
    }

    fn zone(&self, kind: &str, wanted: Option<&str>, from: Option<String>) -> Result<String> {
        let allowed =
            self.config.volume_type(kind).and_then(|kind| kind.specs.get("RESKEY:availability_zones"));
        let allowed: Vec<&str> = match allowed {
            Some(list) => list.split(',').map(str::trim).collect(),
            None => self.config.zones.iter().map(String::as_str).collect(),
        };
        let default = allowed.first().map(|zone| (*zone).to_owned()).unwrap_or_default();
        let source = from.clone();
        let zone = match wanted.map(str::to_owned).or(from) {
            None => return Ok(default),
            Some(zone) if allowed.contains(&zone.as_str()) => zone,
            Some(_) if self.config.zone_fallback => default,
            Some(zone) => {
                return Err(Refusal::invalid(format!("Availability zone '{zone}' is invalid.")));
            }
        };
        if source.is_some_and(|source| source != zone) {
            return Err(Refusal::invalid(
                "Invalid input received: Availability zone of the volume and of what it is made from must be the same",
            ));
        }
        Ok(zone)
    }

    /// Begins to delete a volume.
    pub fn delete_volume(&mut self, caller: &Caller, id: &str, cascade: bool) -> Result<()> {
        let volume = self.volume(&caller.project, id)?;
        let snapshots: Vec<_> =
            self.snapshots.iter().filter(|snapshot| snapshot.volume == id).cloned().collect();
        let free = DELETABLE.contains(&volume.status)
            && volume.group.is_none()
            && !self.attachments.iter().any(|attachment| attachment.volume == id)
            && (cascade || snapshots.is_empty());
        if !free {
            return Err(Refusal::invalid(
                "Invalid volume: Volume status must be available or error or error_restoring or error_extending or \
                 error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a \
                 transfer, or be disassociated from snapshots after volume transfer.",
            ));
        }
        let deletable = |status| matches!(status, "available" | "error" | "deleting");
        if snapshots.iter().any(|one| !deletable(one.status) || one.cut.is_some()) {
            return Err(Refusal::invalid("Invalid volume: Failed to update snapshot."));
        }
        let after = caller.fate.duration(self.config.timings.delete);
        for snapshot in snapshots {
            self.plan(after, Phase::DeleteSnapshot, &snapshot.id, What::SnapshotGone, caller);
        }
        self.set(id, "deleting");
        self.plan(after, Phase::Delete, id, What::VolumeGone, caller);
        Ok(())
    }

    /// Begins to delete a volume and takes it from the servers that have it, which only some clouds do.
    pub fn delete_with_disk(&mut self, caller: &Caller, id: &str) {
        self.set(id, "deleting");
        let after = caller.fate.duration(self.config.timings.detach);
        self.plan(after, Phase::Delete, id, What::VolumeGone, caller);
    }

    /// Begins to grow a volume. `in_use`: also while a server has it.
    pub fn extend_volume(&mut self, caller: &Caller, id: &str, size: u64, in_use: bool) -> Result<()> {
        let volume = self.volume(&caller.project, id)?;
        let (old, kind, status) = (volume.size, volume.kind.clone(), volume.status);
        let expected = if in_use && status == "in-use" { "in-use" } else { "available" };
        if size <= old {
            return Err(Refusal::invalid(format!(
                "Invalid input received: New size for extend must be greater than current size. (current: {old}, \
                 extended: {size})."
            )));
        }
        self.fits(&kind, size)?;
        if status != expected {
            return Err(Refusal::invalid(format!(
                "Invalid volume: Volume {id} status must be '{{'status': '{expected}'}}' to extend, currently {status}."
            )));
        }
        self.afford(&caller.project, 0, size - old, &kind)?;
        self.set(id, "extending");
        let after = caller.fate.duration(self.config.timings.extend);
        self.plan(after, Phase::Extend, id, What::VolumeGrown(size), caller);
        Ok(())
    }

    /// Begins to change a volume's type.
    pub fn retype_volume(&mut self, caller: &Caller, id: &str, wanted: &str) -> Result<()> {
        let volume = self.volume(&caller.project, id)?;
        let Some(kind) = self.config.volume_type(wanted) else {
            return Err(Refusal::missing(format!("Volume type with name {wanted} could not be found.")));
        };
        if kind.is("multiattach") != self.is_shared(volume) && volume.status != "available" {
            return Err(Refusal::invalid(format!(
                "Invalid input received: Invalid volume_type passed, retypes affecting multiattach are only allowed \
                 on available volumes, the specified volume however currently has a status of: {}.",
                volume.status
            )));
        }
        let sound = matches!(volume.status, "available" | "in-use")
            && volume.group.is_none()
            && volume.kind != kind.id;
        if !sound {
            return Err(Refusal::invalid(
                "Invalid volume: Retype needs volume to be in available or in-use state, not be part of an active \
                 migration or a consistency group, requested type has to be different that the one from the volume, \
                 and for in-use volumes front-end qos specs cannot change.",
            ));
        }
        let (kind, size) = (kind.id.clone(), volume.size);
        self.fits(&kind, size)?;
        self.set(id, "retyping");
        let after = caller.fate.duration(self.config.timings.retype);
        self.plan(after, Phase::Retype, id, What::VolumeRetyped(kind), caller);
        Ok(())
    }

    /// Sets whether a volume can only be read by those that get it from now on.
    pub fn set_readonly(&mut self, caller: &Caller, id: &str, readonly: bool) -> Result<()> {
        let volume = self.volume(&caller.project, id)?;
        if volume.status != "available" {
            return Err(Refusal::invalid(format!(
                "Invalid volume: Volume {id} status must be available to update readonly flag, but current status \
                 is: {}.",
                volume.status
            )));
        }
        self.touch(id, |volume| volume.readonly = readonly);
        Ok(())
    }

    /// Changes a volume that is there.
    pub fn touch(&mut self, id: &str, change: impl FnOnce(&mut Volume)) {
        let now = self.now;
        if let Some(volume) = self.volumes.get_mut(id) {
            change(volume);
            volume.updated = Some(now);
        }
    }

    /// Gives a volume a state, from which it may go back to the one that it has.
    pub(super) fn set(&mut self, id: &str, status: &'static str) {
        self.touch(id, |volume| {
            volume.before = volume.status;
            volume.status = status;
        });
    }
}
