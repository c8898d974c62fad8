//! Disks that say nothing of themselves, as a guest of Ganeti sees them.

use fairlead::volume::Content;

use crate::machine::{Bus, Machine, Plug};
use crate::node::{Node, Volume};

crate::tests![
    a_disk_without_a_serial_is_known_by_its_file_system,
    two_blank_disks_without_serials_are_refused_until_one_is_formatted,
];

fn volume(id: &str, disks: u32) -> Volume {
    Volume { disks: Some(disks), ..Volume::new(id, 64) }
}

async fn start(machine: &Machine) -> Node<'_> {
    Node::start_in(machine, "cyclades", "      server: 42").await
}

/// Plugs a disk in and waits until the guest sees as many.
fn plug(machine: &Machine, bus: Bus, image: &str, disks: u32) -> Plug {
    let plug = machine.plug(bus, image, None, 64);
    machine.run(&format!(
        "for i in $(seq 100); do [ $(ls -d /sys/block/[vs]d? | wc -l) = {disks} ] && exit 0; sleep 0.1; done; ls /sys/block; exit 1"
    ));
    plug
}

async fn a_disk_without_a_serial_is_known_by_its_file_system(machine: &Machine) {
    let node = start(machine).await;
    let info = node.info().await.unwrap();
    assert_eq!((info.node_id.as_str(), info.max_volumes_per_node), ("machine;nova=42", 7));
    let mut moving = volume("44", 1);
    let disk = plug(machine, Bus::Virtio, "nameless-44.img", 1);
    assert_eq!(machine.run("cat /sys/block/vda/serial").trim(), "", "it says nothing");
    node.bring_up(&moving).await;
    let target = moving.target();
    machine.run(&format!("dd if=/dev/urandom of={target}/data bs=1M count=8"));
    let sum = machine.run(&format!("md5sum < {target}/data"));
    node.bring_up(&moving).await;
    // Another process knows it again.
    let node = start(machine).await;
    node.bring_up(&moving).await;
    node.take_down(&moving).await;
    machine.unplug(&disk);
    // On the other bus and behind another disk that is as large: it is known by what is on it, also to who believes that it is
    // new.
    let other = plug(machine, Bus::Virtio, "nameless-45.img", 1);
    let disk = plug(machine, Bus::Scsi, "nameless-44.img", 2);
    moving.disks = Some(2);
    for content in [Content::New, Content::Data] {
        moving.content = content;
        node.bring_up(&moving).await;
        assert_eq!(
            machine.run(&format!("mount | grep '^/dev/sd.* {target} ' >/dev/null; md5sum < {target}/data")),
            sum
        );
        node.take_down(&moving).await;
    }
    // Without it, the blank one beside it is not taken for it.
    machine.unplug(&disk);
    let refused = node.stage(&moving).await.unwrap_err();
    assert!(refused.message().contains("by which the volume would be known"), "{refused:?}");
    machine.unplug(&other);
}

async fn two_blank_disks_without_serials_are_refused_until_one_is_formatted(machine: &Machine) {
    let node = start(machine).await;
    let (one, two) = (volume("46", 1), volume("47", 2));
    let first = plug(machine, Bus::Virtio, "nameless-46.img", 1);
    let second = plug(machine, Bus::Virtio, "nameless-47.img", 2);
    for volume in [&one, &two] {
        let refused = node.stage(volume).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");
        assert!(refused.message().contains("vda") && refused.message().contains("vdb"), "{refused:?}");
    }
    machine.unplug(&second);
    node.bring_up(&one).await;
    let second = plug(machine, Bus::Virtio, "nameless-47.img", 2);
    node.bring_up(&two).await;
    let mounts = machine.run("mount");
    for (volume, disk) in [(&one, "vda"), (&two, "vdb")] {
        assert!(mounts.contains(&format!("/dev/{disk} on {}", volume.target())), "{mounts}");
        node.take_down(volume).await;
    }
    machine.unplug(&second);
    machine.unplug(&first);
}
