use std::time::Instant;

use cloudsim::state::{AttachWish, Caller as Asker, VolumeWish};
use cloudsim::{Config, PASSWORD, Sim};
use serde_json::json;

use crate::caller::Caller;

const VOLUMES: usize = 10_000;
const SERVERS: usize = 1_000;

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn ten_thousand_volumes_on_a_thousand_servers_are_small() {
    let sim = Sim::start(Config::openstack()).await.unwrap();
    let before = resident();
    let project = sim.cloud().config.project("csi").unwrap().id.clone();
    let asker = Asker { project, ..Asker::default() };
    let servers: Vec<_> = (0..SERVERS).map(|n| sim.add_server("csi", &format!("worker-{n}"))).collect();
    let ids: Vec<_> = {
        let mut cloud = sim.cloud();
        let notes = [("cluster", "a"), ("pvc", "data-0"), ("namespace", "default"), ("pv", "pvc-x")];
        let metadata: std::collections::BTreeMap<_, _> =
            notes.map(|(key, value)| (format!("csi.example.org/{key}"), value.to_owned())).into();
        (0..VOLUMES)
            .map(|n| {
                let (name, metadata) = (Some(format!("pvc-{n:032}")), metadata.clone());
                let wish = VolumeWish { name, size: Some(1), metadata, ..VolumeWish::default() };
                cloud.create_volume(&asker, wish).unwrap()
            })
            .collect()
    };
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    // Ten on each server, one after the other.
    for round in ids.chunks(SERVERS) {
        let mut cloud = sim.cloud();
        for (volume, server) in round.iter().zip(&servers) {
            let wish = AttachWish { volume: volume.clone(), ..AttachWish::default() };
            cloud.attach(&asker, server, &wish).unwrap();
        }
        let then = cloud.now() + std::time::Duration::from_millis(150);
        cloud.advance(then);
    }
    assert_eq!(sim.cloud().ledger.attaches, VOLUMES as u64);

    let mut caller = Caller::new(&sim);
    let user = json!({"name": "csi", "domain": {"id": "default"}, "password": PASSWORD});
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    let answer =
        caller.call("POST", "/identity/v3/auth/tokens", json!({"auth": {"identity": identity}})).await;
    assert_eq!(answer.status, 201);
    caller.token = sim.cloud().tokens.iter().next().unwrap().secret.clone();
    let (started, mut bytes, mut pages, mut seen) = (Instant::now(), 0, 0, 0);
    let mut marker = String::new();
    loop {
        let answer = caller.get(&format!("/volume/v3/volumes/detail?limit=1000{marker}")).await;
        let page = answer.body["volumes"].as_array().unwrap();
        (bytes, pages, seen) = (bytes + answer.length, pages + 1, seen + page.len());
        let Some(last) = page.last() else { break };
        assert_eq!(last["status"], "in-use");
        marker = format!("&marker={}", last["id"].as_str().unwrap());
    }
    assert_eq!((seen, pages), (VOLUMES, 11), "the last page is empty");
    let (took, one) = (started.elapsed(), Instant::now());
    let answer = caller.get(&format!("/volume/v3/volumes/{}", ids[VOLUMES / 2])).await;
    assert_eq!(answer.status, 200);
    let (one, grown) = (one.elapsed(), resident() - before);
    println!("{} MiB more, {pages} pages with {bytes} bytes in {took:?}, one volume in {one:?}", grown >> 20);
    assert!(grown < 200 << 20, "{} MiB", grown >> 20);
}
