//! Many volumes at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::cluster::EXT4;
use crate::harness::{Doing, Result, ensure, seconds};
use crate::manifest::{Claim, Draft};
use crate::pod::{self, Running};
use crate::space::Space;
use crate::wait::{Seen, until};

crate::tests![
    stateful_set_of_20_goes_down_and_up: alone,
    storm_of_100_claims_and_pods: alone slow,
];

const LONG: Duration = Duration::from_secs(600);

/// Each pod adds a line with its name to its volume, and shows all lines.
async fn stateful_set_of_20_goes_down_and_up(space: &Space) -> Result {
    const COUNT: i32 = 20;
    let script =
        "hostname >>/data/starts && sync && cat /data/starts; trap 'exit 0' TERM; sleep 1000000 & wait";
    let claim = json!({
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": EXT4,
            "resources": {"requests": {"storage": "16Mi"}},
        },
    });
    let mut pod = Draft::new("pod").script(script).container(json!({
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "readinessProbe": {"exec": {"command": ["test", "-s", "/data/starts"]}, "periodSeconds": 1},
    }));
    pod = pod.with(json!({"spec": {"restartPolicy": "Always"}}));
    let template = pod.manifest(&space.cluster.image);
    space
        .create::<StatefulSet>(json!({
            "metadata": {"name": "set"},
            "spec": {
                "serviceName": "set",
                "replicas": COUNT,
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": {"app": "pod"}},
                "template": {"metadata": {"labels": {"app": "pod"}}, "spec": template["spec"]},
                "volumeClaimTemplates": [claim],
            },
        }))
        .await?;
    for (round, replicas) in [(1, COUNT), (1, 0), (2, COUNT)] {
        let began = Instant::now();
        space.patch::<StatefulSet>("set", json!({"spec": {"replicas": replicas}})).await?;
        scaled(space, replicas).await?;
        eprintln!("StatefulSet at {replicas} after {:.1} s", seconds(began.elapsed()));
        for index in 0..replicas {
            let name = format!("set-{index}");
            let starts = Running { space, name: name.clone() }.log().await?;
            let expected = format!("{name}\n").repeat(round);
            ensure(starts == expected, || {
                format!("{name} was started {round} times, its volume says: {starts}")
            })?;
        }
    }
    scaled(space, COUNT).await
}

async fn scaled(space: &Space, replicas: i32) -> Result {
    until(format!("the set to have {replicas} pods"), LONG, async || {
        let status = space.api::<StatefulSet>().get("set").await?.status.unwrap_or_default();
        let done = status.replicas == replicas && status.ready_replicas.unwrap_or_default() == replicas;
        Ok(if done {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{} of {}", status.ready_replicas.unwrap_or_default(), status.replicas))
        })
    })
    .await
}

async fn storm_of_100_claims_and_pods(space: &Space) -> Result {
    const COUNT: usize = 100;
    let began = Instant::now();
    let order = async |index: usize| -> Result {
        space.claim(Claim::new(&format!("data-{index}")).size("16Mi")).await?;
        let volume = json!({"persistentVolumeClaim": {"claimName": format!("data-{index}")}});
        let pod = Draft::new(&format!("pod-{index}")).volume("data", volume);
        let script =
            "hostname >/data/name && sync && cat /data/name; trap 'exit 0' TERM; sleep 1000000 & wait";
        space.begin(pod.script(script)).await.map(|_| ())
    };
    try_join_all((0..COUNT).map(order)).await?;
    eprintln!("storm: {COUNT} claims and pods were ordered within {:.1} s", seconds(began.elapsed()));
    let mut bound = BTreeMap::new();
    let mut running = BTreeMap::new();
    until("all pods to run", LONG, async || {
        let now = began.elapsed();
        for claim in space.api::<PersistentVolumeClaim>().list(&ListParams::default()).await? {
            if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound") {
                bound.entry(claim.name_any()).or_insert(now);
            }
        }
        for one in space.api::<Pod>().list(&ListParams::default()).await? {
            if pod::ready(&one) {
                running.entry(one.name_any()).or_insert(now);
            }
        }
        let done = running.len() == COUNT;
        Ok(if done {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{} bound, {} run", bound.len(), running.len()))
        })
    })
    .await?;
    tell("bound", &bound);
    tell("running", &running);
    for index in (0..COUNT).step_by(7) {
        let name = format!("pod-{index}");
        let told = Running { space, name: name.clone() }.sh("cat /data/name").await?;
        ensure(told.trim() == name, || format!("{name} has the volume of {told}"))?;
    }
    let began = Instant::now();
    let (now, all) = (DeleteParams::default(), ListParams::default());
    space.api::<Pod>().delete_collection(&now, &all).await.doing("delete pods")?;
    space.api::<PersistentVolumeClaim>().delete_collection(&now, &all).await.doing("delete claims")?;
    space.no_volumes(LONG).await?;
    eprintln!("storm: all is gone {:.1} s after it was deleted", seconds(began.elapsed()));
    Ok(())
}

fn tell(what: &str, times: &BTreeMap<String, Duration>) {
    let mut sorted: Vec<_> = times.values().map(|time| seconds(*time)).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        sorted.get((sorted.len() * percent / 100).min(sorted.len() - 1)).copied().unwrap_or_default()
    };
    eprintln!("storm: {what}: p50 {:.1} s, p99 {:.1} s, all after {:.1} s", at(50), at(99), at(100));
}
