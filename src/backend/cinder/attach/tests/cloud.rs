//! Cinder and Nova, as far as attaching goes: two records that change one after the other, and the ways in which that
//! goes wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::backend::cinder::attach::{Attacher, Patience};
use crate::backend::cinder::client::Client;
use crate::backend::cinder::config::CinderConfig;
use crate::backend::cinder::credentials::Source;
use crate::backend::cinder::identity::tests::{Secret, cloud};
use crate::backend::cinder::moment;
use crate::backend::cinder::watch::Watcher;
use crate::http::fake::{Fake, Reply, Seen};

/// How long the cloud takes for a step.
const STEP: Duration = Duration::from_millis(100);

/// What goes wrong with the next call that attaches or detaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Accepted, and undone later without a word.
    FallsBack,
    /// The answer is lost; it is done nonetheless, so much later.
    LostButDone(Duration),
    /// The answer is lost, and nothing is done.
    LostAndNot,
    /// As when the compute service is down: Nova lists it, Cinder knows nothing, the answer is 500.
    Phantom,
    /// Accepted, reserved, and then forgotten by Nova.
    Forgotten,
    /// Refused for what the server is doing.
    Refused(u16, &'static str),
    /// Accepted without a body, as from 2.101 on.
    Empty,
    /// Accepted and never done: the server is shelved.
    Kept,
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) status: &'static str,
    pub(super) multiattach: bool,
    pub(super) service: bool,
    pub(super) notes: BTreeMap<String, String>,
    /// Attachment, server and state.
    pub(super) attachments: Vec<(String, String, &'static str)>,
}

#[derive(Clone, Debug)]
enum Step {
    Attached(String, String),
    Undone(String, String),
    Forgotten(String, String),
    Freed(String, String),
    Unlisted(String, String),
    RolledBack(String),
    Begin(String, String),
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) disks: BTreeMap<String, Disk>,
    /// What Nova lists for each server.
    pub(super) servers: BTreeMap<String, Vec<String>>,
    pub(super) attach_faults: VecDeque<Fault>,
    pub(super) detach_faults: VecDeque<Fault>,
    pub(super) server: Value,
    /// Whether Nova's lists cannot be had.
    pub(super) unreadable: bool,
    steps: Vec<(Instant, Step)>,
    ids: usize,
}

impl State {
    fn later(&mut self, wait: Duration, step: Step) {
        self.steps.push((Instant::now() + wait, step));
    }

    fn catch_up(&mut self) {
        let now = Instant::now();
        let (due, rest): (Vec<_>, Vec<_>) = self.steps.drain(..).partition(|(when, _)| *when <= now);
        self.steps = rest;
        for (_, step) in due {
            self.run(step);
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Begin(server, volume) => {
                self.begin(&server, &volume);
                self.later(STEP, Step::Attached(server, volume));
            }
            Step::Attached(server, volume) => {
                let disk = self.disks.get_mut(&volume).unwrap();
                disk.status = "in-use";
                disk.attachments.iter_mut().filter(|one| one.1 == server).for_each(|one| one.2 = "attached");
            }
            Step::Undone(server, volume) => {
                self.run(Step::Freed(server.clone(), volume.clone()));
                self.run(Step::Unlisted(server, volume));
            }
            Step::Forgotten(server, volume) | Step::Unlisted(server, volume) => {
                self.servers.get_mut(&server).unwrap().retain(|one| *one != volume);
            }
            Step::Freed(server, volume) => {
                let disk = self.disks.get_mut(&volume).unwrap();
                disk.attachments.retain(|one| one.1 != server);
                disk.status = if disk.attachments.is_empty() { "available" } else { "in-use" };
            }
            Step::RolledBack(volume) => self.disks.get_mut(&volume).unwrap().status = "in-use",
        }
    }

    fn begin(&mut self, server: &str, volume: &str) {
        self.ids += 1;
        let disk = self.disks.get_mut(volume).unwrap();
        if disk.attachments.is_empty() {
            disk.status = "reserved";
        }
        disk.attachments.push((format!("a{}", self.ids), server.to_owned(), "reserved"));
        self.servers.get_mut(server).unwrap().push(volume.to_owned());
    }

    fn attach(&mut self, server: &str, volume: &str) -> Reply {
        let fault = self.attach_faults.pop_front();
        if let Some(Fault::Refused(status, text)) = fault {
            return refusal(status, text);
        }
        let Some(listed) = self.servers.get(server) else {
            return refusal(404, "Instance could not be found.");
        };
        let Some(disk) = self.disks.get(volume) else { return refusal(404, "Volume could not be found.") };
        if listed.iter().any(|one| one == volume) {
            return refusal(400, "Invalid volume: volume is already attached");
        }
        if disk.status != "available" && !(disk.multiattach && disk.status == "in-use") {
            return refusal(
                400,
                &format!("Invalid input received: Invalid volume: the current status is {}", disk.status),
            );
        }
        let (s, v) = (server.to_owned(), volume.to_owned());
        match fault {
            Some(Fault::LostButDone(wait)) => {
                self.later(wait, Step::Begin(s, v));
                return Reply::text(504, "text/html", "<h1>Gateway Time-out</h1>");
            }
            Some(Fault::LostAndNot) => return Reply::hang_up(),
            Some(Fault::Phantom) => {
                self.servers.get_mut(server).unwrap().push(v);
                return refusal(500, "Unexpected API Error.");
            }
            _ => self.begin(server, volume),
        }
        match fault {
            Some(Fault::FallsBack) => self.later(STEP, Step::Undone(s, v)),
            Some(Fault::Forgotten) => self.later(STEP, Step::Forgotten(s, v)),
            Some(Fault::Kept) => {}
            _ => self.later(STEP, Step::Attached(s, v)),
        }
        match fault {
            Some(Fault::Empty) => Reply::text(202, "text/plain", ""),
            _ => Reply::json(200, json!({"volumeAttachment": {"volumeId": volume, "serverId": server}})),
        }
    }

    fn detach(&mut self, server: &str, volume: &str) -> Reply {
        let fault = self.detach_faults.pop_front();
        if let Some(Fault::Refused(status, text)) = fault {
            return refusal(status, text);
        }
        let listed = self.servers.get(server).is_some_and(|list| list.iter().any(|one| one == volume));
        if !listed {
            return refusal(404, "Instance is not attached to volume");
        }
        let Some(disk) = self.disks.get_mut(volume) else {
            return refusal(404, "Volume could not be found.");
        };
        let held = disk.attachments.iter().any(|one| one.1 == server);
        if !held || !matches!(disk.status, "in-use" | "reserved") {
            return refusal(400, "Invalid volume: Volume status must be 'in-use' to detach");
        }
        let (s, v) = (server.to_owned(), volume.to_owned());
        disk.status = "detaching";
        match fault {
            Some(Fault::FallsBack) => self.later(STEP, Step::RolledBack(v)),
            _ => {
                self.later(STEP, Step::Freed(s.clone(), v.clone()));
                self.later(STEP * 2, Step::Unlisted(s, v));
            }
        }
        match fault {
            Some(Fault::LostButDone(_)) => Reply::hang_up(),
            _ => Reply::text(202, "text/plain", ""),
        }
    }

    fn volume(&self, id: &str) -> Option<Value> {
        let disk = self.disks.get(id)?;
        let shown = disk.attachments.iter().filter(|one| one.2 == "attached");
        let shown: Vec<_> = shown
            .map(|(id, server, _)| json!({"attachment_id": id, "server_id": server, "device": "/dev/vdb"}))
            .collect();
        Some(
            json!({"id": id, "status": disk.status, "size": 1, "multiattach": disk.multiattach, "metadata": disk.notes,
            "service_uuid": disk.service.then_some("s"), "attachments": shown,
            "updated_at": moment::show(SystemTime::now())}),
        )
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        self.catch_up();
        let path = seen.target.split('?').next().unwrap();
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        match (seen.method.as_str(), parts.as_slice()) {
            ("GET", ["volume", "v3", _, "volumes", "detail"]) => {
                let all: Vec<_> = self.disks.keys().filter_map(|id| self.volume(id)).collect();
                Reply::json(200, json!({"volumes": all}))
            }
            ("GET", ["volume", "v3", _, "volumes", id]) => match self.volume(id) {
                Some(volume) => Reply::json(200, json!({"volume": volume})),
                None => refusal(404, "Volume could not be found."),
            },
            ("POST", ["volume", "v3", _, "volumes", id, "metadata"]) => {
                let notes = seen.json()["metadata"].as_object().unwrap().clone();
                let notes = notes.into_iter().map(|(key, value)| (key, value.as_str().unwrap().to_owned()));
                self.disks.get_mut(*id).unwrap().notes.extend(notes);
                Reply::json(200, json!({}))
            }
            ("GET", ["volume", "v3", _, "attachments", "detail"]) => {
                let one = |volume: &String, (id, server, status): &(String, String, &str)| json!({"id": id, "status": status, "volume_id": volume, "instance": server});
                let all =
                    self.disks.iter().flat_map(|(id, disk)| disk.attachments.iter().map(move |a| one(id, a)));
                Reply::json(200, json!({"attachments": all.collect::<Vec<_>>()}))
            }
            ("DELETE", ["volume", "v3", _, "attachments", id]) => {
                let found = self.disks.iter().find_map(|(volume, disk)| {
                    let one = disk.attachments.iter().find(|one| one.0 == *id)?;
                    Some((one.1.clone(), volume.clone()))
                });
                let Some((server, volume)) = found else { return refusal(404, "no such attachment") };
                if self.servers.get(&server).is_some_and(|list| list.contains(&volume)) {
                    return refusal(409, "Detach volume from instance using the Compute API");
                }
                self.run(Step::Freed(server, volume));
                Reply::json(200, json!({"attachments": []}))
            }
            ("GET", ["compute", "v2.1", "servers", id]) => match self.servers.contains_key(*id) {
                true => {
                    let mut server = json!({"id": id, "name": id, "status": "ACTIVE"});
                    server
                        .as_object_mut()
                        .unwrap()
                        .extend(self.server.as_object().cloned().unwrap_or_default());
                    Reply::json(200, json!({"server": server}))
                }
                false => refusal(404, "Instance could not be found."),
            },
            ("GET", ["compute", "v2.1", "servers", _, "os-instance-actions"]) => {
                let action = json!({"action": "attach_volume", "message": "Error", "request_id": "req-7"});
                Reply::json(200, json!({"instanceActions": [action]}))
            }
            ("GET", ["compute", "v2.1", "servers", _, "os-volume_attachments"]) if self.unreadable => {
                refusal(400, "not now")
            }
            ("GET", ["compute", "v2.1", "servers", id, "os-volume_attachments"]) => {
                match self.servers.get(*id) {
                    Some(list) => {
                        let list: Vec<_> = list.iter().map(|id| json!({"volumeId": id})).collect();
                        Reply::json(200, json!({"volumeAttachments": list}))
                    }
                    None => refusal(404, "Instance could not be found."),
                }
            }
            ("POST", ["compute", "v2.1", "servers", server, "os-volume_attachments"]) => {
                let volume = seen.json()["volumeAttachment"]["volumeId"].as_str().unwrap().to_owned();
                let shared = seen.header("openstack-api-version") == Some("compute 2.60");
                match self.disks.get(&volume).is_some_and(|disk| disk.multiattach) && !shared {
                    true => refusal(
                        400,
                        "Multiattach volumes are only supported starting with compute API version 2.60.",
                    ),
                    false => self.attach(server, &volume),
                }
            }
            ("DELETE", ["compute", "v2.1", "servers", server, "os-volume_attachments", volume]) => {
                self.detach(server, volume)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn refusal(status: u16, text: &str) -> Reply {
    let body = json!({"fault": {"code": status, "message": text}});
    Reply::json(status, body).header("x-openstack-request-id", "req-1")
}

/// A cloud with the servers s1 and s2 and the free volumes v1 to v30, and who attaches there.
pub(super) struct Cloud {
    pub(super) fake: Fake,
    _secret: Secret,
    state: Arc<Mutex<State>>,
    pub(super) attacher: Attacher,
    begin: Mutex<usize>,
}

impl Cloud {
    pub(super) async fn start(per_server: Option<u32>) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        {
            let mut state = state.lock().unwrap();
            for server in ["s1", "s2"] {
                state.servers.insert(server.to_owned(), Vec::new());
            }
            for n in 1..=30 {
                let disk = Disk { status: "available", service: true, ..Disk::default() };
                state.disks.insert(format!("v{n}"), disk);
            }
        }
        let script = Arc::clone(&state);
        let fake = cloud(Duration::from_secs(3600), move |seen| script.lock().unwrap().answer(seen)).await;
        let secret = Secret::new(&fake, "geheim");
        let client = Client::new(secret.session());
        let source = Source::Clouds { file: "/none".into(), cloud: None };
        let config = CinderConfig { per_server, ..CinderConfig::new(source) };
        let mut attacher = Attacher::new(&client, &Watcher::new(&client), config);
        attacher.patience = Patience {
            doubt: Duration::from_millis(1500),
            early: Duration::from_millis(700),
            grace: Duration::from_secs(4),
            listed: Duration::from_secs(2),
            freeing: Duration::from_secs(1),
        };
        let cloud = Self { fake, _secret: secret, state, attacher, begin: Mutex::default() };
        for service in [
            crate::backend::cinder::identity::Service::Volume,
            crate::backend::cinder::identity::Service::Compute,
        ] {
            client.endpoint(service).await.unwrap();
        }
        cloud.requests();
        cloud
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap();
        state.catch_up();
        state
    }

    pub(super) fn disk<T>(&self, id: &str, change: impl FnOnce(&mut Disk) -> T) -> T {
        change(self.state().disks.get_mut(id).unwrap())
    }

    /// The requests since it was asked last.
    pub(super) fn requests(&self) -> Vec<String> {
        let seen = self.fake.seen();
        let mut begin = self.begin.lock().unwrap();
        let new = seen[*begin..].iter().map(Seen::line).collect();
        *begin = seen.len();
        new
    }
}
