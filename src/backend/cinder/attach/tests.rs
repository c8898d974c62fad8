mod cloud;

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::*;
use crate::backend::DetachOrder;
use crate::error::Outcome;
use crate::volume::{Access, AccessKind, AccessMode, FsType, MountFlags};
use cloud::{Cloud, Fault};

fn mount() -> AccessKind {
    AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() }
}

fn node(server: &str) -> NodeId {
    NodeId::new(&format!("worker-{server}"), [("nova".to_owned(), server.to_owned())].into()).unwrap()
}

fn order(volume: &str, server: &str) -> AttachOrder {
    let access = Access { kind: mount(), mode: AccessMode::SingleNodeWriter };
    AttachOrder { volume: volume.parse().unwrap(), node: node(server), access, readonly: false }
}

fn shared(volume: &str, server: &str, mode: AccessMode) -> AttachOrder {
    AttachOrder { access: Access { kind: AccessKind::Block, mode }, ..order(volume, server) }
}

fn off(volume: &str, server: Option<&str>) -> DetachOrder {
    DetachOrder { volume: volume.parse().unwrap(), node: server.map(node), fence: None }
}

/// It must not take longer than this.
async fn within<T>(seconds: f64, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs_f64(seconds), work).await.expect("it took too long")
}

fn assert_attached(cloud: &Cloud, volume: &str, server: &str) {
    let state = cloud.state();
    let disk = &state.disks[volume];
    assert_eq!(disk.status, "in-use");
    assert!(disk.attachments.iter().any(|one| one.1 == server && one.2 == "attached"), "{disk:?}");
    assert_eq!(state.servers[server].iter().filter(|one| *one == volume).count(), 1);
}

fn assert_free(cloud: &Cloud, volume: &str) {
    let state = cloud.state();
    assert_eq!(state.disks[volume].status, "available");
    assert!(state.disks[volume].attachments.is_empty());
    assert!(state.servers.values().all(|list| !list.contains(&volume.to_owned())), "{:?}", state.servers);
}

#[tokio::test]
async fn a_volume_is_attached_found_again_and_detached_with_few_calls() {
    let cloud = Cloud::start(Some(10)).await;
    let attachment = cloud.attacher.attach(&order("v1", "s1")).await.unwrap();
    assert_attached(&cloud, "v1", "s1");
    let Connection::Disk { serial, device } = &attachment.connection else { panic!("{attachment:?}") };
    assert_eq!(
        (serial.as_str(), device.as_deref(), attachment.size),
        ("v1", Some("/dev/vdb"), Bytes::gib(1))
    );
    assert!(cloud.requests().len() <= 5);
    assert_eq!(cloud.attacher.attach(&order("v1", "s1")).await.unwrap(), attachment);
    assert_eq!(cloud.requests(), ["GET /volume/v3/p1/volumes/v1"]);
    within(3.0, cloud.attacher.detach(&off("v1", Some("s1")))).await.unwrap();
    assert_free(&cloud, "v1");
    assert!(cloud.requests().len() <= 5);
    // Known to be free: Nova is asked at once.
    let second = cloud.attacher.attach(&order("v1", "s2")).await.unwrap();
    assert_ne!(second.nonce, attachment.nonce);
    assert!(cloud.requests().len() <= 3);
    for server in [Some("s1"), Some("s2"), None] {
        cloud.attacher.detach(&off("v1", server)).await.unwrap();
    }
    assert_free(&cloud, "v1");
}

#[tokio::test]
async fn many_at_once_share_their_looks() {
    let cloud = Cloud::start(None).await;
    let orders: Vec<_> =
        (1..=30).map(|n| order(&format!("v{n}"), if n % 2 == 0 { "s1" } else { "s2" })).collect();
    for order in &orders {
        let disk = cloud.attacher.client.volume(order.volume.as_str()).await.unwrap();
        cloud.attacher.saw(&disk);
    }
    cloud.requests();
    for result in join_all(orders.iter().map(|order| cloud.attacher.attach(order))).await {
        result.unwrap();
    }
    let requests = cloud.requests().len();
    assert!(requests <= 45, "{requests}");
    let orders: Vec<_> =
        (1..=30).map(|n| off(&format!("v{n}"), Some(if n % 2 == 0 { "s1" } else { "s2" }))).collect();
    for result in join_all(orders.iter().map(|order| cloud.attacher.detach(order))).await {
        result.unwrap();
    }
    assert!((1..=30).all(|n| cloud.state().disks[&format!("v{n}")].status == "available"));
    let requests = cloud.requests().len();
    assert!(requests <= 45, "{requests}");
}

#[tokio::test]
async fn an_attach_that_fails_without_a_word_is_ordered_again_at_once_and_not_for_ever() {
    let cloud = Cloud::start(None).await;
    cloud.state().attach_faults = [Fault::FallsBack, Fault::FallsBack].into();
    within(3.0, cloud.attacher.attach(&order("v1", "s1"))).await.unwrap();
    assert_attached(&cloud, "v1", "s1");
    cloud.state().attach_faults = [Fault::FallsBack; 4].into();
    let error = within(6.0, cloud.attacher.attach(&order("v2", "s1"))).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown));
    let text = error.to_string();
    assert!(
        text.contains("failed 4 times") && text.contains("req-7") && text.contains("node=worker-s1"),
        "{text}"
    );
    assert_free(&cloud, "v2");
}

#[tokio::test]
async fn an_attach_whose_answer_was_lost_is_waited_for_and_never_ordered_twice() {
    for wait in [0, 900, 2500] {
        let cloud = Cloud::start(None).await;
        cloud.state().attach_faults = [Fault::LostButDone(Duration::from_millis(wait))].into();
        within(12.0, cloud.attacher.attach(&order("v1", "s1"))).await.unwrap();
        assert_attached(&cloud, "v1", "s1");
        assert_eq!(cloud.fake.count("POST /compute/v2.1/servers/s1/os-volume_attachments"), 1);
    }
    let cloud = Cloud::start(None).await;
    cloud.state().attach_faults = [Fault::LostAndNot].into();
    let error = within(12.0, cloud.attacher.attach(&order("v1", "s1"))).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown), "{error}");
    cloud.attacher.attach(&order("v1", "s1")).await.unwrap();
}

#[tokio::test]
async fn nobody_is_rid_of_a_server_that_may_still_get_the_volume() {
    let cloud = Cloud::start(None).await;
    cloud.state().attach_faults = [Fault::LostButDone(Duration::from_secs(9))].into();
    within(8.0, cloud.attacher.attach(&order("v1", "s1"))).await.unwrap_err();
    for order in [off("v1", Some("s1")), off("v1", None)] {
        let error = cloud.attacher.detach(&order).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown), "{error}");
        assert!(error.message().contains("may still carry that out"), "{error}");
    }
    // It does.
    within(8.0, async {
        while cloud.attacher.detach(&off("v1", Some("s1"))).await.is_err() {
            sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
    assert_free(&cloud, "v1");
    cloud.attacher.detach(&off("v1", Some("s1"))).await.unwrap();
}

#[tokio::test]
async fn nova_s_list_is_asked_where_its_answer_does_not_tell() {
    let cloud = Cloud::start(None).await;
    cloud.state().attach_faults = [Fault::Empty].into();
    cloud.attacher.attach(&order("v1", "s1")).await.unwrap();
    assert!(cloud.requests().iter().any(|line| line == "GET /compute/v2.1/servers/s1/os-volume_attachments"));
    // Cinder says so, Nova does not: what is left over is removed, and it is attached for real.
    cloud.disk("v2", |disk| {
        disk.status = "in-use";
        disk.attachments.push(("old".to_owned(), "s1".to_owned(), "attached"));
    });
    let attachment = cloud.attacher.attach(&order("v2", "s1")).await.unwrap();
    assert_ne!(attachment.nonce, "old");
    assert_attached(&cloud, "v2", "s1");
}

#[tokio::test]
async fn a_reserved_volume_that_nova_forgot_is_freed_and_attached() {
    let cloud = Cloud::start(None).await;
    cloud.disk("v1", |disk| {
        disk.status = "reserved";
        disk.attachments.push(("old".to_owned(), "s1".to_owned(), "reserved"));
    });
    within(6.0, cloud.attacher.attach(&order("v1", "s1"))).await.unwrap();
    assert_attached(&cloud, "v1", "s1");
    // Forgotten in the middle of our own.
    cloud.state().attach_faults = [Fault::Forgotten].into();
    within(20.0, cloud.attacher.attach(&order("v2", "s1"))).await.unwrap();
    assert_attached(&cloud, "v2", "s1");
    // And by a detach.
    cloud.disk("v3", |disk| {
        disk.status = "reserved";
        disk.attachments.push(("old".to_owned(), "s1".to_owned(), "reserved"));
    });
    within(6.0, cloud.attacher.detach(&off("v3", Some("s1")))).await.unwrap();
    assert_free(&cloud, "v3");
}

#[tokio::test]
async fn a_volume_promised_to_another_server_is_left_alone() {
    let cloud = Cloud::start(None).await;
    cloud.disk("v1", |disk| {
        disk.status = "attaching";
        disk.attachments.push(("other".to_owned(), "s2".to_owned(), "attaching"));
    });
    cloud.state().servers.get_mut("s2").unwrap().push("v1".to_owned());
    let error = within(6.0, cloud.attacher.attach(&order("v1", "s1"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("being attached to server s2"), "{error}");
    within(3.0, cloud.attacher.detach(&off("v1", Some("s1")))).await.unwrap();
    assert_eq!(cloud.disk("v1", |disk| disk.attachments.len()), 1);
}

#[tokio::test]
async fn what_nova_lists_and_cinder_does_not_know_is_told_clearly() {
    let cloud = Cloud::start(None).await;
    cloud.state().attach_faults = [Fault::Phantom].into();
    let first = tokio::time::timeout(Duration::from_secs(2), cloud.attacher.attach(&order("v1", "s1"))).await;
    assert!(first.is_err(), "something may still come of it");
    for error in [
        within(9.0, cloud.attacher.attach(&order("v1", "s1"))).await.unwrap_err(),
        within(9.0, cloud.attacher.detach(&off("v1", Some("s1")))).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Unknown), "{error}");
        assert!(
            error.to_string().contains("Nova lists the volume on server s1, but Cinder does not"),
            "{error}"
        );
    }
    // It is not lost: another server can have it.
    cloud.attacher.attach(&order("v1", "s2")).await.unwrap();
}

#[tokio::test]
async fn a_list_that_was_not_seen_is_not_said_to_have_the_volume() {
    let cloud = Cloud::start(None).await;
    cloud.state().servers.get_mut("s1").unwrap().push("v1".to_owned());
    cloud.state().unreadable = true;
    let error = within(9.0, cloud.attacher.detach(&off("v1", Some("s1")))).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Timeout, Outcome::Unknown), "{error}");
    let text = error.to_string();
    assert!(text.contains("not to be seen") && !text.contains("administrator"), "{text}");
    cloud.state().unreadable = false;
    let error = within(9.0, cloud.attacher.detach(&off("v1", Some("s1")))).await.unwrap_err();
    assert!(error.to_string().contains("administrator"), "{error}");
}

#[tokio::test]
async fn a_busy_server_is_waited_for_and_one_that_stays_so_is_told() {
    let cloud = Cloud::start(None).await;
    let busy = Fault::Refused(409, "Cannot 'attach_volume' instance s1 while it is in task_state rebuilding");
    cloud.state().attach_faults = [busy, busy].into();
    within(5.0, cloud.attacher.attach(&order("v1", "s1"))).await.unwrap();
    cloud.state().detach_faults = [busy].into();
    within(5.0, cloud.attacher.detach(&off("v1", Some("s1")))).await.unwrap();
    let suspended = "Cannot 'attach_volume' instance s1 while it is in vm_state suspended";
    cloud.state().attach_faults = [Fault::Refused(409, suspended)].into();
    let error = cloud.attacher.attach(&order("v1", "s1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
    cloud.attacher.attach(&order("v1", "s1")).await.unwrap();
    cloud.state().detach_faults = [Fault::Refused(409, "Service is unavailable at this time.")].into();
    let error = cloud.attacher.detach(&off("v1", Some("s1"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.to_string().contains("compute service of the server's host is down"), "{error}");
}

#[tokio::test]
async fn a_detach_that_is_rolled_back_is_ordered_again() {
    let cloud = Cloud::start(None).await;
    cloud.attacher.attach(&order("v1", "s1")).await.unwrap();
    cloud.state().detach_faults = [Fault::FallsBack, Fault::LostButDone(Duration::ZERO)].into();
    within(8.0, cloud.attacher.detach(&off("v1", Some("s1")))).await.unwrap();
    assert_free(&cloud, "v1");
    cloud.attacher.attach(&order("v1", "s1")).await.unwrap();
    cloud.state().detach_faults = [Fault::FallsBack; 4].into();
    let error = within(8.0, cloud.attacher.detach(&off("v1", Some("s1")))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.to_string().contains("did not let go of the disk, 4 times"), "{error}");
    assert_attached(&cloud, "v1", "s1");
}

#[tokio::test]
async fn a_server_that_is_gone_has_nothing_any_more() {
    let cloud = Cloud::start(None).await;
    cloud.attacher.attach(&order("v1", "s1")).await.unwrap();
    cloud.state().servers.remove("s1");
    // Cinder has not heard of it, and lets it be removed.
    within(9.0, cloud.attacher.detach(&off("v1", Some("s1")))).await.unwrap();
    assert_eq!(cloud.disk("v1", |disk| disk.attachments.len()), 0);
    let error = cloud.attacher.attach(&order("v1", "s1")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::NotFound, Outcome::Refused));
    assert!(error.to_string().contains("no such server"), "{error}");
    let error = cloud.attacher.attach(&order("v99", "s2")).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("Volume could not be found"), "{error}");
    cloud.attacher.detach(&off("v99", Some("s2"))).await.unwrap();
    cloud.attacher.detach(&off("v99", None)).await.unwrap();
}

#[tokio::test]
async fn a_shelved_server_gets_nothing_and_keeps_nothing() {
    let cloud = Cloud::start(None).await;
    cloud.state().server = json!({"status": "SHELVED_OFFLOADED"});
    cloud.state().attach_faults = [Fault::Kept].into();
    let error = within(20.0, cloud.attacher.attach(&order("v1", "s1"))).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Refused), "{error}");
    assert!(error.to_string().contains("SHELVED_OFFLOADED: unshelve it first"), "{error}");
    assert_free(&cloud, "v1");
}

#[tokio::test]
async fn a_volume_is_never_given_to_a_second_server_unless_both_may_have_it() {
    use AccessMode::{MultiNodeMultiWriter, MultiNodeReaderOnly};
    let cloud = Cloud::start(None).await;
    cloud.attacher.attach(&order("v1", "s1")).await.unwrap();
    for wanted in [order("v1", "s2"), shared("v1", "s2", MultiNodeMultiWriter)] {
        let error = cloud.attacher.attach(&wanted).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Refused));
        assert!(error.to_string().contains("attached to server s1"), "{error}");
    }
    for volume in ["v2", "v3", "v4"] {
        cloud.disk(volume, |disk| disk.multiattach = true);
    }
    cloud.attacher.attach(&shared("v2", "s1", MultiNodeMultiWriter)).await.unwrap();
    cloud.attacher.attach(&shared("v2", "s2", MultiNodeMultiWriter)).await.unwrap();
    assert_attached(&cloud, "v2", "s1");
    assert_attached(&cloud, "v2", "s2");
    cloud.attacher.detach(&off("v2", None)).await.unwrap();
    assert_free(&cloud, "v2");
    cloud.attacher.attach(&order("v3", "s1")).await.unwrap();
    let error = cloud.attacher.attach(&shared("v3", "s2", MultiNodeMultiWriter)).await.unwrap_err();
    assert!(error.to_string().contains("as single-node-writer, which does not go with"), "{error}");
    let readers = |server| AttachOrder {
        access: Access { kind: mount(), mode: MultiNodeReaderOnly },
        ..order("v4", server)
    };
    assert!(cloud.attacher.attach(&readers("s1")).await.unwrap().readonly);
    assert!(cloud.attacher.attach(&readers("s2")).await.unwrap().readonly);
    // A volume for one server can be ordered for many nodes, and goes to the first; ordered again it is the same.
    let raw = shared("v5", "s1", MultiNodeMultiWriter);
    let first = cloud.attacher.attach(&raw).await.unwrap();
    assert_eq!(cloud.attacher.attach(&raw).await.unwrap(), first);
}

#[tokio::test]
async fn read_only_is_noted_and_asked_for_otherwise_is_another_order() {
    let cloud = Cloud::start(None).await;
    let readonly = AttachOrder { readonly: true, ..order("v1", "s1") };
    assert!(cloud.attacher.attach(&readonly).await.unwrap().readonly);
    assert!(cloud.attacher.attach(&readonly).await.unwrap().readonly);
    assert_eq!(cloud.attacher.attach(&order("v1", "s1")).await.unwrap_err().kind(), Kind::AlreadyExists);
    cloud.attacher.detach(&off("v1", Some("s1"))).await.unwrap();
    assert!(!cloud.attacher.attach(&order("v1", "s1")).await.unwrap().readonly);
    assert_eq!(cloud.attacher.attach(&readonly).await.unwrap_err().kind(), Kind::AlreadyExists);
    cloud.disk("v2", |disk| drop(disk.notes.insert("readonly".to_owned(), "True".to_owned())));
    let error = cloud.attacher.attach(&order("v2", "s1")).await.unwrap_err();
    assert!(error.to_string().contains("--read-write"), "{error}");
    let raw = shared("v3", "s1", AccessMode::SingleNodeWriter);
    cloud.attacher.attach(&raw).await.unwrap();
    assert_eq!(cloud.disk("v3", |disk| disk.notes[CONTENT].clone()), DATA);
}

#[tokio::test]
async fn a_volume_without_its_service_is_waited_for() {
    let cloud = Cloud::start(None).await;
    cloud.disk("v1", |disk| disk.service = false);
    let wanted = order("v1", "s1");
    let attach = cloud.attacher.attach(&wanted);
    let ready = async {
        sleep(Duration::from_millis(700)).await;
        assert_eq!(cloud.fake.count("POST /compute/v2.1/servers/s1/os-volume_attachments"), 0);
        cloud.disk("v1", |disk| disk.service = true);
    };
    let (attached, ()) = tokio::join!(attach, ready);
    attached.unwrap();
    let error = {
        cloud.disk("v2", |disk| disk.status = "error_extending");
        cloud.attacher.attach(&order("v2", "s1")).await.unwrap_err()
    };
    assert!(error.to_string().contains("in state error-extending"), "{error}");
}

#[tokio::test]
async fn a_full_server_is_told_with_its_counts() {
    let cloud = Cloud::start(Some(3)).await;
    cloud.state().servers.get_mut("s1").unwrap().push("of-somebody".to_owned());
    let orders: Vec<_> = (1..=5).map(|n| order(&format!("v{n}"), "s1")).collect();
    let results = join_all(orders.iter().map(|order| cloud.attacher.attach(order))).await;
    let (attached, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((attached.len(), refused.len()), (2, 3));
    for error in refused {
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::ResourceExhausted, Outcome::Refused));
        assert!(error.to_string().contains("server worker-s1 holds 3 of 3 volumes"), "{error}");
    }
    assert_eq!(cloud.state().servers["s1"].len(), 3);
    // Whoever makes room, it is seen.
    cloud.state().servers.get_mut("s1").unwrap().retain(|one| one != "of-somebody");
    let free = (1..=5).find(|n| cloud.state().disks[&format!("v{n}")].status == "available").unwrap();
    cloud.attacher.attach(&order(&format!("v{free}"), "s1")).await.unwrap();

    let cloud = Cloud::start(None).await;
    cloud.state().server = json!({"metadata": {PROPERTY: "1"}});
    cloud.attacher.attach(&order("v1", "s1")).await.unwrap();
    let error = cloud.attacher.attach(&order("v2", "s1")).await.unwrap_err();
    assert!(error.to_string().contains("holds 1 of 1 volumes"), "{error}");
    let text =
        "The maximum allowed number of disk devices (26) to attach to a single instance has been exceeded.";
    cloud.state().attach_faults = [Fault::Refused(403, text)].into();
    let error = cloud.attacher.attach(&order("v3", "s2")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::ResourceExhausted, Outcome::Refused));
    let told = error.to_string();
    assert!(
        told.contains("holds 0 volumes, and the cloud allows no more") && told.contains("(26)"),
        "{told}"
    );
}
