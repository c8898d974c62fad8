//! Nodes without `storpool_block`: what is exported to them, beside others and beside clients.

use std::collections::BTreeMap;
use std::time::Duration;

use storpoolsim::state::Iscsi;
use storpoolsim::{Fault, refuse};

use super::world::{World, attach, node, told};
use crate::backend::storpool::config::{IscsiSettings, Served};
use crate::backend::storpool::{StorpoolBackend, StorpoolConnector};
use crate::backend::{AttachOrder, Backend, Connector, DetachOrder, FencingProof};
use crate::error::{Kind, Outcome, Result};
use crate::host::iscsi::fake::Machine;
use crate::volume::{AccessKind, AccessMode, Attachment, Connection, NativeId, NodeId};

const GROUP: &str = "pg";

fn initiator(name: &str) -> String {
    format!("iqn.2026-01.example:{name}")
}

fn host(name: &str) -> NodeId {
    format!("{name};iscsi={}", initiator(name)).parse().unwrap()
}

/// A cluster with a portal group of two networks.
async fn world() -> World {
    with(|_| {}).await
}

async fn with(change: impl FnOnce(&mut IscsiSettings)) -> World {
    let world = World::new(|config| {
        let mut settings = IscsiSettings::new(GROUP);
        change(&mut settings);
        config.iscsi = Some(settings);
    })
    .await;
    let net = |net: &'static str| ("portalGroupAddNetwork", vec![("portalGroup", GROUP), ("net", net)]);
    run(
        &world,
        &[
            ("setBaseName", vec![("name", "iqn.2026-01.example:sim")]),
            ("createPortalGroup", vec![("name", GROUP)]),
            net("10.0.0.1/24"),
            net("10.1.0.1/24"),
        ],
    );
    world
}

/// Somebody changes what is exported.
fn run(world: &World, commands: &[(&str, Vec<(&str, &str)>)]) {
    let commands: Vec<_> = commands
        .iter()
        .map(|(name, words)| {
            let words = words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            ((*name).to_owned(), words.collect::<BTreeMap<_, _>>())
        })
        .collect();
    world.sim.cluster().configure_iscsi(&commands).unwrap();
}

fn export_by_hand<'a>(
    name: &'a str,
    initiator: &'a str,
) -> Vec<(&'static str, Vec<(&'static str, &'a str)>)> {
    vec![
        ("createInitiator", vec![("name", initiator), ("username", ""), ("secret", "")]),
        ("createTarget", vec![("volumeName", name)]),
        ("export", vec![("initiator", initiator), ("portalGroup", GROUP), ("volumeName", name)]),
    ]
}

/// The names of the hosts that each volume is exported to; empty: it has a target all the same.
fn exported(world: &World) -> BTreeMap<String, Vec<String>> {
    let cluster = world.sim.cluster();
    let iscsi: &Iscsi = cluster.iscsi();
    let short = |name: &str| name.rsplit(':').next().unwrap().to_owned();
    let told = iscsi
        .targets
        .values()
        .map(|target| (short(&target.name), iscsi.allowed(&target.name).into_iter().map(short).collect()));
    told.collect()
}

fn to(volume: &NativeId, name: &str) -> AttachOrder {
    AttachOrder { node: host(name), ..attach(volume, 1) }
}

async fn export(world: &World, volume: &NativeId, name: &str) -> Result<Attachment> {
    world.backend.attach(&to(volume, name)).await
}

async fn withdraw(world: &World, volume: &NativeId, name: &str) -> Result<()> {
    detach(world, volume, name, None).await
}

async fn detach(world: &World, volume: &NativeId, name: &str, fence: Option<FencingProof>) -> Result<()> {
    world.backend.detach(&DetachOrder { volume: volume.clone(), node: Some(host(name)), fence }).await
}

#[tokio::test]
async fn a_volume_is_exported_with_all_that_its_node_needs_and_withdrawn_with_its_target() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    let first = export(&world, &volume, "alpha").await.unwrap();
    let Connection::Iscsi { volume: of, target, lun, portals } = &first.connection else {
        panic!("{first:?}")
    };
    assert_eq!((of.as_str(), target.as_str(), *lun), ("csi--v", "iqn.2026-01.example:sim:csi--v", 0));
    assert_eq!(*portals, ["10.0.0.1:3260".parse().unwrap(), "10.1.0.1:3260".parse().unwrap()]);
    assert_eq!(exported(&world)["csi--v"], ["alpha"]);
    assert_eq!(world.backend.get(&volume).await.unwrap().attached, [host("alpha")]);
    // Once more changes nothing, and is told the same.
    world.sim.forget_counts();
    assert_eq!(export(&world, &volume, "alpha").await.unwrap(), first);
    let posts: u64 = world
        .sim
        .counts()
        .iter()
        .filter(|(key, _)| key.starts_with("POST"))
        .map(|(_, count)| count.requests)
        .sum();
    assert_eq!(posts, 0, "{:?}", world.sim.counts());
    // Only after it was withdrawn may it be deleted, or be somebody else's.
    let (kind, outcome, text) = told(world.backend.delete(&volume).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("alpha") && text.contains("exported"), "{text}");
    withdraw(&world, &volume, "alpha").await.unwrap();
    withdraw(&world, &volume, "alpha").await.unwrap();
    assert!(exported(&world).is_empty());
    let later = export(&world, &volume, "alpha").await.unwrap();
    assert_ne!(later.nonce, first.nonce);
    withdraw(&world, &volume, "alpha").await.unwrap();
    world.backend.delete(&volume).await.unwrap();
    assert!(world.volumes().is_empty());
    assert!(world.sim.cluster().ledger.exported.is_empty());
}

#[tokio::test]
async fn one_writer_alone_has_it_whichever_way() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    export(&world, &volume, "alpha").await.unwrap();
    let (kind, outcome, text) = told(export(&world, &volume, "beta").await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(
        text.contains("alpha (initiator iqn.2026-01.example:alpha)") && text.contains("node=beta"),
        "{text}"
    );
    let (kind, outcome, text) = told(world.attach(&volume, 1).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("alpha"), "{text}");
    assert!(world.holders().is_empty() && exported(&world)["csi--v"] == ["alpha"]);
    withdraw(&world, &volume, "alpha").await.unwrap();
    world.attach(&volume, 1).await.unwrap();
    let (kind, outcome, text) = told(export(&world, &volume, "beta").await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("node-1") && exported(&world).is_empty(), "{text}");
    // From everybody: both ways.
    let all = DetachOrder { volume: volume.clone(), node: None, fence: None };
    world.backend.detach(&all).await.unwrap();
    export(&world, &volume, "beta").await.unwrap();
    world.backend.detach(&all).await.unwrap();
    assert!(world.holders().is_empty() && exported(&world).is_empty());
    assert!(world.sim.cluster().ledger.exported.is_empty());
}

#[tokio::test]
async fn those_who_may_share_do_and_the_target_stays_for_the_last() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    let shared = |name: &str| {
        let mut order = to(&volume, name);
        order.access.kind = AccessKind::Block;
        order.access.mode = AccessMode::MultiNodeMultiWriter;
        order
    };
    world.backend.attach(&shared("alpha")).await.unwrap();
    world.backend.attach(&shared("beta")).await.unwrap();
    world.backend.attach(&AttachOrder { node: node(3), ..shared("alpha") }).await.unwrap();
    assert_eq!(exported(&world)["csi--v"], ["alpha", "beta"]);
    assert_eq!(told(export(&world, &volume, "gamma").await).0, Kind::FailedPrecondition);
    // As it is, and not otherwise.
    let (kind, _, text) = told(world.backend.attach(&to(&volume, "beta")).await);
    assert_eq!(kind, Kind::FailedPrecondition, "{text}");
    let attached = world.backend.get(&volume).await.unwrap().attached;
    assert_eq!(attached.len(), 3, "{attached:?}");
    withdraw(&world, &volume, "alpha").await.unwrap();
    assert_eq!(exported(&world)["csi--v"], ["beta"]);
    withdraw(&world, &volume, "beta").await.unwrap();
    assert!(exported(&world).is_empty());
    assert_eq!(world.holders()["csi--v"], [3]);
}

#[tokio::test]
async fn who_is_logged_in_is_cut_off_only_with_a_proof() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    export(&world, &volume, "alpha").await.unwrap();
    world.sim.cluster().log_in(&initiator("alpha"), "csi--v").unwrap();
    let (kind, outcome, text) = told(withdraw(&world, &volume, "alpha").await);
    assert_eq!((kind, outcome), (Kind::Busy, Outcome::Unknown), "{text}");
    assert!(text.contains("alpha") && text.contains("logged in"), "{text}");
    assert!(world.sim.cluster().ledger.logged_off.is_empty());
    assert_eq!(told(export(&world, &volume, "beta").await).0, Kind::FailedPrecondition);
    // It logs out while that is waited for.
    let (withdrawn, ()) = tokio::join!(withdraw(&world, &volume, "alpha"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.sim.cluster().log_out(&initiator("alpha"), "csi--v").unwrap();
    });
    withdrawn.unwrap();
    // A controller that does not answer may hide a session.
    export(&world, &volume, "alpha").await.unwrap();
    world.sim.cluster().silence_controller(1, true);
    let (kind, outcome, text) = told(withdraw(&world, &volume, "alpha").await);
    assert_eq!((kind, outcome), (Kind::Busy, Outcome::Unknown), "{text}");
    assert!(text.contains("timeout"), "{text}");
    world.sim.cluster().silence_controller(1, false);
    world.sim.cluster().log_in(&initiator("alpha"), "csi--v").unwrap();
    detach(&world, &volume, "alpha", Some(FencingProof::OutOfService)).await.unwrap();
    assert_eq!(world.sim.cluster().ledger.logged_off.len(), 1);
    export(&world, &volume, "beta").await.unwrap();
}

#[tokio::test]
async fn a_copied_initiators_name_is_not_taken_for_the_same_node() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    export(&world, &volume, "alpha").await.unwrap();
    let copy: NodeId = format!("copy;iscsi={}", initiator("alpha")).parse().unwrap();
    let order = AttachOrder { node: copy.clone(), ..to(&volume, "alpha") };
    let (kind, outcome, text) = told(world.backend.attach(&order).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("initiatorname.iscsi") && text.contains("node=copy"), "{text}");
    // Nor does taking it from the copy take it from the first.
    let order = DetachOrder { volume: volume.clone(), node: Some(copy), fence: None };
    world.backend.detach(&order).await.unwrap();
    assert_eq!(exported(&world)["csi--v"], ["alpha"]);
    // What another exported to the node is not taken over.
    let other = world.create("w").await.unwrap().id;
    let by_hand = export_by_hand("csi--w", "iqn.2026-01.example:beta");
    run(&world, &by_hand);
    let (kind, outcome, text) = told(export(&world, &other, "beta").await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("not by this driver"), "{text}");
}

#[tokio::test]
async fn whoever_is_faster_does_no_harm() {
    let world = world().await;
    // The initiator and the target come between the look and the order.
    for (name, commands) in [("a", 2), ("b", 1)] {
        let volume = world.create(name).await.unwrap().id;
        let native = volume.to_string();
        world.sim.order(storpoolsim::Rule::once("POST", "/iSCSIConfig", Fault::Late(80)));
        let order = to(&volume, name);
        let iqn = initiator(name);
        let by_hand = &export_by_hand(&native, &iqn)[..commands];
        let (done, ()) = tokio::join!(world.backend.attach(&order), async {
            tokio::time::sleep(Duration::from_millis(40)).await;
            run(&world, by_hand);
        });
        done.unwrap();
        assert_eq!(exported(&world)[&native], [name]);
    }
    // Another has it first.
    let volume = world.create("c").await.unwrap().id;
    export(&world, &world.create("d").await.unwrap().id, "gamma").await.unwrap();
    world.sim.order(storpoolsim::Rule::once("POST", "/iSCSIConfig", Fault::Late(80)));
    let order = to(&volume, "gamma");
    let beta = initiator("other");
    let (done, ()) = tokio::join!(world.backend.attach(&order), async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        run(&world, &export_by_hand("csi--c", &beta));
    });
    let (kind, outcome, text) = told(done);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert_eq!(exported(&world)["csi--c"], ["other"], "the first keeps it");
}

/// A client gets it while it is being exported, and the other way round.
#[tokio::test]
async fn the_two_ways_look_at_each_other_after_they_are_through() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    export(&world, &volume, "alpha").await.unwrap();
    withdraw(&world, &volume, "alpha").await.unwrap();
    for round in 0..10 {
        let export = to(&volume, "alpha");
        let other = other_process(&world).await;
        let (exporting, attaching) = tokio::join!(other.attach(&export), world.attach(&volume, 2));
        let both = (world.holders().contains_key("csi--v"), exported(&world).contains_key("csi--v"));
        assert_eq!((attaching.is_ok(), exporting.is_ok()), both, "{round}: {attaching:?} {exporting:?}");
        assert!(!(both.0 && both.1), "{round}");
        let all = DetachOrder { volume: volume.clone(), node: None, fence: None };
        world.backend.detach(&all).await.unwrap();
    }
}

/// The same back end in another process, which shares no turns.
async fn other_process(world: &World) -> StorpoolBackend {
    StorpoolBackend::open("fast", world.config.clone(), Default::default()).await.unwrap()
}

#[tokio::test]
async fn lost_answers_and_passing_errors_are_looked_into() {
    for fault in [
        Fault::LoseReply,
        Fault::Drop,
        Fault::Truncate,
        Fault::Html(502),
        Fault::GatewayTimeout(100),
        refuse(500, "busy", "try again", true),
    ] {
        let world = world().await;
        let volume = world.create("v").await.unwrap().id;
        let wrong = |fault: &Fault| {
            world.sim.order(storpoolsim::Rule::once("POST", "/iSCSIConfig", fault.clone()).times(2));
        };
        wrong(&fault);
        export(&world, &volume, "alpha").await.unwrap();
        assert_eq!(exported(&world)["csi--v"], ["alpha"], "{fault:?}");
        wrong(&fault);
        withdraw(&world, &volume, "alpha").await.unwrap();
        assert!(exported(&world).is_empty(), "{fault:?}");
        run(&world, &[("createTarget", vec![("volumeName", "csi--v")])]);
        wrong(&fault);
        world.backend.delete(&volume).await.unwrap();
        assert!(world.volumes().is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn what_is_set_wrong_is_told() {
    let world = with(|settings| settings.portal_group = "gp".to_owned()).await;
    let volume = world.create("v").await.unwrap().id;
    let (kind, outcome, text) = told(export(&world, &volume, "alpha").await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("\"gp\"") && text.contains("there are pg"), "{text}");
    let nobody = AttachOrder { node: "nobody".parse().unwrap(), ..attach(&volume, 1) };
    let (kind, outcome, text) = told(world.backend.attach(&nobody).await);
    assert_eq!((kind, outcome), (Kind::NotFound, Outcome::Refused), "{text}");
    world.backend.detach(&DetachOrder { volume, node: Some(nobody.node), fence: None }).await.unwrap();
    // A node that has both gets its volumes as its settings say.
    let both: NodeId = format!("n;storpool=d.n.1;iscsi={}", initiator("n")).parse().unwrap();
    let volume = world.create("w").await.unwrap().id;
    let order = AttachOrder { node: both.clone(), ..attach(&volume, 1) };
    world.backend.attach(&order).await.unwrap();
    assert_eq!(world.holders()["csi--w"], [1]);
    let all = with(|settings| settings.nodes = Served::All).await;
    let volume = all.create("w").await.unwrap().id;
    all.backend.attach(&AttachOrder { node: both, ..attach(&volume, 1) }).await.unwrap();
    assert!(all.holders().is_empty() && exported(&all)["csi--w"] == ["n"]);
    assert_eq!(told(all.attach(&volume, 2).await).0, Kind::NotFound);
    // Only what has a name can be exported.
    let unnamed: NativeId = all.foreign(None).parse().unwrap();
    let (kind, outcome, text) = told(export(&all, &unnamed, "n").await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("rename"), "{text}");
}

/// All of it but the network: the node is known by what it tells, and is told where to log in as a CO would tell it.
#[tokio::test]
async fn a_volume_goes_to_a_node_and_back() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: devices need root");
    }
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    let mut machine = Machine::new();
    let mut config = world.config.clone();
    config.conf_file = "/storpool.conf".into();
    config.iscsi.as_mut().unwrap().host_root = machine.path("");
    config.node.by_id = machine.path("dev/storpool-byid");
    config.node.by_name = machine.path("dev/storpool");
    let connector = StorpoolConnector::new(config, "alpha".to_owned())
        .with_patience(Duration::from_secs(10))
        .on(machine.iscsi(), machine.disks());
    let identity = connector.join().await.unwrap().identity.unwrap();
    let node = NodeId::new("alpha", [identity].into()).unwrap();
    let order = AttachOrder { node: node.clone(), ..attach(&volume, 1) };
    let context = world.backend.attach(&order).await.unwrap().to_context().unwrap();
    let attachment = Attachment::from_context(&context).unwrap();
    let Connection::Iscsi { target, portals, .. } = &attachment.connection else { panic!("{context:?}") };
    machine.export(target, portals[0], "sda", attachment.size.get());
    let device = connector.connect(&volume, &attachment).await.unwrap();
    assert_eq!((device.path, device.size), (machine.path("dev/sda"), attachment.size));
    world.sim.cluster().log_in(&initiator("node"), "csi--v").unwrap();
    let back = DetachOrder { volume: volume.clone(), node: Some(node), fence: None };
    assert_eq!(told(world.backend.detach(&back).await).0, Kind::Busy);
    connector.disconnect(&volume).await.unwrap();
    world.sim.cluster().log_out(&initiator("node"), "csi--v").unwrap();
    world.backend.detach(&back).await.unwrap();
    world.backend.delete(&volume).await.unwrap();
    assert!(machine.sessions() == 0 && world.volumes().is_empty() && exported(&world).is_empty());
}

/// A node keeps its name, and tells another initiator, or none and a client.
#[tokio::test]
async fn what_a_node_got_under_another_initiators_name_is_withdrawn() {
    let world = world().await;
    let later =
        [format!("alpha;iscsi={}", initiator("new")), "alpha;storpool=d.n.1".to_owned(), "alpha".to_owned()];
    for (number, later) in later.into_iter().enumerate() {
        let volume = world.create(&format!("v{number}")).await.unwrap().id;
        export(&world, &volume, "alpha").await.unwrap();
        let order = |name: &str| DetachOrder {
            volume: volume.clone(),
            node: Some(name.parse().unwrap()),
            fence: None,
        };
        let other = other_process(&world).await;
        other.detach(&order(&later.replace("alpha", "beta"))).await.unwrap();
        assert_eq!(exported(&world)[volume.as_str()], ["alpha"], "another node takes nothing from it");
        other.detach(&order(&later)).await.unwrap();
        assert!(exported(&world).is_empty(), "{later}");
        world.attach(&volume, 2).await.unwrap();
        world.detach(&volume, 2).await.unwrap();
        world.backend.delete(&volume).await.unwrap();
    }
}

/// The vendor tells 200 bytes for a name and its tags.
#[tokio::test]
async fn what_is_noted_for_people_gives_way_to_the_note_of_an_export() {
    let world = world().await;
    world.sim.cluster().config.room = Some(200);
    let tags = || world.sim.cluster().get("csi--v", storpoolsim::state::Kind::Volume).unwrap().tags.clone();
    let length = || 6 + tags().iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    let owner = |length: usize| crate::volume::Owner {
        claim: Some("c".repeat(length)),
        namespace: None,
        volume: None,
    };
    world
        .backend
        .create(&crate::backend::VolumeOrder { owner: owner(1), ..super::world::order("v") })
        .await
        .unwrap();
    // As much as a new volume may have, which leaves ten bytes.
    let claim = 1 + 190 - length();
    let id = "csi--v".parse().unwrap();
    world.backend.delete(&id).await.unwrap();
    let full = crate::backend::VolumeOrder { owner: owner(claim), ..super::world::order("v") };
    let volume = world.backend.create(&full).await.unwrap().id;
    assert_eq!(length(), 190, "{:?}", tags());
    export(&world, &volume, "alpha").await.unwrap();
    assert!(
        !tags().contains_key("fl-pvc") && tags().keys().any(|key| key.starts_with("fl-on")),
        "{:?}",
        tags()
    );
}

/// The cluster tells the passwords of all initiators to whoever asks what is exported.
#[tokio::test]
async fn passwords_of_other_initiators_are_in_no_message() {
    let secret = "geheim4242";
    let other = vec![("name", "iqn.a:b"), ("username", secret), ("secret", secret)];
    for fault in [Fault::Truncate, Fault::Garble, Fault::ContentType("text/html".to_owned())] {
        let world = world().await;
        run(&world, &[("setBaseName", vec![("name", "iqn.x:b")]), ("createInitiator", other.clone())]);
        let volume = world.create("v").await.unwrap().id;
        world.sim.order(storpoolsim::Rule::once("", "/iSCSIConfig", fault.clone()).times(99));
        let error = export(&world, &volume, "alpha").await.unwrap_err();
        let text = format!("{error} {error:?} {}", error.chain());
        assert!(text.contains("iscsi_config") && !text.contains(secret), "{fault:?}: {text}");
    }
}

/// An initiator is made in two steps, and the second may never have been taken.
#[tokio::test]
async fn an_initiator_that_may_log_in_from_nowhere_is_let_in() {
    let world = world().await;
    let make = |name: &'static str| {
        let initiator = initiator(name);
        run(
            &world,
            &[("createInitiator", vec![("name", initiator.as_str()), ("username", ""), ("secret", "")])],
        );
    };
    ["alpha", "beta"].into_iter().for_each(make);
    let own = ("initiatorAddNetwork", vec![("initiator", "iqn.2026-01.example:beta"), ("net", "10.0.0.0/8")]);
    run(&world, &[own]);
    for name in ["alpha", "beta", "gamma"] {
        let volume = world.create(name).await.unwrap().id;
        export(&world, &volume, name).await.unwrap();
        export(&world, &volume, name).await.unwrap();
    }
    let cluster = world.sim.cluster();
    let nets: Vec<_> = cluster.iscsi().initiators.values().map(|one| one.nets.clone()).collect();
    assert_eq!(nets, [["0.0.0.0/0"], ["10.0.0.0/8"], ["0.0.0.0/0"]]);
}
