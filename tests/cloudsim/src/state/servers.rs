//! Servers.

use std::collections::VecDeque;

use super::objects::{Action, Disk, Server};
use super::{Caller, Cloud, Metadata, Result};
use crate::config::Dialect;

/// Actions that are kept of each server.
const ACTIONS: usize = 50;

impl Cloud {
    /// Makes a server in a project (by id) and a zone, and tells its id.
    pub fn add_server(&mut self, project: &str, name: &str, zone: &str) -> String {
        let id = self.new_id();
        self.servers.insert(Server {
            id: id.clone(),
            project: project.to_owned(),
            name: name.to_owned(),
            zone: zone.to_owned(),
            status: "ACTIVE".to_owned(),
            vm_state: "active".to_owned(),
            task_state: None,
            metadata: Metadata::new(),
            created: self.now,
            disks: Vec::new(),
            actions: Vec::new(),
            compute: true,
            working: None,
            waiting: VecDeque::new(),
            late_disks: Vec::new(),
        });
        id
    }

    /// Changes a server that is there.
    pub fn change_server(&mut self, id: &str, change: impl FnOnce(&mut Server)) {
        if let Some(server) = self.servers.get_mut(id) {
            change(server);
        }
    }

    /// Stops a server's compute service: what it is doing is still done, and nothing else begins.
    pub fn stop_compute(&mut self, id: &str) {
        self.change_server(id, |server| server.compute = false);
    }

    /// Starts it. It does now what was asked of it meanwhile, also for those who have given up waiting: so Nova lists
    /// disks that Cinder knows nothing of.
    pub fn start_compute(&mut self, id: &str) {
        let mut late = Vec::new();
        self.change_server(id, |server| {
            server.compute = true;
            late = std::mem::take(&mut server.late_disks);
        });
        for volume in late {
            let disk = Disk {
                id: self.ids.uuid(),
                volume,
                attachment: None,
                device: "/dev/vdb".to_owned(),
                with_server: false,
                tag: None,
            };
            self.change_server(id, |server| server.disks.push(disk));
        }
        self.next_work(id);
    }

    /// Deletes a server; its volumes are free, except those that go with it.
    pub fn delete_server(&mut self, caller: &Caller, id: &str) -> Result<()> {
        self.server(&caller.project, id)?;
        self.drop_server(id);
        Ok(())
    }

    /// The same, on nobody's behalf.
    pub fn drop_server(&mut self, id: &str) {
        let Some(server) = self.servers.remove(id) else { return };
        let own = |one: &&super::Attachment| one.server.as_deref() == Some(id);
        let attachments: Vec<_> = self.attachments.iter().filter(own).cloned().collect();
        for attachment in attachments {
            self.pull(id, &attachment.volume);
            self.drop_attachment(&attachment.id);
            // One that was on its way has nobody left to bring it there.
            self.follow(&attachment.volume);
        }
        for disk in server.disks.iter().filter(|disk| disk.with_server) {
            self.volume_gone(&disk.volume, &Caller::default());
        }
        if self.config.dialect == Dialect::Cyclades {
            let mut gone = server;
            gone.status = "DELETED".to_owned();
            gone.disks.clear();
            self.servers.insert(gone);
        }
    }

    pub(super) fn note_action(
        &mut self,
        server: &str,
        action: &'static str,
        request: &str,
        message: Option<&'static str>,
    ) {
        let action = Action { action, request: request.to_owned(), message, at: self.now };
        self.change_server(server, |server| {
            if server.actions.len() == ACTIONS {
                server.actions.remove(0);
            }
            server.actions.push(action);
        });
    }

    pub(super) fn end_action(&mut self, server: &str, request: &str, message: Option<&'static str>) {
        self.change_server(server, |server| {
            if let Some(action) = server.actions.iter_mut().rev().find(|action| action.request == request) {
                action.message = message;
            }
        });
    }
}
