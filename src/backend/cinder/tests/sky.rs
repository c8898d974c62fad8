//! A small cloud whose answers a test can bend. It passes over all filters of lists, as some clouds do.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};

use crate::backend::VolumeOrder;
use crate::backend::cinder::CinderBackend;
use crate::backend::cinder::config::{CinderConfig, Source};
use crate::backend::cinder::identity::tests::{Secret, cloud};
use crate::error::{Error, Kind, Outcome};
use crate::http::fake::{Fake, Reply, Seen};
use crate::volume::{
    Access, AccessKind, AccessMode, Bytes, FsType, MountFlags, NativeId, Owner, Parameters, SizeRange,
    TopologyRequirement,
};

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// What is bent: an answer instead of the cloud's own.
type Bend = Box<dyn FnMut(&Seen, &mut State) -> Option<Reply> + Send>;

#[derive(Default)]
pub struct State {
    pub volumes: Vec<Value>,
    pub snapshots: Vec<Value>,
    pub backups: Vec<Value>,
    pub messages: Vec<Value>,
    /// The state in which the next volumes are made, instead of `available`.
    pub made: Option<&'static str>,
    pub count: usize,
    pub bend: Option<Bend>,
}

pub struct Sky {
    pub server: Fake,
    pub backend: CinderBackend,
    state: Arc<Mutex<State>>,
    _secret: Secret,
}

impl Sky {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(configure: impl FnOnce(&mut CinderConfig)) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = cloud(HOUR, move |seen| shared.lock().unwrap().answer(seen)).await;
        let secret = Secret::new(&server, "geheim");
        let mut config = CinderConfig::new(Source::Clouds { file: secret.file(), cloud: None });
        configure(&mut config);
        let backend = CinderBackend::open("east", config, Arc::default()).await.unwrap();
        Self { server, backend, state, _secret: secret }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn bend(&self, bend: impl FnMut(&Seen, &mut State) -> Option<Reply> + Send + 'static) {
        self.state().bend = Some(Box::new(bend));
    }

    /// How many volumes were ordered.
    pub fn orders(&self) -> usize {
        self.server.count("POST /volume/v3/p1/volumes")
    }

    pub fn ids(&self) -> Vec<String> {
        self.state().volumes.iter().map(|volume| volume["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// A volume of ours.
pub fn volume(id: &str, name: &str, status: &str, second: usize) -> Value {
    json!({"id": id, "name": name, "status": status, "size": 1, "volume_type": "standard", "service_uuid": "s",
        "availability_zone": "nova", "attachments": [], "created_at": format!("2026-01-01T00:00:{second:02}.000000"),
        "metadata": {"csi.fairlead.dev/cluster": "kubernetes", "csi.fairlead.dev/name": name}})
}

pub fn fault(status: u16, text: &str) -> Reply {
    let name = if status == 404 { "itemNotFound" } else { "badRequest" };
    Reply::json(status, json!({name: {"code": status, "message": text}}))
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Reply {
        if let Some(mut bend) = self.bend.take() {
            let reply = bend(seen, self);
            self.bend.get_or_insert(bend);
            if let Some(reply) = reply {
                return reply;
            }
        }
        let line = seen.line();
        let path = line.replace("/volume/v3/p1/", "");
        let parts: Vec<_> = path.split(['/', ' ']).collect();
        match parts.as_slice() {
            ["GET", "types"] => Reply::json(
                200,
                json!({"volume_types": [{"id": "t1", "name": "standard"},
                    {"id": "t2", "name": "shared", "extra_specs": {"multiattach": "<is> True"}}]}),
            ),
            ["GET", "os-availability-zone"] => Reply::json(
                200,
                json!({"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": true}},
                    {"zoneName": "az2", "zoneState": {"available": true}}]}),
            ),
            ["GET", "group_types"] => {
                Reply::json(200, json!({"group_types": [{"id": "gt1", "name": "together"}]}))
            }
            ["GET", "limits"] => Reply::json(
                200,
                json!({"limits": {"absolute": {"maxTotalVolumes": 10, "totalVolumesUsed": 4,
                    "maxTotalVolumeGigabytes": 100, "totalGigabytesUsed": 40}}}),
            ),
            ["GET", "messages"] => Reply::json(200, json!({"messages": self.messages})),
            ["GET", "volumes", "detail"] => Reply::json(200, json!({"volumes": self.volumes})),
            ["GET", "snapshots", "detail"] => Reply::json(200, json!({"snapshots": self.snapshots})),
            ["GET", "backups", "detail"] => Reply::json(200, json!({"backups": self.backups})),
            ["GET", kind, id] => self.find(kind, id).map_or_else(missing, |found| {
                Reply::json(200, json!({kind.trim_end_matches('s'): found.clone()}))
            }),
            ["POST", kind @ ("volumes" | "snapshots" | "backups")] => {
                let made = self.make(kind, seen);
                Reply::json(202, json!({kind.trim_end_matches('s'): made}))
            }
            ["POST", "volumes", id, "action"] => self.act(id, &seen.json()),
            ["POST", "volumes", id, "metadata"] => {
                let notes = seen.json()["metadata"].as_object().unwrap().clone();
                let volume = self.find("volumes", id).unwrap();
                volume["metadata"].as_object_mut().unwrap().extend(notes);
                Reply::json(200, json!({"metadata": {}}))
            }
            ["DELETE", kind, id] => match self.find(kind, id) {
                None => missing(),
                Some(_) => {
                    self.list(kind).retain(|object| object["id"] != **id);
                    Reply::text(202, "text/plain", "")
                }
            },
            _ => fault(400, &format!("the script knows no {line}")),
        }
    }

    fn list(&mut self, kind: &str) -> &mut Vec<Value> {
        match kind {
            "volumes" => &mut self.volumes,
            "snapshots" => &mut self.snapshots,
            _ => &mut self.backups,
        }
    }

    pub fn find(&mut self, kind: &str, id: &str) -> Option<&mut Value> {
        self.list(kind).iter_mut().find(|object| object["id"] == *id)
    }

    /// Makes what a request orders.
    pub fn make(&mut self, kind: &str, seen: &Seen) -> Value {
        let body = seen.json();
        let order = body[kind.trim_end_matches('s')].as_object().unwrap();
        self.count += 1;
        let id = format!("{}{}", &kind[..1], self.count);
        let mut made = volume(&id, "", self.made.unwrap_or("available"), self.count);
        made["metadata"] = json!({});
        let object = made.as_object_mut().unwrap();
        object.extend(order.clone().into_iter().filter(|(key, _)| key != "force"));
        let source = |key: &str, order: &Map<String, Value>| order.get(key).cloned().unwrap_or(Value::Null);
        object.insert("snapshot_id".to_owned(), source("snapshot_id", order));
        if kind != "volumes" {
            let of = order["volume_id"].as_str().unwrap().to_owned();
            let size = self.find("volumes", &of).map_or_else(|| json!(1), |volume| volume["size"].clone());
            made["size"] = size;
        }
        self.list(kind).push(made.clone());
        made
    }

    fn act(&mut self, id: &str, action: &Value) -> Reply {
        let Some(volume) = self.find("volumes", id) else { return missing() };
        if let Some(extend) = action.get("os-extend") {
            volume["size"] = extend["new_size"].clone();
        }
        if let Some(retype) = action.get("os-retype") {
            volume["volume_type"] = retype["new_type"].clone();
        }
        Reply::text(202, "text/plain", "")
    }
}

fn missing() -> Reply {
    fault(404, "It could not be found.")
}

pub fn order(name: &str, gib: u64) -> VolumeOrder {
    VolumeOrder {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::gib(gib)),
        source: None,
        access: vec![access(AccessMode::SingleNodeWriter)],
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner::default(),
    }
}

pub fn access(mode: AccessMode) -> Access {
    Access { kind: AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() }, mode }
}

pub fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    Parameters(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

pub fn id(text: &str) -> NativeId {
    text.parse().unwrap()
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind) -> String {
    told(result, kind, Outcome::Refused)
}

#[track_caller]
pub fn told<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind, outcome: Outcome) -> String {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{error:?}");
    error.to_string()
}
