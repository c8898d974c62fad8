//! Short words for the manifests that the tests need.

use serde_json::{Value, json};

use crate::cluster::EXT4;

/// Puts `more` into `base`: objects key by key, lists at the end, all else instead of what was there.
pub fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(base), Value::Array(more)) => base.extend(more),
        (base, more) => *base = more,
    }
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug)]
pub struct Claim(pub Value);

impl Claim {
    /// ReadWriteOnce with the default class and an ext4 file system.
    pub fn new(name: &str) -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {
                "accessModes": [],
                "storageClassName": EXT4,
                "resources": {"requests": {"storage": "64Mi"}},
            },
        }))
    }

    #[must_use]
    pub fn with(mut self, more: Value) -> Self {
        merge(&mut self.0, more);
        self
    }

    #[must_use]
    pub fn class(self, name: &str) -> Self {
        self.with(json!({"spec": {"storageClassName": name}}))
    }

    #[must_use]
    pub fn size(self, size: &str) -> Self {
        self.with(json!({"spec": {"resources": {"requests": {"storage": size}}}}))
    }

    #[must_use]
    pub fn mode(self, access: &str) -> Self {
        self.with(json!({"spec": {"accessModes": [access]}}))
    }

    #[must_use]
    pub fn block(self) -> Self {
        self.with(json!({"spec": {"volumeMode": "Block"}}))
    }

    /// Made from another claim, or from a snapshot.
    #[must_use]
    pub fn from(self, kind: &str, name: &str) -> Self {
        let group = (kind == "VolumeSnapshot").then_some("snapshot.storage.k8s.io");
        self.with(json!({"spec": {"dataSource": {"apiGroup": group, "kind": kind, "name": name}}}))
    }

    /// What the API server gets: without a mode of its own it is ReadWriteOnce.
    pub fn manifest(mut self) -> Value {
        if self.0["spec"]["accessModes"] == json!([]) {
            self.0["spec"]["accessModes"] = json!(["ReadWriteOnce"]);
        }
        self.0
    }
}

/// A pod with one container, which does nothing until it is told to.
#[derive(Clone, Debug)]
pub struct Draft(pub Value);

impl Draft {
    pub fn new(name: &str) -> Self {
        Self(json!({
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                // Process 1 of a container gets no signal that it does not handle.
                "terminationGracePeriodSeconds": 1,
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "volumes": [],
                "containers": [{
                    "name": "main",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"],
                    "volumeMounts": [],
                    "volumeDevices": [],
                }],
            },
        }))
    }

    #[must_use]
    pub fn with(mut self, more: Value) -> Self {
        merge(&mut self.0, more);
        self
    }

    /// Adds to the container.
    #[must_use]
    pub fn container(mut self, more: Value) -> Self {
        merge(&mut self.0["spec"]["containers"][0], more);
        self
    }

    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        self.0["spec"]["containers"][0]["command"] = json!(["sh", "-c", script]);
        self
    }

    /// The claim's file system in /NAME.
    #[must_use]
    pub fn mount(self, claim: &str) -> Self {
        self.volume(claim, json!({"persistentVolumeClaim": {"claimName": claim}}))
    }

    #[must_use]
    pub fn mount_read_only(self, claim: &str) -> Self {
        self.volume(claim, json!({"persistentVolumeClaim": {"claimName": claim, "readOnly": true}}))
    }

    /// Any volume, in /NAME.
    #[must_use]
    pub fn volume(self, name: &str, source: Value) -> Self {
        let mut volume = json!({"name": name});
        merge(&mut volume, source);
        self.with(json!({"spec": {"volumes": [volume]}}))
            .container(json!({"volumeMounts": [{"name": name, "mountPath": format!("/{name}")}]}))
    }

    /// As root of the node.
    #[must_use]
    pub fn privileged(self) -> Self {
        self.container(json!({"securityContext": {"privileged": true}}))
    }

    /// The claim's device as /dev/NAME.
    #[must_use]
    pub fn device(self, claim: &str) -> Self {
        self.with(
            json!({"spec": {"volumes": [{"name": claim, "persistentVolumeClaim": {"claimName": claim}}]}}),
        )
        .container(json!({"volumeDevices": [{"name": claim, "devicePath": format!("/dev/{claim}")}]}))
    }

    /// Only on this node. Not by nodeName: the scheduler must choose, or a volume that waits for its first pod is not made.
    #[must_use]
    pub fn on(self, node: &str) -> Self {
        self.with(json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": node}}}))
    }

    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The manifest, with the image that the cluster has.
    pub fn manifest(mut self, image: &str) -> Value {
        self.0["spec"]["containers"][0]["image"] = json!(image);
        self.0
    }
}
