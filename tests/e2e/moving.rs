//! A volume follows its pod to another node.

use crate::cluster::{BTRFS, EXT4, XFS};
use crate::harness::{Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::provisioning::{VERIFY, WRITE};
use crate::space::Space;

crate::tests![data_moves_to_the_other_node_and_back: two_nodes];

async fn data_moves_to_the_other_node_and_back(space: &Space) -> Result {
    let [one, other] = space.cluster.two_nodes();
    for class in [EXT4, XFS, BTRFS] {
        space.claim(Claim::new(class).class(class).size("320Mi")).await?;
    }
    let pod = |name: &str, node: &str| {
        [EXT4, XFS, BTRFS].iter().fold(Draft::new(name).on(node), |pod, class| pod.mount(class))
    };
    let on_each = |script: &str| {
        let scripts =
            [EXT4, XFS, BTRFS].map(|class| format!("({})", script.replace("/data/", &format!("/{class}/"))));
        scripts.join(" && ")
    };
    let first = space.start(pod("first", one)).await?;
    let sums = first.sh(&on_each(WRITE)).await?;
    space.stop("first").await?;
    for (name, node) in [("second", other), ("third", one)] {
        let moved = space.start(pod(name, node)).await?;
        ensure(moved.node().await? == node, || format!("{name} is not on {node}"))?;
        let verified = moved.sh(&on_each(VERIFY)).await?;
        ensure(sums.lines().all(|sum| verified.contains(sum)), || {
            format!("written: {sums}; found on {node}: {verified}")
        })?;
        space.stop(name).await?;
    }
    Ok(())
}
