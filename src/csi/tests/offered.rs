//! What is advertised, by the numbers that the CSI specification gives.

use super::*;
use crate::backend::{Capabilities, Expansion};

/// The numbers of what is advertised: of the plugin (services, then ways to grow), the controller, groups, and the node.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    services: Vec<i32>,
    growth: Vec<i32>,
    controller: Vec<i32>,
    group: Vec<i32>,
    node: Vec<i32>,
}

/// As callers hear it.
async fn told(can: Capabilities) -> Told {
    told_by(Wire::new(Fake::new(can)).await).await
}

async fn told_by(wire: Wire) -> Told {
    let plugin = wire.identity().get_plugin_capabilities(csi::GetPluginCapabilitiesRequest {}).await;
    let (mut services, mut growth) = (Vec::new(), Vec::new());
    for one in plugin.unwrap().into_inner().capabilities {
        match one.r#type.unwrap() {
            csi::plugin_capability::Type::Service(one) => services.push(one.r#type),
            csi::plugin_capability::Type::VolumeExpansion(one) => growth.push(one.r#type),
        }
    }
    let request = csi::ControllerGetCapabilitiesRequest {};
    let answer = wire.controller().controller_get_capabilities(request).await.unwrap().into_inner();
    let controller = answer.capabilities.into_iter().map(|one| match one.r#type.unwrap() {
        csi::controller_service_capability::Type::Rpc(rpc) => rpc.r#type,
    });
    let request = csi::GroupControllerGetCapabilitiesRequest {};
    let answer = wire.group().group_controller_get_capabilities(request).await.unwrap().into_inner();
    let group = answer.capabilities.into_iter().map(|one| match one.r#type.unwrap() {
        csi::group_controller_service_capability::Type::Rpc(rpc) => rpc.r#type,
    });
    let answer = wire.node().node_get_capabilities(csi::NodeGetCapabilitiesRequest {}).await;
    let node = answer.unwrap().into_inner().capabilities.into_iter().map(|one| match one.r#type.unwrap() {
        csi::node_service_capability::Type::Rpc(rpc) => rpc.r#type,
    });
    let mut controller: Vec<_> = controller.collect();
    controller.sort_unstable();
    Told { services, growth, controller, group: group.collect(), node: node.collect() }
}

#[tokio::test]
async fn the_capabilities_are_those_that_were_agreed_on() {
    let all = Told {
        services: vec![1, 2, 3],
        growth: vec![1, 2],
        controller: vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17],
        group: vec![1],
        node: vec![1, 2, 3, 5, 7],
    };
    assert_eq!(told(Capabilities::ALL).await, all);
    let wire = Wire::new(Fake::default()).await;
    let health = wire.node().node_get_storage_health(csi::NodeGetStorageHealthRequest::default()).await;
    assert_eq!(failed(health), Code::Unimplemented);
}

#[tokio::test]
async fn what_no_back_end_can_do_is_not_advertised() {
    let least = Told {
        services: vec![1, 2],
        growth: vec![],
        // Changing attributes too: to be told that there are none.
        controller: vec![1, 2, 3, 4, 10, 12, 13, 14, 16, 17],
        group: vec![],
        node: vec![1, 2, 5, 7],
    };
    let none = Capabilities::NONE;
    assert_eq!(told(none).await, least);
    // Of each: what it adds.
    let controller = |more: &[i32]| {
        let mut all = [least.controller.as_slice(), more].concat();
        all.sort_unstable();
        all
    };
    let snapshots = told(Capabilities { snapshots: true, ..none }).await;
    assert_eq!((snapshots.controller, snapshots.services), (controller(&[5, 6, 15]), vec![1, 2]));
    let groups = told(Capabilities { group_snapshots: true, ..none }).await;
    assert_eq!((groups.services, groups.group), (vec![1, 2, 3], vec![1]));
    for (can, more) in
        [(Capabilities { clones: true, ..none }, 7), (Capabilities { readonly_attach: true, ..none }, 8)]
    {
        assert_eq!(told(can).await.controller, controller(&[more]));
    }
    for (expansion, growth) in [(Expansion::Offline, vec![2]), (Expansion::Online, vec![1, 2])] {
        let grows = told(Capabilities { expansion, ..none }).await;
        assert_eq!(
            (grows.controller, grows.node, grows.growth),
            (controller(&[9]), vec![1, 2, 3, 5, 7], growth)
        );
    }
}

/// Such volumes are in no listing, and external-attacher would attach them again every minute.
#[tokio::test]
async fn where_volumes_are_taken_over_no_listing_is_said_to_tell_who_has_them() {
    let ready: Ready = Arc::new(|| Ok(()));
    let wire = Wire::taking_over(Some("here"), Fake::new(Capabilities::ALL), Serves::All, ready).await;
    let mut all = told(Capabilities::ALL).await.controller;
    assert!(all.contains(&10));
    all.retain(|number| *number != 10);
    assert_eq!(told_by(wire).await.controller, all);
}
