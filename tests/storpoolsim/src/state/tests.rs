//! What the vendor's client cannot see: time, space, limits and what happens inside.

use std::time::Duration;

use super::*;
use crate::config::Template;

const START: Moment = Duration::from_secs(1_000_000);

fn cluster() -> Cluster {
    let config = Config { templates: vec![Template::new("t", 1 << 30)], ..Config::default() };
    let mut cluster = Cluster::new(config, START);
    for client in 1..=3 {
        cluster.add_client(client);
    }
    cluster
}

fn order(name: &str) -> Order {
    let change = Change { template: Some("t".to_owned()), ..Change::default() };
    Order { name: Some(name.to_owned()), size: Some(1 << 20), change, ..Order::default() }
}

fn cutting(volume: &str, name: &str) -> Cutting {
    Cutting { volume: volume.to_owned(), name: Some(name.to_owned()), ..Cutting::default() }
}

fn entry(name: &str, rw: &[u16], detach: Detach) -> Entry {
    Entry { name: name.to_owned(), kind: Kind::Volume, rw: rw.to_vec(), ro: Vec::new(), detach, force: false }
}

fn holders(cluster: &Cluster) -> Vec<u16> {
    cluster.attachments().map(|(_, client, _)| client).collect()
}

#[test]
fn names_are_shared_and_ids_survive_a_revert() {
    let mut cluster = cluster();
    cluster.create(order("v")).unwrap();
    assert_eq!(cluster.cut(vec![cutting("v", "v")]).unwrap_err().name, "objectExists");
    cluster.cut(vec![cutting("v", "s")]).unwrap();
    cluster.update("v", Kind::Volume, Change { rename: Some(String::new()), ..Change::default() }).unwrap();
    let first = cluster.objects().find(|object| object.kind == Kind::Volume).unwrap().global_id.clone();
    let name = format!("~{first}");
    let second = cluster.revert(&name, "s", false).unwrap();
    let third = cluster.revert(&name, "s", false).unwrap();
    let volume = cluster.get(&name, Kind::Volume).unwrap();
    assert_eq!((volume.called(), volume.global_id.clone()), (name, third));
    assert_eq!(cluster.find(&format!("~{second}"), Kind::Volume).unwrap_err().name, "objectDoesNotExist");
}

#[test]
fn what_is_open_is_taken_only_by_force() {
    let mut cluster = cluster();
    cluster.create(order("v")).unwrap();
    cluster.reassign(&[entry("v", &[1], Detach::Nobody)]).unwrap();
    cluster.set_open("v", 1, 1).unwrap();
    let exclusive = entry("v", &[2], Detach::All);
    let refusal = cluster.reassign(std::slice::from_ref(&exclusive)).unwrap_err();
    assert_eq!((refusal.name.as_str(), refusal.text.as_str()), ("busy", "'v' is open at client 1"));
    assert_eq!(holders(&cluster), [1]);
    cluster.reassign(&[Entry { force: true, ..exclusive }]).unwrap();
    assert_eq!((holders(&cluster), cluster.ledger.cut_off.len()), (vec![2], 1));
    cluster.reassign(&[entry("v", &[2, 3], Detach::All)]).unwrap();
    assert_eq!(cluster.ledger.shared, [("v".to_owned(), vec![2, 3])]);
}

#[test]
fn a_client_has_a_limit_and_the_first_free_place() {
    let mut cluster = cluster();
    for n in 0..1025 {
        cluster.create(order(&format!("v{n}"))).unwrap();
    }
    for n in 0..1024 {
        cluster.reassign(&[entry(&format!("v{n}"), &[1], Detach::Nobody)]).unwrap();
    }
    assert_eq!(cluster.reassign(&[entry("v1024", &[1], Detach::Nobody)]).unwrap_err().name, "invalidParam");
    cluster.reassign(&[entry("v7", &[], Detach::Clients(vec![1]))]).unwrap();
    cluster.reassign(&[entry("v1024", &[1], Detach::Nobody)]).unwrap();
    let place = cluster.attachments().find(|(volume, ..)| volume.called() == "v1024").unwrap().2.position;
    assert_eq!(place, 7);
}

#[test]
fn a_client_that_is_down_is_behind_until_it_runs() {
    let mut cluster = cluster();
    cluster.create(order("v")).unwrap();
    cluster.run_client(2, false);
    let (generation, clients) = cluster.reassign(&[entry("v", &[1, 2], Detach::Nobody)]).unwrap();
    assert_eq!(cluster.behind(generation, &clients), Some(1), "not at once");
    cluster.advance(START + Duration::from_secs(1));
    assert_eq!(cluster.behind(generation, &clients), Some(2));
    cluster.run_client(2, true);
    assert_eq!(cluster.behind(generation, &clients), None);
}

#[test]
fn snapshots_go_by_themselves_and_linger() {
    let mut cluster = cluster();
    cluster.create(order("v")).unwrap();
    cluster.cut(vec![Cutting { after: Some(60), ..cutting("v", "s") }]).unwrap();
    cluster
        .create(Order { base: Some("v".to_owned()), name: Some("c".to_owned()), ..Order::default() })
        .unwrap();
    let snapshots = |cluster: &Cluster| {
        cluster.objects().filter(|one| one.kind == Kind::Snapshot).map(Object::called).collect::<Vec<_>>()
    };
    assert_eq!(snapshots(&cluster).len(), 2, "one of them for the copy");
    cluster.advance(START + Duration::from_secs(60));
    assert!(snapshots(&cluster)[0].starts_with('*'), "{:?}", snapshots(&cluster));
    cluster.cut(vec![cutting("v", "s")]).unwrap();
    cluster.delete("c", None).unwrap();
    cluster.advance(START + Duration::from_secs(62));
    cluster.advance(START + Duration::from_secs(64));
    assert!(snapshots(&cluster).contains(&"s".to_owned()), "{:?}", snapshots(&cluster));
    assert!(!snapshots(&cluster).iter().any(|name| name.starts_with("*s")), "{:?}", snapshots(&cluster));
}

#[test]
fn space_is_what_was_written() {
    let mut cluster = cluster();
    let large = Order { size: Some(1 << 40), ..order("v") };
    cluster.create(large).unwrap();
    assert_eq!(cluster.space("t").free(), 1 << 30);
    cluster.alter("v", |volume| volume.stored = 1 << 30).unwrap();
    assert_eq!(cluster.create(order("w")).unwrap_err().name, "insufficientResources");
    let more = Change { size: Some(2 << 40), ..Change::default() };
    assert_eq!(cluster.update("v", Kind::Volume, more).unwrap_err().name, "insufficientResources");
    assert_eq!(cluster.get("v", Kind::Volume).unwrap().size, 1 << 40);
}

fn commands(list: &[(&str, &[(&str, &str)])]) -> Vec<(String, BTreeMap<String, String>)> {
    let words = |words: &[(&str, &str)]| {
        words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    list.iter().map(|(name, given)| ((*name).to_owned(), words(given))).collect()
}

#[test]
fn what_is_withdrawn_logs_off_and_what_is_shared_is_noted() {
    let mut cluster = cluster();
    cluster.create(order("v")).unwrap();
    let (alpha, beta) = ("iqn.2026-01.example:alpha", "iqn.2026-01.example:beta");
    let initiator = |name| ("createInitiator", vec![("name", name), ("username", ""), ("secret", "")]);
    let export =
        |command, name| (command, vec![("initiator", name), ("portalGroup", "pg"), ("volumeName", "v")]);
    let run = |cluster: &mut Cluster, list: &[(&str, Vec<(&str, &str)>)]| {
        let list: Vec<_> = list.iter().map(|(name, words)| (*name, words.as_slice())).collect();
        cluster.configure_iscsi(&commands(&list))
    };
    let made = [
        ("createPortalGroup", vec![("name", "pg")]),
        initiator(alpha),
        initiator(beta),
        ("createTarget", vec![("volumeName", "v")]),
        export("export", alpha),
    ];
    run(&mut cluster, &made).unwrap();
    assert_eq!(cluster.log_in(beta, "v").unwrap_err().name, "objectDoesNotExist");
    cluster.log_in(alpha, "v").unwrap();
    assert!(cluster.ledger.exported.is_empty());
    cluster.reassign(&[entry("v", &[1], Detach::Nobody)]).unwrap();
    assert_eq!(cluster.ledger.exported, [("v".to_owned(), vec![alpha.to_owned()], 1)]);
    cluster.reassign(&[entry("v", &[], Detach::All)]).unwrap();
    run(&mut cluster, &[export("export", beta)]).unwrap();
    assert_eq!(cluster.ledger.exported.last().unwrap().1, [alpha, beta]);
    assert_eq!(cluster.delete("v", None).unwrap_err().name, "busy");
    run(&mut cluster, &[export("exportDelete", alpha)]).unwrap();
    assert!(cluster.iscsi().sessions.is_empty());
    assert_eq!(cluster.ledger.logged_off.len(), 1);
    let half = [export("exportDelete", beta), ("deleteTarget", vec![("volumeName", "w")])];
    assert_eq!(run(&mut cluster, &half).unwrap_err().name, "objectDoesNotExist");
    assert_eq!(cluster.iscsi().allowed(&cluster.iscsi().targets.values().next().unwrap().name), [beta]);
    run(&mut cluster, &[export("exportDelete", beta), ("deleteTarget", vec![("volumeName", "v")])]).unwrap();
    cluster.delete("v", None).unwrap();
}
