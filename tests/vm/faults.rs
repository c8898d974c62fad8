//! Disks that are taken away while they are in use.

use std::time::{Duration, Instant};

use fairlead::volume::Content;

use crate::machine::{Bus, Machine};
use crate::node::{Node, Volume};

crate::tests![a_disk_that_is_unplugged_under_writes_hangs_nothing];

async fn a_disk_that_is_unplugged_under_writes_hangs_nothing(machine: &Machine) {
    let node = Node::start(machine, "      zone: az1").await;
    for (number, bus) in [(1, Bus::Virtio), (2, Bus::Scsi)] {
        let id = format!("cccccccc-{number:04}-4222-8333-444444444444");
        let image = format!("torn{number}.img");
        let mut volume = Volume::new(&id, 256);
        let plug = machine.plug(bus, &image, Some(&id), 256);
        node.bring_up(&volume).await;
        let (target, staging) = (volume.target(), volume.staging());
        machine.run(&format!("echo kept > {target}/kept; sync"));
        machine.run(&format!(
            "(while dd if=/dev/zero of={target}/log bs=64k count=200 conv=fsync; do :; done) >/dev/null 2>&1 &"
        ));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!node.health(&volume).await.unwrap().contains("DiskGone"));
        machine.unplug(&plug);
        let begun = Instant::now();
        let health = node.health(&volume).await.unwrap();
        assert!(health.contains("DiskGone"), "{health}");
        // The pod ends; then the kubelet takes the volume down.
        machine.run("for i in $(seq 100); do pidof dd || exit 0; sleep 0.1; done; exit 1");
        node.take_down(&volume).await;
        let took = begun.elapsed();
        eprintln!("{bus:?}, from unplugged to taken down: {:.1} s", took.as_secs_f64());
        assert!(took < Duration::from_secs(60), "{took:?}");
        assert_eq!(machine.attempt(&format!("grep {staging} /proc/mounts")).1, "1");
        // The controller must not believe that it is new any more.
        volume.content = Content::Data;
        let plug = machine.plug(bus, &image, Some(&id), 256);
        node.bring_up(&volume).await;
        machine.run(&format!("grep kept {target}/kept; echo again > {target}/again"));
        assert!(!node.health(&volume).await.unwrap().contains("Disk"), "it is well again");
        node.take_down(&volume).await;
        machine.unplug(&plug);
    }
}
