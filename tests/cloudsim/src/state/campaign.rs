//! Thousands of operations with faults: a cloud that is only asked through its services never gives a volume to two
//! servers, and comes to rest.

use std::time::Duration;

use super::*;

/// What may end.
const AT_REST: [&str; 6] = ["available", "in-use", "error", "error_deleting", "error_extending", "reserved"];

fn fate(dice: u64) -> Fate {
    let fails = dice.is_multiple_of(8).then(|| "because".to_owned());
    let takes = dice.is_multiple_of(3).then_some(dice % 500);
    let leaves = match dice % 50 {
        1 => Some(Leftover::Reserved),
        2 => Some(Leftover::Disk),
        _ => None,
    };
    Fate { fails, takes, leaves, registers: dice.is_multiple_of(5).then_some(200), ..Fate::default() }
}

#[test]
fn a_cloud_comes_to_rest_and_gives_a_volume_to_one_server() {
    for seed in 0..20 {
        let mut cloud = Cloud::new(Config { seed, ..Config::openstack() }, Duration::ZERO);
        let project = cloud.config.project("csi").unwrap().id.clone();
        let servers: Vec<_> = (0..4).map(|n| cloud.add_server(&project, &format!("s{n}"), "nova")).collect();
        let mut dice = Ids::new(seed + 1000);
        let mut roll = move |below: usize| {
            let number = u64::from_str_radix(&dice.secret()[..8], 16).unwrap();
            (usize::try_from(number).unwrap() % below, number)
        };
        let (mut begun, mut refused) = (0, 0);
        for _ in 0..2000 {
            let (kind, number) = roll(12);
            let caller = Caller { project: project.clone(), fate: fate(number), ..Caller::default() };
            let volumes: Vec<_> = cloud.volumes.iter().map(|volume| volume.id.clone()).collect();
            let volume = volumes.get(roll(volumes.len().max(1)).0).cloned().unwrap_or_default();
            let server = &servers[roll(servers.len()).0];
            let done = match kind {
                0 | 1 => {
                    let wish = VolumeWish { size: Some(1), ..VolumeWish::default() };
                    cloud.create_volume(&caller, wish).map(drop)
                }
                2..=5 => {
                    let wish = AttachWish { volume, ..AttachWish::default() };
                    cloud.attach(&caller, server, &wish).map(drop)
                }
                6..=8 => cloud.detach(&caller, server, &volume, false),
                9 => cloud.delete_volume(&caller, &volume, false),
                10 => cloud.extend_volume(&caller, &volume, 5, number.is_multiple_of(2)),
                _ if number.is_multiple_of(2) => {
                    cloud.stop_compute(server);
                    Ok(())
                }
                _ => {
                    cloud.start_compute(server);
                    Ok(())
                }
            };
            if done.is_ok() {
                begun += 1;
            } else {
                refused += 1;
            }
            let then = cloud.now() + Duration::from_millis(number % 120);
            cloud.advance(then);
        }
        assert!(begun > 300 && refused > 300, "{begun} begun, {refused} refused");
        for server in &servers {
            cloud.start_compute(server);
        }
        let then = cloud.now() + Duration::from_secs(3600);
        cloud.advance(then);
        assert!(cloud.ledger.violations().is_empty(), "seed {seed}: {:?}", cloud.ledger.violations());
        assert!(cloud.ledger.attaches > 50, "seed {seed}: {}", cloud.ledger.attaches);
        for volume in cloud.volumes.iter() {
            let (id, status) = (&volume.id, volume.status);
            assert!(AT_REST.contains(&status), "seed {seed}: {id} is {status}");
            let holders = cloud.ledger.holders(id);
            assert_eq!(holders.len(), usize::from(status == "in-use"), "seed {seed}: {id} is {status}");
        }
        for server in cloud.servers.iter() {
            assert!(server.working.is_none() && server.waiting.is_empty(), "seed {seed}: {server:?}");
        }
    }
}
