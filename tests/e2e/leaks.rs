//! What may be left when all tests have ended: nothing of theirs.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::runtime::Handle;

use crate::cluster::Cluster;
use crate::crd;
use crate::harness::{Doing, Result};
use crate::manifest::Draft;
use crate::pod::Running;
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, until};

pub fn trial(cluster: &Arc<Cluster>, runtime: &Handle) -> Trial {
    let (cluster, runtime) = (Arc::clone(cluster), runtime.clone());
    Trial::test("nothing_is_left", move || {
        let _entered = runtime.enter();
        runtime.block_on(async {
            let space = Space::make(cluster, "nothing_is_left").await?;
            inspect(&space).await?;
            let nothing = until("nothing to be left", PATIENCE, async || {
                let left = left(&space).await?;
                Ok(if left.is_empty() { Seen::Done(()) } else { Seen::NotYet(left.join("\n")) })
            });
            let nothing = nothing.await;
            space.remove().await?;
            nothing
        })
    })
}

/// Objects of the tests, and storage that no object knows. Others may have volumes of their own in the cluster.
async fn left(space: &Space) -> Result<Vec<String>> {
    let cluster = &space.cluster;
    let all = ListParams::default();
    let client = || cluster.client.clone();
    let volumes = Api::<PersistentVolume>::all(client()).list(&all).await.doing("list volumes")?.items;
    let mut left = Vec::new();
    let mut handles = BTreeSet::new();
    let mut ours = BTreeSet::new();
    for volume in &volumes {
        let Some(spec) = &volume.spec else { continue };
        handles.extend(spec.csi.as_ref().map(|csi| csi.volume_handle.clone()));
        let namespace = spec.claim_ref.as_ref().and_then(|claim| claim.namespace.as_deref());
        if namespace.is_some_and(|namespace| namespace.starts_with("e2e-")) {
            ours.insert(volume.name_any());
            left.push(format!("PersistentVolume {} of {}", volume.name_any(), namespace.unwrap_or_default()));
        }
    }
    let known: BTreeSet<_> =
        volumes.iter().map(ResourceExt::name_any).filter(|name| !ours.contains(name)).collect();
    for one in Api::<VolumeAttachment>::all(client()).list(&all).await.doing("list attachments")? {
        let volume = one.spec.source.persistent_volume_name.as_deref().unwrap_or_default();
        if !known.contains(volume) {
            left.push(format!("VolumeAttachment {} of volume {volume}", one.name_any()));
        }
    }
    for content in contents(cluster).await? {
        handles.extend(content.data["status"]["snapshotHandle"].as_str().map(str::to_owned));
        let namespace = content.data["spec"]["volumeSnapshotRef"]["namespace"].as_str().unwrap_or_default();
        if namespace.starts_with("e2e-") {
            left.push(format!("VolumeSnapshotContent {} of {namespace}", content.name_any()));
        }
    }
    left.extend(storage(space, &handles).await?);
    Ok(left)
}

async fn contents(cluster: &Cluster) -> Result<Vec<DynamicObject>> {
    let api = Api::<DynamicObject>::all_with(cluster.client.clone(), &crd::contents());
    Ok(api.list(&ListParams::default()).await.doing("list snapshot contents")?.items)
}

/// Image files without an object, and loop devices of files that are gone or that no object knows: seen from each node. The
/// kernel's loop devices may be those of another cluster on the same machine, whose files are elsewhere.
async fn storage(space: &Space, handles: &BTreeSet<String>) -> Result<Vec<String>> {
    let natives: BTreeSet<_> = handles.iter().filter_map(|handle| Some(handle.split_once('/')?.1)).collect();
    let known = |file: &str| native(file).is_none_or(|native| natives.contains(native));
    let mut left = Vec::new();
    for node in &space.cluster.nodes {
        let inspector = Running { space, name: inspector(node) };
        let mut here = BTreeSet::new();
        for backend in space.cluster.directories.keys() {
            let images =
                inspector.sh(&format!("find /{backend}/volumes /{backend}/snapshots -name '*.img'")).await?;
            let unknown = images.lines().filter(|file| !known(file));
            left.extend(unknown.map(|file| format!("image {file} on {node}, which no object knows")));
            here.extend(images.lines().filter_map(native).map(str::to_owned));
        }
        let loops =
            inspector.sh("for file in /sys/block/loop*/loop/backing_file; do cat $file; done").await?;
        let ours = |file: &&str| {
            let gone = file.ends_with(GONE);
            native(file).is_some_and(|name| name.starts_with("pvc-") && (gone || here.contains(name)))
        };
        let stale = loops.lines().filter(ours).filter(|file| !known(file));
        left.extend(stale.map(|file| format!("loop device on {node} of a deleted volume: {file}")));
    }
    Ok(left)
}

/// What the kernel puts after the path of a file that was deleted.
const GONE: &str = " (deleted)";

/// The volume's own name, from the path of its image, which may be followed by the kernel's "(deleted)".
fn native(path: &str) -> Option<&str> {
    path.trim_end_matches(GONE).rsplit('/').next()?.strip_suffix(".img")
}

fn inspector(node: &str) -> String {
    format!("inspector-{}", node.replace('.', "-"))
}

/// A pod on each node that sees the back ends' directories and the node's devices.
async fn inspect(space: &Space) -> Result {
    for node in &space.cluster.nodes {
        let draft = Draft::new(&inspector(node)).privileged().on(node);
        let directories = space.cluster.directories.iter();
        let draft = directories.fold(draft, |draft, (backend, directory)| {
            draft.volume(backend, json!({"hostPath": {"path": directory, "type": "Directory"}}))
        });
        space.start(draft).await?;
    }
    Ok(())
}
