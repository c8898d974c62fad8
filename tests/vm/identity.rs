//! Who the machine is, as its node tells it.

use crate::machine::{Bus, Machine, SERVER, SLOTS};
use crate::node::Node;

crate::tests![
    the_firmware_tells_the_server_and_the_bus_how_many_disks_it_can_have,
    a_config_drive_tells_the_zone_and_is_mounted_nowhere,
    a_volume_that_poses_as_a_config_drive_is_not_asked,
];

const KEY: &str = "csi.fairlead.dev/cloud";

async fn the_firmware_tells_the_server_and_the_bus_how_many_disks_it_can_have(machine: &Machine) {
    let node = Node::start(machine, "      zone: az1").await;
    // A machine whose disks are virtio's, as a root disk shows.
    let root = machine.plug(Bus::Virtio, "root.img", None, 64);
    machine.run("for i in $(seq 100); do [ -e /sys/block/vda ] && exit 0; sleep 0.1; done; exit 1");
    let info = node.info().await.unwrap();
    assert_eq!(info.node_id, format!("machine;nova={SERVER}"));
    assert_eq!(info.accessible_topology.unwrap().segments[KEY], "az1");
    assert_eq!(usize::try_from(info.max_volumes_per_node).unwrap(), SLOTS - 1);
    // One of the slots is now a volume's: as many as before.
    let volume = machine.plug(Bus::Virtio, "a.img", Some("aaaaaaaa-0000-4000-8000-000000000001"), 64);
    machine.run("for i in $(seq 100); do [ -e /sys/block/vdb ] && exit 0; sleep 0.1; done; exit 1");
    assert_eq!(usize::try_from(node.info().await.unwrap().max_volumes_per_node).unwrap(), SLOTS - 1);
    machine.unplug(&volume);
    machine.unplug(&root);
    let info = node.info().await.unwrap();
    assert_eq!(info.max_volumes_per_node, 0, "without a disk no bus is known, and no limit");
}

/// Makes what is on the machine's only virtio disk a config drive.
fn write_drive(machine: &Machine, zone: &str) {
    machine.run(&format!(
        "for i in $(seq 100); do [ -e /dev/vda ] && break; sleep 0.1; done\n\
         mkfs.vfat -n config-2 /dev/vda; mkdir -p /tmp/drive; mount -t vfat /dev/vda /tmp/drive\n\
         mkdir -p /tmp/drive/openstack/latest\n\
         echo '{{\"uuid\":\"{SERVER}\",\"availability_zone\":\"{zone}\"}}' > /tmp/drive/openstack/latest/meta_data.json\n\
         umount /tmp/drive"
    ));
}

async fn a_config_drive_tells_the_zone_and_is_mounted_nowhere(machine: &Machine) {
    let drive = machine.plug(Bus::Virtio, "drive.img", None, 64);
    write_drive(machine, "az 7");
    let node = Node::start(machine, "      sources: [configDrive, dmi]").await;
    let info = node.info().await.unwrap();
    assert_eq!(info.node_id, format!("machine;nova={SERVER}"));
    assert_eq!(info.accessible_topology.unwrap().segments[KEY], "az_7");
    assert_eq!(machine.attempt("grep vda /proc/mounts").1, "1");
    machine.unplug(&drive);
}

async fn a_volume_that_poses_as_a_config_drive_is_not_asked(machine: &Machine) {
    let volume = machine.plug(Bus::Virtio, "posing.img", Some("aaaaaaaa-0000-4000-8000-000000000002"), 64);
    write_drive(machine, "evil");
    let node = Node::start(machine, "      sources: [configDrive]").await;
    let error = node.info().await.unwrap_err();
    assert!(error.message().contains("no disk has the label"), "{error:?}");
    machine.unplug(&volume);
}
