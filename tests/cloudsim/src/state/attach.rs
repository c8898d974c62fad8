//! Attaching and detaching as Nova does it: one after the other on each server. The texts are Nova's
//! (nova/compute/api.py, nova/api/openstack/compute/volume_attachments.py).

use super::agenda::What;
use super::objects::{Disk, Server, Work};
use super::{Caller, Cloud, DiskChange, Leftover, Phase, Refusal, Result};

/// How somebody wants a volume attached.
#[derive(Clone, Debug, Default)]
pub struct AttachWish {
    /// The volume.
    pub volume: String,
    /// What the device should be called.
    pub device: Option<String>,
    /// What the caller calls it.
    pub tag: Option<String>,
    /// Whether the volume goes with the server.
    pub with_server: bool,
    /// Whether the caller knows of volumes that several servers have (2.60).
    pub shared: bool,
    /// Whether the caller knows of shelved servers (2.20).
    pub shelved: bool,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attach {
    /// It has begun; the device may be called so.
    Begun(String),
    /// The server is busy with another one: ask again later.
    Wait,
    /// The compute service does not answer, and the caller will hear so when Nova gives up.
    TimesOut,
}

/// The states of a server in which volumes come and go (nova/compute/api.py).
const ATTACHABLE: [&str; 7] =
    ["active", "paused", "stopped", "resized", "soft-delete", "shelved", "shelved_offloaded"];

impl Cloud {
    /// A server of a project.
    pub fn server(&self, project: &str, id: &str) -> Result<&Server> {
        let found = self.servers.get(id).filter(|server| server.project == project);
        found.ok_or_else(|| Refusal::missing(format!("Instance {id} could not be found.")))
    }

    /// Begins to attach a volume to a server.
    pub fn attach(&mut self, caller: &Caller, id: &str, wish: &AttachWish) -> Result<Attach> {
        let server = self.server(&caller.project, id)?;
        may_change(server, "attach_volume", wish.shelved)?;
        let volume = self.volume(&caller.project, &wish.volume)?;
        let (shared, zone) = (self.is_shared(volume), volume.zone.clone());
        let registered = volume.service.is_some();
        self.not_attached(id, &wish.volume, shared)?;
        if !server.compute {
            // It does so when it is back, whoever has given up meanwhile.
            let volume = wish.volume.clone();
            self.change_server(id, |server| server.late_disks.push(volume));
            return Ok(Attach::TimesOut);
        }
        if server.working.is_some() || !server.waiting.is_empty() {
            return Ok(Attach::Wait);
        }
        // The server's own disk counts too.
        if let Some(limit) = self.config.server_disks.filter(|limit| server.disks.len() + 1 >= *limit) {
            return Err(Refusal::forbidden(format!(
                "The maximum allowed number of disk devices ({limit}) to attach to a single instance has been \
                 exceeded."
            )));
        }
        if !self.config.cross_zone_attach && server.zone != zone {
            return Err(Refusal::invalid(format!(
                "Invalid volume: Instance {id} and volume {} are not in the same availability_zone. Instance is in {}. \
                 Volume is in {zone}",
                wish.volume, server.zone
            )));
        }
        if shared && !wish.shared {
            return Err(Refusal::invalid(
                "Multiattach volumes are only supported starting with compute API version 2.60.",
            ));
        }
        let device = wish.device.clone().unwrap_or_else(|| free_device(server));
        if caller.fate.leaves == Some(Leftover::Disk) {
            self.push_disk(id, wish, None, &device);
            return Ok(Attach::Begun(device));
        }
        let attachment = self
            .create_attachment(caller, &wish.volume, Some(id.to_owned()), "null")
            .map_err(|refusal| through_nova(refusal, caller))?;
        if caller.fate.leaves == Some(Leftover::Reserved) {
            return Ok(Attach::Begun(device));
        }
        self.push_disk(id, wish, Some(attachment.clone()), &device);
        self.note_action(id, "attach_volume", &caller.request, None);
        let mut caller = caller.clone();
        if !registered {
            // Nova reads the volume before Cinder has noted which service holds it, and cannot connect to it.
            caller.fate.fails.get_or_insert_default();
        }
        self.work(id, Work::Attach(attachment), &caller);
        Ok(Attach::Begun(device))
    }

    /// Begins to detach a volume from a server.
    pub fn detach(&mut self, caller: &Caller, id: &str, volume: &str, shelved: bool) -> Result<()> {
        let server = self.server(&caller.project, id)?;
        let found = self.volume(&caller.project, volume);
        if server.vm_state.starts_with("shelved") && !shelved {
            may_change(server, "detach_volume", shelved)?;
        }
        let found = found?;
        let disk = server.disks.iter().find(|disk| disk.volume == volume);
        if disk.is_none() {
            return Err(Refusal::missing(format!("Instance {id} is not attached to volume {volume}")));
        }
        may_change(server, "detach_volume", shelved)?;
        if found.status != "in-use" {
            return Err(through_nova(
                Refusal::invalid(
                    "Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must \
                     be 'attached' to detach.",
                ),
                caller,
            ));
        }
        self.set(volume, "detaching");
        self.note_action(id, "detach_volume", &caller.request, None);
        let busy = self.servers.get(id).is_some_and(|server| server.working.is_some() || !server.compute);
        let work = Work::Detach(volume.to_owned());
        if busy {
            let entry = (work, caller.clone());
            self.change_server(id, |server| server.waiting.push_back(entry));
        } else {
            self.work(id, work, caller);
        }
        Ok(())
    }

    fn not_attached(&self, server: &str, volume: &str, shared: bool) -> Result<()> {
        let has = |one: &&Server| one.disks.iter().any(|disk| disk.volume == volume);
        let servers: Vec<_> = match shared {
            // Only this one's own disk stands in the way, so the others are not looked at.
            true => self.servers.get(server).into_iter().filter(has).collect(),
            false => self.servers.iter().filter(has).collect(),
        };
        if servers.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = servers.iter().map(|server| server.id.as_str()).collect();
        Err(Refusal::invalid(match shared {
            true => format!("Invalid volume: volume {volume} already attached"),
            false => {
                format!("Invalid volume: volume {volume} is already attached to instances: {}", ids.join(" "))
            }
        }))
    }

    fn push_disk(&mut self, server: &str, wish: &AttachWish, attachment: Option<String>, device: &str) {
        let disk = Disk {
            id: self.ids.uuid(),
            volume: wish.volume.clone(),
            attachment,
            device: device.to_owned(),
            with_server: wish.with_server,
            tag: wish.tag.clone(),
        };
        self.change_server(server, |server| server.disks.push(disk));
    }

    /// Begins work on a server that does nothing else.
    fn work(&mut self, server: &str, work: Work, caller: &Caller) {
        let timings = self.config.timings;
        match &work {
            Work::Attach(attachment) => {
                let takes = caller.fate.duration(timings.attach);
                self.plan(takes / 3, Phase::Attach, attachment, What::Connected, caller);
                self.plan(takes, Phase::Attach, attachment, What::Attached, caller);
            }
            Work::Detach(volume) => {
                let takes = caller.fate.duration(timings.detach);
                let what = What::Unplugged { server: server.to_owned() };
                self.plan(takes * 4 / 5, Phase::Detach, volume, what, caller);
            }
        }
        self.change_server(server, |server| server.working = Some(work));
    }

    /// Ends the work on a server and begins what waits there.
    pub(super) fn rest(&mut self, server: &str) {
        self.change_server(server, |server| server.working = None);
        self.next_work(server);
    }

    pub(super) fn next_work(&mut self, server: &str) {
        let idle = |one: &&mut Server| one.working.is_none() && one.compute;
        let next = self.servers.get_mut(server).filter(idle).and_then(|one| one.waiting.pop_front());
        if let Some((work, caller)) = next {
            self.work(server, work, &caller);
        }
    }

    pub(super) fn attached(&mut self, id: &str, caller: &Caller) {
        let attachment = self.attachments.get(id).cloned();
        let Some(server) = self.works_on(id) else { return };
        let Some(attachment) = attachment.filter(|_| caller.fate.fails.is_none()) else {
            self.attach_failed(&server, id, caller);
            return;
        };
        let volume = attachment.volume;
        let disks = self.servers.get(&server).map(|server| server.disks.as_slice()).unwrap_or_default();
        let device = disks.iter().find(|disk| disk.volume == volume).map(|disk| disk.device.clone());
        let now = self.now;
        let Some(of) = self.volumes.get(&volume) else { return };
        let (shared, size, readonly) = (self.is_shared(of), of.size, of.readonly);
        self.touch(&volume, |volume| volume.written = true);
        self.ledger.plug(&volume, &server, shared, now);
        self.disk_change(|| DiskChange::Plugged {
            server: server.clone(),
            volume: volume.clone(),
            size,
            readonly,
        });
        if let Some(attachment) = self.attachments.get_mut(id) {
            attachment.status = "attached";
            attachment.device = device;
            attachment.attached = Some(now);
        }
        // For a moment the volume tells of the server, and is still `attaching`.
        self.plan(self.config.timings.attach / 50, Phase::Attach, id, What::InUse, caller);
    }

    pub(super) fn in_use(&mut self, id: &str) {
        let Some(server) = self.works_on(id) else { return };
        if let Some(volume) = self.attachments.get(id).map(|one| one.volume.clone()) {
            self.set(&volume, "in-use");
        }
        self.rest(&server);
    }

    /// The server that plugs the volume of an attachment just now. Where the attachment is gone, it has still to be told
    /// that nothing comes of it.
    fn works_on(&self, id: &str) -> Option<String> {
        let works = |one: &&Server| matches!(&one.working, Some(Work::Attach(work)) if work == id);
        let server = match self.attachments.get(id).and_then(|one| one.server.as_deref()) {
            Some(server) => self.servers.get(server).filter(works),
            None => self.servers.iter().find(works),
        };
        server.map(|one| one.id.clone())
    }

    /// What was begun is undone, and nobody is told.
    fn attach_failed(&mut self, server: &str, id: &str, caller: &Caller) {
        let volume = self.attachments.get(id).map(|one| one.volume.clone());
        self.drop_attachment(id);
        self.change_server(server, |server| {
            server.disks.retain(|disk| disk.attachment.as_deref() != Some(id));
        });
        self.end_action(server, &caller.request, Some("Error"));
        if let Some(volume) = volume.filter(|_| caller.fate.vanishes) {
            self.ledger.lost.insert(volume.clone());
            self.volume_gone(&volume, &Caller::default());
        }
        self.rest(server);
    }

    pub(super) fn unplugged(&mut self, server: &str, volume: &str, caller: &Caller) {
        if caller.fate.fails.is_some() {
            self.end_action(server, &caller.request, Some("Error"));
            self.set(volume, "in-use");
            self.rest(server);
            return;
        }
        self.pull(server, volume);
        // The volume has no attachment any more, and is still `detaching`.
        let disks = self.servers.get(server).map(|server| server.disks.as_slice()).unwrap_or_default();
        let attachment =
            disks.iter().find(|disk| disk.volume == volume).and_then(|disk| disk.attachment.clone());
        if let Some(id) = attachment {
            self.attachments.remove(&id);
        }
        let what = What::Detached { server: server.to_owned() };
        let takes = caller.fate.duration(self.config.timings.detach);
        self.plan(takes / 5, Phase::Detach, volume, what, caller);
    }

    /// The server really loses the volume.
    pub(super) fn pull(&mut self, server: &str, volume: &str) {
        if self.ledger.unplug(volume, server) {
            let (server, volume) = (server.to_owned(), volume.to_owned());
            self.disk_change(|| DiskChange::Unplugged { server, volume });
        }
    }

    pub(super) fn detached(&mut self, server: &str, volume: &str) {
        self.follow(volume);
        // Nova's list is the last to know.
        let what = What::DiskGone { server: server.to_owned() };
        let caller = Caller::default();
        self.plan(self.config.timings.detach / 10, Phase::Detach, volume, what, &caller);
    }

    pub(super) fn disk_gone(&mut self, server: &str, volume: &str) {
        self.change_server(server, |server| server.disks.retain(|disk| disk.volume != volume));
        self.rest(server);
    }
}

/// Refuses what the server's state forbids.
fn may_change(server: &Server, what: &str, shelved: bool) -> Result<()> {
    let refuse = |attribute: &str, state: &str| {
        Err(Refusal::conflict(format!(
            "Cannot '{what}' instance {} while it is in {attribute} {state}",
            server.id
        )))
    };
    let known = ATTACHABLE.contains(&server.vm_state.as_str());
    if !known || server.vm_state.starts_with("shelved") && !shelved {
        return refuse("vm_state", &server.vm_state);
    }
    match &server.task_state {
        Some(state) => refuse("task_state", state),
        None => Ok(()),
    }
}

/// What Cinder refuses, as Nova passes it on.
fn through_nova(refusal: Refusal, caller: &Caller) -> Refusal {
    let text =
        format!("Invalid input received: {} (HTTP 400) (Request-ID: {})", refusal.text, caller.request);
    Refusal { text, ..refusal }
}

/// The first name of a device that is free.
fn free_device(server: &Server) -> String {
    let taken = |name: &str| server.disks.iter().any(|disk| disk.device == name);
    let letters = || (b'a'..=b'z').map(char::from);
    let one = letters().skip(1).map(|letter| format!("/dev/vd{letter}"));
    let two = letters().flat_map(|first| letters().map(move |second| format!("/dev/vd{first}{second}")));
    one.chain(two).find(|name| !taken(name)).unwrap_or_else(|| "/dev/vdzzz".to_owned())
}
