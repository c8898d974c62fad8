//! One thing at a time, and a few volumes, is all that a server takes.

use std::sync::Arc;
use std::time::Duration;

use cloudsim::{Fate, Rule};
use fairlead::backend::Backend;
use fairlead::error::Kind;
use fairlead::volume::Connection;

use crate::sky::{Sky, of_type, off, refused, writer};

#[tokio::test]
async fn a_server_gets_one_volume_after_the_other_and_seven_at_most() {
    let sky = Arc::new(Sky::new(1).await);
    let mut ids = Vec::new();
    for n in 0..8 {
        ids.push(sky.make(&format!("pvc-{n}")).await);
    }
    sky.sim.forget_counts();
    let tasks: Vec<_> = ids
        .iter()
        .map(|id| {
            let (sky, id) = (Arc::clone(&sky), id.clone());
            tokio::spawn(async move { sky.backend.attach(&writer(&id, &sky.nodes[0])).await })
        })
        .collect();
    let mut disks = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(attachment) => match attachment.connection {
                Connection::Nameless { disks: count, .. } => disks.push(count),
                other => panic!("{other:?}"),
            },
            error => {
                let error = refused(error, Kind::ResourceExhausted);
                assert!(error.contains("holds 7 volumes") && error.contains("limit reached"), "{error}");
            }
        }
    }
    disks.sort_unstable();
    assert_eq!(disks, [1, 2, 3, 4, 5, 6, 7], "each is told how many there are with it");
    assert_eq!(sky.count("POST", "/os-volume_attachments"), 8, "none was sent before its turn");
    for id in &ids {
        sky.backend.detach(&off(id, Some(&sky.nodes[0]))).await.unwrap();
    }
    sky.check(&ids.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_is_busy_is_waited_for() {
    let sky = Arc::new(Sky::new(1).await);
    let (id, server) = (sky.make("pvc-1").await, sky.server(0));
    let busy = |task: Option<&str>| {
        let task = task.map(str::to_owned);
        sky.sim.cloud().change_server(&server, |server| server.task_state = task);
    };
    busy(Some("REBOOT"));
    let attaching = {
        let (sky, id) = (Arc::clone(&sky), id.clone());
        tokio::spawn(async move { sky.backend.attach(&writer(&id, &sky.nodes[0])).await })
    };
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!attaching.is_finished());
    busy(None);
    attaching.await.unwrap().unwrap();
    assert!(sky.count("POST", "/os-volume_attachments") >= 2);
    busy(Some("REBOOT"));
    let bound = of_type("pvc-2", "drbd", sky.places(&[0]));
    let making = {
        let sky = Arc::clone(&sky);
        tokio::spawn(async move { sky.backend.create(&bound).await })
    };
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!making.is_finished());
    busy(None);
    let made = making.await.unwrap().unwrap();
    sky.check(&[&id, &made.id]);
}

#[tokio::test]
async fn an_attach_that_fails_is_ordered_again() {
    let sky = Sky::new(1).await;
    let id = sky.make("pvc-1").await;
    let fate = Fate { fails: Some(String::new()), ..Fate::default() };
    sky.sim.order(Rule::fate("POST", "/os-volume_attachments", fate));
    sky.backend.attach(&writer(&id, &sky.nodes[0])).await.unwrap();
    let fate = Fate { fails: Some(String::new()), ..Fate::default() };
    sky.sim.order(Rule::fate("DELETE", "/os-volume_attachments/{id}", fate));
    sky.backend.detach(&off(&id, Some(&sky.nodes[0]))).await.unwrap();
    assert!(sky.sim.cloud().ledger.holders(id.as_str()).is_empty());
    sky.check(&[&id]);
}
