//! Volumes that StorPool's own driver made: without a name, known by their global id.

use super::world::{attach, id, order, parameters, told, world};
use crate::backend::{
    AttachOrder, Backend, DetachOrder, GroupOrder, SnapshotFilter, SnapshotOrder, VolumeOrder,
};
use crate::error::Kind;
use crate::volume::{Bytes, Connection, Content, NodeId, Parameters, SizeRange, Source};

#[tokio::test]
async fn a_volume_without_a_name_is_used_by_its_global_id() {
    let world = world().await;
    let handle = id(&world.foreign(None));
    let volume = world.backend.get(&handle).await.unwrap();
    assert_eq!((&volume.id, volume.content), (&handle, Content::Data), "never formatted");
    let attachment = world.attach(&handle, 1).await.unwrap();
    assert_eq!(attachment.connection, Connection::Storpool { global_id: handle.to_string(), name: None });
    assert_eq!(world.attach(&handle, 1).await.unwrap(), attachment);
    assert_eq!(told(world.attach(&handle, 2).await).0, Kind::FailedPrecondition);
    world.backend.expand(&handle, SizeRange::at_least(Bytes::gib(2))).await.unwrap();
    world.detach(&handle, 1).await.unwrap();
    world.backend.delete(&handle).await.unwrap();
    assert!(world.volumes().is_empty());
    world.backend.delete(&handle).await.unwrap();
}

#[tokio::test]
async fn a_volume_is_known_by_its_name_and_by_its_global_id() {
    let world = world().await;
    let (name, global) = (id("data"), id(&world.foreign(Some("data"))));
    for asked in [&name, &global] {
        assert_eq!(world.backend.ids(asked).await.unwrap(), [global.clone(), name.clone()]);
    }
    let unnamed = id(&world.foreign(None));
    assert_eq!(world.backend.ids(&unnamed).await.unwrap(), std::slice::from_ref(&unnamed));
    assert_eq!(told(world.backend.ids(&id("none")).await).0, Kind::NotFound);
}

#[tokio::test]
async fn a_reverted_volume_keeps_its_handle_and_its_link() {
    let world = world().await;
    let handle = id(&world.foreign(None));
    {
        let mut cluster = world.sim.cluster();
        let name = format!("~{handle}");
        let cut = storpoolsim::state::Cutting {
            volume: name.clone(),
            name: Some("s".into()),
            ..Default::default()
        };
        cluster.cut(vec![cut]).unwrap();
        cluster.revert(&name, "s", true).unwrap();
    }
    let attachment = world.attach(&handle, 1).await.unwrap();
    assert_eq!(attachment.connection, Connection::Storpool { global_id: handle.to_string(), name: None });
    assert_eq!(world.backend.get(&handle).await.unwrap().attached.len(), 1);
    world.detach(&handle, 1).await.unwrap();
    world.backend.delete(&handle).await.unwrap();
    assert!(world.volumes().is_empty());
}

/// Its volumes have the tag `csi_name`; its nodes are `<cluster id>.<number>`.
#[tokio::test]
async fn snapshots_and_copies_of_such_a_volume_are_those_of_any_other() {
    let world = world().await;
    let handle = id(&world.foreign(None));
    let note = |volume: &mut storpoolsim::state::Object| {
        volume.tags.insert("csi_name".into(), "pvc-1".into());
    };
    world.sim.cluster().alter(&format!("~{handle}"), note).unwrap();
    let its_node: NodeId = "d.n.2".parse().unwrap();
    let wanted = AttachOrder { node: its_node.clone(), ..attach(&handle, 1) };
    world.backend.attach(&wanted).await.unwrap();
    assert_eq!(world.holders()[&format!("~{handle}")], [2]);
    // A node of this driver is the same client.
    let attached = world.backend.get(&handle).await.unwrap().attached;
    assert!(attached.len() == 1 && attached[0].to_string() == "d.n.2", "{attached:?}");
    let cut = SnapshotOrder { name: "s".into(), volume: handle.clone(), parameters: Parameters::default() };
    let snapshot = world.backend.create_snapshot(&cut).await.unwrap();
    assert_eq!(snapshot.volume, handle);
    assert_eq!(world.backend.create_snapshot(&cut).await.unwrap(), snapshot);
    let of_it = SnapshotFilter { volume: Some(handle.clone()), ..Default::default() };
    let listed = world.backend.list_snapshots(&of_it, &Default::default()).await.unwrap();
    assert_eq!(listed.items, std::slice::from_ref(&snapshot));
    let volumes = vec![handle.clone()];
    let group = GroupOrder { name: "g".into(), volumes, parameters: Parameters::default() };
    let group = world.backend.create_group(&group).await.unwrap();
    assert_eq!(group.members[0].volume, handle);
    let sources = [
        ("c", Source::Volume(handle.clone()), "nvme"),
        ("m", Source::Volume(handle.clone()), "hybrid"),
        ("r", Source::Snapshot(snapshot.id.clone()), "nvme"),
    ];
    for (name, source, template) in sources {
        let parameters = parameters(&[("template", template)]);
        let made = VolumeOrder { source: Some(source.clone()), parameters, ..order(name) };
        let made = world.backend.create(&made).await.unwrap();
        assert_eq!((made.source, made.content), (Some(source), Content::Data));
    }
    world.backend.modify(&handle, &parameters(&[("iops", "500")])).await.unwrap();
    let grown = world.backend.expand(&handle, SizeRange::at_least(Bytes::gib(2))).await.unwrap();
    assert_eq!(grown.size, Bytes::gib(2));
    assert_eq!(told(world.backend.delete(&handle).await).0, Kind::FailedPrecondition, "it is attached");
    let detach = DetachOrder { volume: handle.clone(), node: Some(its_node), fence: None };
    world.backend.detach(&detach).await.unwrap();
    world.backend.detach(&detach).await.unwrap();
    world.backend.delete(&handle).await.unwrap();
    // It is not in lists, for it has not this driver's tags; what came of it is.
    let names: Vec<_> = world
        .backend
        .list(&Default::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, ["c", "m", "r"]);
    assert_eq!(world.backend.get_snapshot(&snapshot.id).await.unwrap(), snapshot, "it outlives its volume");
}
