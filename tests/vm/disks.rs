//! Disks that come, grow and go.

use std::time::{Duration, Instant};

use fairlead::volume::Content;

use crate::machine::{Bus, Machine};
use crate::node::{Node, Volume, mount};

crate::tests![
    a_volume_lives_on_virtio_and_moves_to_scsi,
    a_disk_may_come_late,
    a_disk_that_never_comes_is_told_with_what_was_looked_for,
    the_clouds_device_name_is_not_believed,
    volumes_whose_ids_begin_alike_are_told_apart_or_refused,
    file_systems_grow_while_they_are_mounted,
    a_scsi_host_that_tells_nothing_is_asked,
    a_disk_that_took_the_place_of_another_is_not_taken_for_it,
];

/// Settings that every node of these tests has.
const SETTINGS: &str = "      zone: az1";

fn id(number: u32) -> String {
    format!("{number:08x}-1111-4222-8333-444444444444")
}

async fn a_volume_lives_on_virtio_and_moves_to_scsi(machine: &Machine) {
    let node = Node::start(machine, SETTINGS).await;
    let mut volume = Volume::new(&id(1), 256);
    let plug = machine.plug(Bus::Virtio, "move.img", Some(&volume.id), 256);
    let begun = Instant::now();
    node.bring_up(&volume).await;
    eprintln!("virtio, from plug to publish: {:.1} s", begun.elapsed().as_secs_f64());
    let target = volume.target();
    machine.run(&format!(
        "mount | grep '^/dev/vd.* {target} '; dd if=/dev/urandom of={target}/data bs=1M count=8"
    ));
    let sum = machine.run(&format!("md5sum < {target}/data"));
    // Asked again, it is as it was.
    node.bring_up(&volume).await;
    node.take_down(&volume).await;
    machine.unplug(&plug);
    // Plugged in again on the other bus, it is the same volume; the controller may still believe that it is new.
    let plug = machine.plug(Bus::Scsi, "move.img", Some(&volume.id), 256);
    node.bring_up(&volume).await;
    assert_eq!(
        machine.run(&format!("mount | grep '^/dev/sd.* {target} ' >/dev/null; md5sum < {target}/data")),
        sum
    );
    node.take_down(&volume).await;
    machine.unplug(&plug);
    volume.content = Content::Data;
    let plug = machine.plug(Bus::Virtio, "move.img", Some(&volume.id), 256);
    node.bring_up(&volume).await;
    assert_eq!(machine.run(&format!("md5sum < {target}/data")), sum);
    node.take_down(&volume).await;
    machine.unplug(&plug);
}

async fn a_disk_may_come_late(machine: &Machine) {
    let node = Node::start(machine, SETTINGS).await;
    for (number, bus) in [(2, Bus::Virtio), (3, Bus::Scsi)] {
        let volume = Volume::new(&id(number), 64);
        machine.run(&format!("mkdir -p {}", volume.staging()));
        // The stage waits meanwhile; it is the plugging that blocks this thread.
        let (stage, (plug, plugged)) = tokio::join!(node.stage_only(&volume), async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            (machine.plug(bus, &format!("late{number}.img"), Some(&volume.id), 64), Instant::now())
        });
        stage.unwrap();
        let took = plugged.elapsed();
        eprintln!("{bus:?}, from a late plug to staged (with mkfs): {:.1} s", took.as_secs_f64());
        assert!(took < Duration::from_secs(20), "{took:?}");
        node.unstage(&volume).await.unwrap();
        machine.unplug(&plug);
    }
}

async fn a_disk_that_never_comes_is_told_with_what_was_looked_for(machine: &Machine) {
    let node = Node::start(machine, SETTINGS).await;
    let other = machine.plug(Bus::Scsi, "other.img", Some(&id(5)), 64);
    let volume = Volume::new(&id(4), 64);
    let begun = Instant::now();
    let error = node.stage(&volume).await.unwrap_err();
    let took = begun.elapsed();
    assert_eq!(error.code(), tonic::Code::Unavailable, "{error:?}");
    for part in [&volume.id, &volume.id[..20], &id(5), "sda", "64 MiB"] {
        assert!(error.message().contains(part), "{part}: {error:?}");
    }
    assert!(took >= Duration::from_secs(55) && took < Duration::from_secs(90), "{took:?}");
    machine.unplug(&other);
}

async fn the_clouds_device_name_is_not_believed(machine: &Machine) {
    let node = Node::start(machine, SETTINGS).await;
    let (one, other) = (id(6), id(7));
    let plugs = [
        machine.plug(Bus::Virtio, "one.img", Some(&one), 64),
        machine.plug(Bus::Virtio, "other-one.img", Some(&other), 64),
    ];
    let mut volume = Volume::new(&one, 64);
    machine.run("for i in $(seq 100); do [ -e /dev/vdb ] && break; sleep 0.1; done");
    let find = |id: &str| {
        let short = id[..20].to_owned();
        machine.run(&format!(
            "cd /sys/block; for d in vd*; do [ \"$(cat $d/serial)\" = {short} ] && echo $d; done; true"
        ))
    };
    let (right, wrong) = (find(&one).trim().to_owned(), find(&other).trim().to_owned());
    assert!(right != wrong && !right.is_empty() && !wrong.is_empty(), "{right:?} {wrong:?}");
    volume.device = Some(format!("/dev/{wrong}"));
    node.stage(&volume).await.unwrap();
    machine.run(&format!("mount | grep '^/dev/{right} on {} '", volume.staging()));
    node.unstage(&volume).await.unwrap();
    plugs.iter().for_each(|plug| machine.unplug(plug));
}

async fn volumes_whose_ids_begin_alike_are_told_apart_or_refused(machine: &Machine) {
    let node = Node::start(machine, SETTINGS).await;
    let short = "bbbbbbbb-1111-4222-8";
    let twins = [format!("{short}000-000000000001"), format!("{short}000-000000000002")];
    let [first, second] = twins.clone().map(|id| Volume::new(&id, 64));
    let one = machine.plug(Bus::Virtio, "twin1.img", Some(&twins[0]), 64);
    node.bring_up(&first).await;
    machine.run(&format!("echo first > {}/mark; sync", first.target()));
    // The first one's disk is known to be the first one's.
    let two = machine.plug(Bus::Virtio, "twin2.img", Some(&twins[1]), 64);
    node.bring_up(&second).await;
    machine.run(&format!("[ ! -e {}/mark ]; echo second > {0}/mark; sync", second.target()));
    node.take_down(&second).await;
    // A new process knows nothing: then neither is taken.
    let node = Node::start(machine, SETTINGS).await;
    let error = node.stage(&second).await.unwrap_err();
    // Nothing final: it changes as soon as one of them is unplugged.
    assert_eq!(error.code(), tonic::Code::Aborted, "{error:?}");
    for part in ["vda", "vdb", short] {
        assert!(error.message().contains(part), "{part}: {error:?}");
    }
    machine.run(&format!("grep first {}/mark", first.target()));
    // On SCSI the whole id is seen.
    machine.unplug(&two);
    let two = machine.plug(Bus::Scsi, "twin2.img", Some(&twins[1]), 64);
    node.bring_up(&second).await;
    machine.run(&format!("grep second {}/mark", second.target()));
    node.take_down(&second).await;
    machine.unplug(&two);
    node.take_down(&first).await;
    machine.unplug(&one);
}

async fn file_systems_grow_while_they_are_mounted(machine: &Machine) {
    let node = Node::start(machine, SETTINGS).await;
    for (number, bus, fs) in
        [(8, Bus::Virtio, "ext4"), (9, Bus::Scsi, "ext4"), (10, Bus::Virtio, "xfs"), (11, Bus::Scsi, "xfs")]
    {
        let mut volume = Volume::new(&id(number), 320);
        volume.capability = mount(fs);
        let plug = machine.plug(bus, &format!("grow{number}.img"), Some(&volume.id), 320);
        node.bring_up(&volume).await;
        let target = volume.target();
        let kib = || {
            machine
                .run(&format!("df -k {target} | tail -1 | awk '{{ print $2 }}'"))
                .trim()
                .parse::<u64>()
                .unwrap()
        };
        let before = kib();
        // Somebody writes all the while.
        machine.run(&format!(
            "(while [ ! -e /tmp/stop ]; do echo x >> {target}/log; sleep 0.1; done) >/dev/null 2>&1 &"
        ));
        machine.grow(&plug, 640);
        let begun = Instant::now();
        assert_eq!(node.expand(&volume, 640).await.unwrap(), 640 << 20);
        eprintln!("{fs} on {bus:?} grown within {:.1} s", begun.elapsed().as_secs_f64());
        assert!(kib() > before + before / 2, "{before} KiB, then {} KiB", kib());
        machine.run("touch /tmp/stop; sleep 0.5; rm /tmp/stop");
        node.take_down(&volume).await;
        machine.unplug(&plug);
    }
}

async fn a_scsi_host_that_tells_nothing_is_asked(machine: &Machine) {
    let node = Node::start(machine, SETTINGS).await;
    let volume = Volume::new(&id(12), 64);
    let plug = machine.plug(Bus::Mute, "mute.img", Some(&volume.id), 64);
    let begun = Instant::now();
    node.bring_up(&volume).await;
    let took = begun.elapsed();
    // Most of it is the scan of all its targets, which without KVM takes a while.
    eprintln!("a mute SCSI host: {:.1} s", took.as_secs_f64());
    assert!(took < Duration::from_secs(50), "{took:?}");
    node.take_down(&volume).await;
    machine.unplug(&plug);
    forget(machine);
}

/// Lets the guest forget the disks of the host that tells it nothing, for the tests that count what there is.
fn forget(machine: &Machine) {
    machine.run("for disk in /sys/block/sd?; do [ ! -e $disk ] || echo 1 >$disk/device/delete; done");
}

async fn a_disk_that_took_the_place_of_another_is_not_taken_for_it(machine: &Machine) {
    let node = Node::start(machine, SETTINGS).await;
    let (first, second) = (Volume::new(&id(13), 64), Volume::new(&id(14), 64));
    let plug = machine.plug_at(Bus::Mute, "place1.img", Some(&first.id), 64, Some(3));
    node.bring_up(&first).await;
    machine.run(&format!("echo first > {}/mark", first.target()));
    node.take_down(&first).await;
    // The kernel does not learn of this, and still knows the first one's serial at that place.
    machine.unplug(&plug);
    let plug = machine.plug_at(Bus::Mute, "place2.img", Some(&second.id), 64, Some(3));
    let error = node.stage(&first).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unavailable, "{error:?}");
    node.bring_up(&second).await;
    machine.run(&format!("[ ! -e {}/mark ]", second.target()));
    node.take_down(&second).await;
    machine.unplug(&plug);
    // And where nobody looks for the first one.
    let third = Volume::new(&id(15), 64);
    let plug = machine.plug_at(Bus::Mute, "place3.img", Some(&third.id), 64, Some(3));
    node.bring_up(&third).await;
    node.take_down(&third).await;
    machine.unplug(&plug);
    forget(machine);
}
