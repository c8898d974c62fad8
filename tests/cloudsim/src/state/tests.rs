use std::time::Duration;

use super::*;

const ZERO: Duration = Duration::ZERO;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A cloud with two servers, and somebody who asks.
struct World {
    cloud: Cloud,
    caller: Caller,
    servers: [String; 2],
}

impl World {
    fn new() -> Self {
        let mut cloud = Cloud::new(Config::openstack(), Duration::from_secs(1_500_000_000));
        let project = cloud.config.project("csi").unwrap().id.clone();
        let servers = ["one", "two"].map(|name| cloud.add_server(&project, name, "nova"));
        let caller = Caller { project, request: "req-1".to_owned(), ..Caller::default() };
        Self { cloud, caller, servers }
    }

    fn pass(&mut self, time: Duration) {
        let now = self.cloud.now() + time;
        self.cloud.advance(now);
    }

    fn with(&self, fate: Fate) -> Caller {
        Caller { fate, ..self.caller.clone() }
    }

    fn failing(&self) -> Caller {
        self.with(Fate { fails: Some("because".to_owned()), ..Fate::default() })
    }

    fn wish(name: &str) -> VolumeWish {
        VolumeWish { name: Some(name.to_owned()), size: Some(1), ..VolumeWish::default() }
    }

    fn volume(&mut self) -> String {
        let id = self.cloud.create_volume(&self.caller, Self::wish("pvc-1")).unwrap();
        self.pass(ms(100));
        assert_eq!(self.status(&id), "available");
        id
    }

    fn status(&self, id: &str) -> &'static str {
        self.cloud.volumes.get(id).map_or("gone", |volume| volume.status)
    }

    fn attach(&mut self, caller: &Caller, server: usize, volume: &str) -> Result<Attach> {
        let wish = AttachWish { volume: volume.to_owned(), ..AttachWish::default() };
        self.cloud.attach(caller, &self.servers[server], &wish)
    }

    fn disks(&self, server: usize) -> Vec<&str> {
        let server = self.cloud.servers.get(&self.servers[server]).unwrap();
        server.disks.iter().map(|disk| disk.volume.as_str()).collect()
    }

    fn attached(&mut self, server: usize) -> String {
        let id = self.volume();
        let caller = self.caller.clone();
        assert!(matches!(self.attach(&caller, server, &id), Ok(Attach::Begun(_))));
        self.pass(ms(200));
        assert_eq!(self.status(&id), "in-use");
        id
    }
}

#[test]
fn an_attach_goes_through_its_states_and_back() {
    let mut world = World::new();
    let id = world.volume();
    let caller = world.caller.clone();
    world.attach(&caller, 0, &id).unwrap();
    assert_eq!((world.status(&id), world.disks(0)), ("reserved", vec![id.as_str()]));
    world.pass(ms(50));
    assert_eq!(world.status(&id), "attaching");
    assert!(world.cloud.ledger.holders(&id).is_empty());
    world.pass(ms(51));
    let told = world.cloud.attachments.iter().next().unwrap().status;
    assert_eq!((world.status(&id), told), ("attaching", "attached"), "the attachment is the first to know");
    world.pass(ms(9));
    assert_eq!(world.status(&id), "in-use");
    assert_eq!(world.cloud.ledger.holders(&id), [world.servers[0].clone()]);

    let server = world.servers[0].clone();
    world.cloud.detach(&caller, &server, &id, false).unwrap();
    assert_eq!(world.status(&id), "detaching");
    world.pass(ms(85));
    assert!(world.cloud.attachments.is_empty() && world.status(&id) == "detaching");
    world.pass(ms(20));
    assert_eq!(
        (world.status(&id), world.disks(0).len()),
        ("available", 1),
        "Nova's list is the last to know"
    );
    world.pass(ms(20));
    assert!(world.disks(0).is_empty() && world.cloud.ledger.holders(&id).is_empty());
}

#[test]
fn what_fails_ends_where_it_ends_in_a_real_cloud() {
    let mut world = World::new();
    let failing = world.failing();
    let broken = world.cloud.create_volume(&failing, World::wish("pvc-2")).unwrap();
    world.pass(ms(60));
    assert_eq!(world.status(&broken), "error");
    let message = world.cloud.messages.iter().next().unwrap();
    assert_eq!(
        (message.object.as_str(), message.text.as_str()),
        (broken.as_str(), "schedule allocate volume:because")
    );

    let id = world.volume();
    world.attach(&failing, 0, &id).unwrap();
    world.pass(ms(200));
    assert_eq!((world.status(&id), world.disks(0).len()), ("available", 0));
    let caller = world.caller.clone();
    world.attach(&caller, 0, &id).unwrap();
    world.pass(ms(200));
    let server = world.servers[0].clone();
    world.cloud.detach(&failing, &server, &id, false).unwrap();
    world.pass(ms(200));
    assert_eq!((world.status(&id), world.disks(0).len()), ("in-use", 1), "the detach is rolled back");
    world.cloud.detach(&caller, &server, &id, false).unwrap();
    world.pass(ms(200));
    world.cloud.extend_volume(&failing, &id, 2, false).unwrap();
    world.pass(ms(60));
    assert_eq!(world.status(&id), "error_extending");
    world.cloud.delete_volume(&failing, &id, false).unwrap();
    world.pass(ms(60));
    assert_eq!(world.status(&id), "error_deleting");
    let refused = world.cloud.delete_volume(&caller, &id, false).unwrap_err();
    assert_eq!(refused.why, Why::Invalid, "only an administrator can clear it");
}

#[test]
fn an_attach_before_the_service_is_noted_falls_back() {
    let mut world = World::new();
    let late = world.with(Fate { registers: Some(1000), ..Fate::default() });
    let id = world.cloud.create_volume(&late, World::wish("pvc-1")).unwrap();
    world.pass(ms(60));
    assert_eq!((world.status(&id), &world.cloud.volumes.get(&id).unwrap().service), ("available", &None));
    let caller = world.caller.clone();
    assert!(matches!(world.attach(&caller, 0, &id), Ok(Attach::Begun(_))));
    world.pass(ms(200));
    assert_eq!((world.status(&id), world.disks(0).len()), ("available", 0));
    world.pass(ms(1000));
    world.attach(&caller, 0, &id).unwrap();
    world.pass(ms(200));
    assert_eq!(world.status(&id), "in-use");
}

#[test]
fn an_attach_that_breaks_off_leaves_what_it_leaves() {
    let mut world = World::new();
    let (one, two) = (world.volume(), world.volume());
    let reserved = world.with(Fate { leaves: Some(Leftover::Reserved), ..Fate::default() });
    world.attach(&reserved, 0, &one).unwrap();
    world.pass(ms(500));
    assert_eq!((world.status(&one), world.disks(0).len()), ("reserved", 0));
    let caller = world.caller.clone();
    let refused = world.attach(&caller, 1, &one).unwrap_err();
    assert!(refused.text.contains("the current status is reserved"), "{refused:?}");
    let attachment = world.cloud.attachments.iter().next().unwrap().id.clone();
    world.cloud.delete_attachment(&caller, &attachment).unwrap();
    assert_eq!(world.status(&one), "available", "nobody uses it, so it can be let go");

    let disk = world.with(Fate { leaves: Some(Leftover::Disk), ..Fate::default() });
    world.attach(&disk, 0, &two).unwrap();
    world.pass(ms(500));
    assert_eq!((world.status(&two), world.disks(0)), ("available", vec![two.as_str()]));
    let refused = world.attach(&caller, 0, &two).unwrap_err();
    assert!(refused.text.contains("is already attached to instances"), "{refused:?}");
    let server = world.servers[0].clone();
    let refused = world.cloud.detach(&caller, &server, &two, false).unwrap_err();
    assert!(refused.text.contains("Volume status must be 'in-use'"), "{refused:?}");
    world.cloud.drop_server(&server);
    world.attach(&caller, 1, &two).unwrap();
}

#[test]
fn a_compute_service_that_was_down_does_what_was_asked_when_it_is_back() {
    let mut world = World::new();
    let id = world.volume();
    let caller = world.caller.clone();
    let server = world.servers[0].clone();
    world.cloud.stop_compute(&server);
    assert_eq!(world.attach(&caller, 0, &id), Ok(Attach::TimesOut));
    assert_eq!((world.status(&id), world.disks(0).len()), ("available", 0));
    world.cloud.start_compute(&server);
    assert_eq!((world.status(&id), world.disks(0)), ("available", vec![id.as_str()]), "a phantom");

    let other = world.attached(1);
    let server = world.servers[1].clone();
    world.cloud.stop_compute(&server);
    world.cloud.detach(&caller, &server, &other, false).unwrap();
    world.pass(Duration::from_secs(100));
    assert_eq!(world.status(&other), "detaching");
    world.cloud.start_compute(&server);
    world.pass(ms(200));
    assert_eq!((world.status(&other), world.disks(1).len()), ("available", 0));
}

#[test]
fn a_server_does_one_thing_after_the_other() {
    let mut world = World::new();
    let (first, second, third) = (world.attached(0), world.volume(), world.volume());
    let caller = world.caller.clone();
    world.attach(&caller, 0, &second).unwrap();
    assert_eq!(world.attach(&caller, 0, &third), Ok(Attach::Wait));
    let server = world.servers[0].clone();
    world.cloud.detach(&caller, &server, &first, false).unwrap();
    world.pass(ms(110));
    assert_eq!((world.status(&second), world.status(&first)), ("in-use", "detaching"));
    assert_eq!(world.attach(&caller, 0, &third), Ok(Attach::Wait));
    world.pass(ms(120));
    assert_eq!(world.status(&first), "available");
    assert!(matches!(world.attach(&caller, 0, &third), Ok(Attach::Begun(_))));
}

#[test]
fn what_servers_may_not_have_is_refused() {
    let mut world = World::new();
    let id = world.volume();
    let caller = world.caller.clone();
    world.cloud.config.server_disks = Some(2);
    let first = world.attached(0);
    let refused = world.attach(&caller, 0, &id).unwrap_err();
    assert_eq!((refused.why, refused.text.contains("disk devices (2)")), (Why::Forbidden, true));
    let refused = world.attach(&caller, 1, &first).unwrap_err();
    assert!(refused.text.contains("already attached to instances"), "{refused:?}");
    let server = world.servers[1].clone();
    world.cloud.change_server(&server, |server| server.task_state = Some("rebooting".to_owned()));
    let refused = world.attach(&caller, 1, &id).unwrap_err();
    assert_eq!(refused.why, Why::Conflict);
    assert!(refused.text.contains("while it is in task_state rebooting"), "{refused:?}");
    world.cloud.change_server(&server, |server| {
        server.task_state = None;
        server.vm_state = "building".to_owned();
    });
    let refused = world.attach(&caller, 1, &id).unwrap_err();
    assert!(refused.text.contains("vm_state building"), "{refused:?}");
    world.cloud.config.zones.push("other".to_owned());
    world.cloud.config.cross_zone_attach = false;
    world.cloud.change_server(&server, |server| {
        server.vm_state = "active".to_owned();
        server.zone = "other".to_owned();
    });
    let refused = world.attach(&caller, 1, &id).unwrap_err();
    assert!(refused.text.contains("not in the same availability_zone"), "{refused:?}");
}

#[test]
fn shared_volumes_are_with_several_servers_and_others_never() {
    let mut world = World::new();
    let caller = world.caller.clone();
    let wish = VolumeWish { kind: Some("multiattach".to_owned()), ..World::wish("pvc-1") };
    let id = world.cloud.create_volume(&caller, wish).unwrap();
    world.pass(ms(100));
    let refused = world.attach(&caller, 0, &id).unwrap_err();
    assert!(refused.text.contains("2.60"), "{refused:?}");
    let wish = AttachWish { volume: id.clone(), shared: true, ..AttachWish::default() };
    for server in world.servers.clone() {
        world.cloud.attach(&caller, &server, &wish).unwrap();
        world.pass(ms(200));
    }
    assert_eq!(world.cloud.ledger.holders(&id).len(), 2);
    assert!(world.cloud.ledger.violations().is_empty());
    let server = world.servers[0].clone();
    world.cloud.detach(&caller, &server, &id, false).unwrap();
    world.pass(ms(200));
    assert_eq!(world.status(&id), "in-use", "the other server has it still");
    let mut ledger = Ledger::default();
    ledger.plug("v", "a", false, ZERO);
    ledger.plug("v", "b", false, ZERO);
    let servers = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(ledger.violations(), [Violation::TwoServers { volume: "v".to_owned(), servers, at: ZERO }]);
    ledger.delete("v", ZERO);
    assert_eq!(ledger.violations().len(), 2);
}

#[test]
fn work_is_held_until_it_is_let_go_on() {
    let mut world = World::new();
    world.cloud.hold(Phase::Create);
    let id = world.cloud.create_volume(&world.caller, World::wish("pvc-1")).unwrap();
    world.pass(Duration::from_secs(1000));
    assert_eq!(world.status(&id), "creating");
    world.cloud.release(Phase::Create);
    assert_eq!(world.status(&id), "available");

    let held = world.with(Fate { held: true, ..Fate::default() });
    let one = world.cloud.create_volume(&held, World::wish("pvc-2")).unwrap();
    let two = world.cloud.create_volume(&held, World::wish("pvc-3")).unwrap();
    world.pass(Duration::from_secs(1000));
    assert_eq!((world.status(&one), world.status(&two)), ("creating", "creating"));
    assert_eq!(world.cloud.go_on(&one), 1);
    assert_eq!((world.status(&one), world.status(&two)), ("available", "creating"));
    assert_eq!(world.cloud.go_on(&one), 0);
    world.pass(ms(10));
    world.attach(&held, 0, &one).unwrap();
    world.pass(Duration::from_secs(1000));
    assert_eq!(world.status(&one), "reserved");
    assert_eq!(world.cloud.go_on(&one), 2);
    world.pass(ms(10));
    assert_eq!(world.status(&one), "in-use");
}

#[test]
fn twins_and_leaks_are_seen() {
    let mut world = World::new();
    let (one, two) = (world.volume(), world.volume());
    assert_eq!(world.cloud.twins()["pvc-1"], [one.clone(), two.clone()]);
    assert_eq!(world.cloud.leaks(&[&one]), std::slice::from_ref(&two));
    let caller = world.caller.clone();
    world.cloud.delete_volume(&caller, &two, false).unwrap();
    world.pass(ms(60));
    assert!(world.cloud.twins().is_empty() && world.cloud.leaks(&[&one]).is_empty());
}

#[test]
fn zones_fall_back_only_where_the_cloud_lets_them() {
    let mut world = World::new();
    let wish = VolumeWish { zone: Some("mars".to_owned()), ..World::wish("pvc-1") };
    let refused = world.cloud.create_volume(&world.caller, wish.clone()).unwrap_err();
    assert_eq!(refused, Refusal::invalid("Availability zone 'mars' is invalid."));
    world.cloud.config.zone_fallback = true;
    let id = world.cloud.create_volume(&world.caller, wish).unwrap();
    assert_eq!(world.cloud.volumes.get(&id).unwrap().zone, "nova");
}

#[test]
fn quotas_hold() {
    let mut world = World::new();
    let project = world.cloud.config.project("csi2").unwrap().id.clone();
    let caller = Caller { project, ..Caller::default() };
    let big = VolumeWish { size: Some(11), ..World::wish("a") };
    let refused = world.cloud.create_volume(&caller, big).unwrap_err();
    assert!(refused.why == Why::OverQuota && refused.text.contains("quota is 10G and 0G"), "{refused:?}");
    for _ in 0..3 {
        world.cloud.create_volume(&caller, World::wish("a")).unwrap();
    }
    let refused = world.cloud.create_volume(&caller, World::wish("a")).unwrap_err();
    assert!(
        refused.text.starts_with("VolumeLimitExceeded: Maximum number of volumes allowed (3)"),
        "{refused:?}"
    );
}
