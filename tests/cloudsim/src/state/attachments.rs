//! Attachments as Cinder keeps them, and what they make of a volume's state.

use super::objects::Attachment;
use super::{Caller, Cloud, Refusal, Result};

/// The states that follow from a volume's attachments.
const FOLLOWING: [&str; 5] = ["available", "reserved", "attaching", "in-use", "detaching"];

impl Cloud {
    /// An attachment of a project.
    pub fn attachment(&self, project: &str, id: &str) -> Result<&Attachment> {
        let found = self.attachments.get(id);
        let own = |one: &&Attachment| self.volumes.get(&one.volume).is_some_and(|of| of.project == project);
        found.filter(own).ok_or_else(|| {
            Refusal::missing(format!(
                "Volume attachment could not be found with filter: attachment_id = {id}."
            ))
        })
    }

    /// Reserves a volume, for a server where one is named, and tells the attachment's id.
    pub fn create_attachment(
        &mut self,
        caller: &Caller,
        volume: &str,
        server: Option<String>,
        mode: &str,
    ) -> Result<String> {
        let found = self.volume(&caller.project, volume)?;
        if found.status.contains("error") {
            return Err(Refusal::invalid(format!(
                "Invalid volume: Volume attachments can not be created if the volume is in an error state. The \
                 Volume {volume} currently has a status of: {} ",
                found.status
            )));
        }
        let expected: &[&str] = match self.is_shared(found) {
            true => &["available", "in-use", "downloading"],
            false => &["available", "downloading"],
        };
        let free = expected.contains(&found.status);
        // Another one for the same server may be of a server that moves to another host, and does not change the
        // volume's state.
        let again = matches!(found.status, "in-use" | "reserved")
            && server.is_some()
            && self.attachments.iter().any(|one| one.volume == volume && one.server == server);
        if !free && !again {
            return Err(Refusal::invalid(format!(
                "Invalid volume: Volume {volume} status must be {} to reserve, but the current status is {}.",
                expected.join(" or "),
                found.status
            )));
        }
        let mode = if found.readonly { "ro" } else { mode };
        let attachment = Attachment {
            id: self.ids.uuid(),
            volume: volume.to_owned(),
            server,
            status: "reserved",
            connected: false,
            mode: mode.to_owned(),
            device: None,
            attached: None,
        };
        let id = attachment.id.clone();
        self.attachments.insert(attachment);
        if free {
            self.set(volume, "reserved");
        }
        Ok(id)
    }

    /// Tells the storage of the host that is to have the volume.
    pub fn connect_attachment(&mut self, caller: &Caller, id: &str) -> Result<()> {
        self.attachment(&caller.project, id)?;
        self.connected(id);
        Ok(())
    }

    /// Ends an attach that nobody but its caller did.
    pub fn complete_attachment(&mut self, caller: &Caller, id: &str) -> Result<()> {
        self.attachment(&caller.project, id)?;
        let now = self.now;
        self.change_attachment(id, "in-use", |attachment| {
            attachment.status = "attached";
            attachment.attached = Some(now);
        });
        Ok(())
    }

    /// Removes an attachment. One that Nova uses is detached by Nova (CVE-2023-2088).
    pub fn delete_attachment(&mut self, caller: &Caller, id: &str) -> Result<()> {
        let attachment = self.attachment(&caller.project, id)?;
        let used = |server: &String| {
            let server = self.servers.get(server)?;
            server.disks.iter().find(|disk| disk.attachment.as_deref() == Some(id)).map(|_| server.id.clone())
        };
        if let Some(server) = attachment.server.as_ref().filter(|_| attachment.connected).and_then(used) {
            return Err(Refusal::conflict(format!(
                "ConflictNovaUsingAttachment: Detach volume from instance {server} using the Compute API"
            )));
        }
        self.drop_attachment(id);
        Ok(())
    }

    pub(super) fn connected(&mut self, id: &str) {
        self.change_attachment(id, "attaching", |attachment| {
            attachment.status = "attaching";
            attachment.connected = true;
        });
    }

    /// Changes an attachment, and gives its volume this state.
    pub(super) fn change_attachment(
        &mut self,
        id: &str,
        status: &'static str,
        change: impl FnOnce(&mut Attachment),
    ) {
        let Some(attachment) = self.attachments.get_mut(id) else { return };
        change(attachment);
        let volume = attachment.volume.clone();
        self.set(&volume, status);
    }

    pub(super) fn drop_attachment(&mut self, id: &str) {
        if let Some(attachment) = self.attachments.remove(id) {
            self.follow(&attachment.volume);
        }
    }

    /// Gives a volume the state that follows from its attachments: the best of them (cinder/db/api.py,
    /// _get_statuses_from_attachments).
    pub(super) fn follow(&mut self, volume: &str) {
        let found = |status| self.attachments.iter().any(|one| one.volume == volume && one.status == status);
        let status = match () {
            () if found("attached") => "in-use",
            () if found("attaching") => "attaching",
            () if found("reserved") => "reserved",
            () => "available",
        };
        if self.volumes.get(volume).is_some_and(|one| FOLLOWING.contains(&one.status) && one.status != status)
        {
            self.set(volume, status);
        }
    }
}
