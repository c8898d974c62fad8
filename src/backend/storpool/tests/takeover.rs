//! Volumes that StorPool's own driver made: without a name, known by their global id.

use super::world::{id, told, world};
use crate::backend::Backend;
use crate::error::Kind;
use crate::volume::{Bytes, Connection, Content, SizeRange};

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
