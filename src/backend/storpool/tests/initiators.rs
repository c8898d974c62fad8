//! The node's side without `storpool_block`: up to the login command and from the disks that it gives, on a made-up machine.

use std::net::SocketAddr;
use std::time::Duration;

use super::world::{id, told};
use crate::backend::Connector;
use crate::backend::storpool::config::{IscsiSettings, Served};
use crate::backend::storpool::{StorpoolConfig, StorpoolConnector};
use crate::error::{Kind, Outcome};
use crate::host::iscsi::fake::Machine;
use crate::volume::{Attachment, Bytes, Connection, Content};

const TARGET: &str = "iqn.2026-01.example:sim:csi--v";
const MIB: u64 = 1 << 20;

fn portal(n: usize) -> SocketAddr {
    ["10.0.0.1:3260", "10.1.0.1:3260"][n].parse().unwrap()
}

fn attachment(size: u64) -> Attachment {
    let connection = Connection::Iscsi {
        volume: "csi--v".into(),
        target: TARGET.into(),
        lun: 0,
        portals: vec![portal(0), portal(1)],
    };
    Attachment {
        nonce: "32768-x".into(),
        size: Bytes::new(size),
        content: Content::New,
        readonly: false,
        connection,
    }
}

fn connector(machine: &Machine, multipath: bool) -> StorpoolConnector {
    let settings = IscsiSettings { multipath, ..IscsiSettings::new("pg") };
    with(machine, settings)
}

fn with(machine: &Machine, settings: IscsiSettings) -> StorpoolConnector {
    let mut config = StorpoolConfig {
        conf_file: machine.path("storpool.conf"),
        iscsi: Some(settings),
        ..StorpoolConfig::default()
    };
    config.node.by_id = machine.path("dev/storpool-byid");
    config.node.by_name = machine.path("dev/storpool");
    StorpoolConnector::new(config, "alpha".to_owned())
        .with_patience(Duration::from_millis(300))
        .on(machine.iscsi(), machine.disks())
}

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: devices need root");
    }
    root
}

/// How iscsiadm is called for a portal.
fn call(n: usize, rest: &str) -> String {
    format!("iscsiadm -m node -T {TARGET} -p {}{}{rest}", portal(n), if rest.is_empty() { "" } else { " " })
}

fn login(n: usize) -> Vec<String> {
    [
        "",
        "--op new",
        "--op update -n node.startup -v manual",
        "--op update -n node.session.initial_login_retry_max -v 2",
        "--login",
    ]
    .map(|rest| call(n, rest))
    .to_vec()
}

#[tokio::test]
async fn a_node_logs_in_finds_its_disk_and_logs_out() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    machine.export(TARGET, portal(0), "sda", MIB);
    machine.export(TARGET, portal(1), "sdb", MIB);
    let (connector, volume) = (connector(&machine, false), id("csi--v"));
    assert_eq!(connector.find(&volume).await.unwrap(), None);
    connector.disconnect(&volume).await.unwrap();
    assert!(machine.calls().is_empty());
    let device = connector.connect(&volume, &attachment(MIB)).await.unwrap();
    assert_eq!((device.path.clone(), device.size), (machine.path("dev/sda"), Bytes::mib(1)));
    assert_eq!(machine.calls(), login(0), "one session is enough");
    // Again, and in another process: there is the session.
    assert_eq!(connector.connect(&volume, &attachment(MIB)).await.unwrap(), device);
    let other = self::connector(&machine, false);
    assert_eq!(other.find(&volume).await.unwrap(), Some(device.clone()));
    assert!(other.health(&volume).await.unwrap().is_empty());
    assert!(machine.calls().is_empty());
    // Nobody logs out while it is in use.
    let open = nix::fcntl::open(
        &device.path,
        nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_EXCL,
        nix::sys::stat::Mode::empty(),
    );
    let (kind, outcome, text) = told(other.disconnect(&volume).await);
    assert_eq!((kind, outcome), (Kind::Busy, Outcome::Unknown), "{text}");
    assert!(machine.calls().is_empty());
    drop(open.unwrap());
    std::fs::write(machine.path("busy"), "").unwrap();
    assert_eq!(told(other.disconnect(&volume).await).0, Kind::Busy, "open-iscsi knows better");
    std::fs::remove_file(machine.path("busy")).unwrap();
    machine.calls();
    other.disconnect(&volume).await.unwrap();
    assert_eq!(machine.calls(), [call(0, "--logout"), call(0, "--op delete")]);
    assert_eq!((machine.sessions(), other.find(&volume).await.unwrap()), (0, None));
    other.disconnect(&volume).await.unwrap();
    assert!(machine.calls().is_empty());
}

#[tokio::test]
async fn a_session_that_comes_at_the_same_time_is_the_one() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    machine.export(TARGET, portal(0), "sda", MIB);
    let (connector, volume) = (connector(&machine, false), id("csi--v"));
    // iscsiadm knows of a session that sysfs does not show yet: exit code 15.
    let record = machine.path(&format!("db/{TARGET}@{}", portal(0)));
    std::fs::create_dir_all(&record).unwrap();
    std::fs::write(record.join("session"), "7").unwrap();
    let (kind, outcome, text) = told(connector.connect(&volume, &attachment(MIB)).await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("no session") && text.contains("volume=csi--v"), "{text}");
    std::fs::remove_file(record.join("session")).unwrap();
    connector.connect(&volume, &attachment(MIB)).await.unwrap();
}

#[tokio::test]
async fn a_portal_that_does_not_answer_is_passed_by() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    machine.export(TARGET, portal(0), "sda", MIB);
    machine.export(TARGET, portal(1), "sdb", MIB);
    let (connector, volume) = (connector(&machine, false), id("csi--v"));
    machine.refuse(portal(0), Some(8));
    machine.refuse(portal(1), Some(20));
    let (kind, outcome, text) = told(connector.connect(&volume, &attachment(MIB)).await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("exit code 20") && text.contains("start iscsid"), "{text}");
    assert!(text.contains("portal=10.1.0.1:3260") && text.contains(TARGET), "{text}");
    machine.refuse(portal(1), None);
    let device = connector.connect(&volume, &attachment(MIB)).await.unwrap();
    assert_eq!(device.path, machine.path("dev/sdb"));
    // What the export was withdrawn from.
    connector.disconnect(&volume).await.unwrap();
    std::fs::rename(machine.path("targets").join(TARGET), machine.path("targets/gone")).unwrap();
    machine.refuse(portal(0), None);
    let (kind, _, text) = told(connector.connect(&volume, &attachment(MIB)).await);
    assert!(kind == Kind::Unavailable && text.contains("still exported"), "{text}");
}

#[tokio::test]
async fn several_paths_are_used_through_their_map_alone() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    machine.export(TARGET, portal(0), "sda", MIB);
    machine.export(TARGET, portal(1), "sdb", MIB);
    let (connector, volume) = (connector(&machine, true), id("csi--v"));
    let (kind, outcome, text) = told(connector.connect(&volume, &attachment(MIB)).await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("multipathd") && text.contains("2 disks in 2 sessions"), "{text}");
    let calls = machine.calls();
    assert!(login(0).iter().chain(&login(1)).all(|call| calls.contains(call)), "{calls:?}");
    assert_eq!(connector.find(&volume).await.unwrap(), None, "never one of the paths");
    // Nor is one of them taken by a driver that knows of no multipath.
    let single = self::connector(&machine, false);
    let (kind, _, text) = told(single.connect(&volume, &attachment(MIB)).await);
    assert!(kind == Kind::FailedPrecondition && text.contains("sda and sdb"), "{text}");
    machine.map(&["sda", "sdb"], MIB);
    let device = connector.connect(&volume, &attachment(MIB)).await.unwrap();
    assert_eq!(device.path, machine.path("dev/dm-0"));
    assert_eq!(connector.find(&volume).await.unwrap(), Some(device.clone()));
    assert_eq!(single.find(&volume).await.unwrap(), Some(device.clone()), "a map that is there is used");
    assert!(machine.calls().is_empty(), "one login for each portal");
    // It grows: the paths first, then the map.
    let larger = connector.clone().with_patience(Duration::from_secs(10));
    let (grown, ()) = tokio::join!(larger.refresh(&volume, Bytes::mib(2)), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        machine.grow(&["sda", "sdb"], 2 * MIB);
    });
    assert_eq!(grown.unwrap().size, Bytes::mib(2));
    assert!(machine.calls().contains(&"multipathd resize map mpatha".to_owned()));
    // The map goes first, and not while somebody has it.
    std::fs::write(machine.path("busy"), "").unwrap();
    let (kind, _, text) = told(connector.disconnect(&volume).await);
    assert!(kind == Kind::Busy && text.contains("map in use"), "{text}");
    assert_eq!((machine.sessions(), machine.calls()), (2, vec!["multipath -f mpatha".to_owned()]));
    std::fs::remove_file(machine.path("busy")).unwrap();
    connector.disconnect(&volume).await.unwrap();
    let calls = machine.calls();
    assert_eq!(calls[0], "multipath -f mpatha");
    assert!(calls.contains(&call(0, "--logout")) && calls.contains(&call(1, "--logout")), "{calls:?}");
    assert_eq!((machine.sessions(), connector.find(&volume).await.unwrap()), (0, None));
}

#[tokio::test]
async fn a_path_that_is_missing_leaves_the_map_of_the_others() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    machine.export(TARGET, portal(0), "sda", MIB);
    machine.export(TARGET, portal(1), "sdb", MIB);
    machine.refuse(portal(1), Some(8));
    let connector = connector(&machine, true).with_patience(Duration::from_secs(10));
    let (volume, order) = (id("csi--v"), attachment(MIB));
    let (connected, ()) = tokio::join!(connector.connect(&volume, &order), async {
        while machine.sessions() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        machine.map(&["sda"], MIB);
    });
    assert_eq!(connected.unwrap().path, machine.path("dev/dm-0"));
    // A map with a path of something else is not the volume's.
    std::fs::write(machine.path("sys/block/dm-0/slaves/sdz"), "").unwrap();
    let (kind, outcome, text) = told(connector.find(&volume).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("sdz"), "{text}");
    std::fs::remove_file(machine.path("sys/block/dm-0/slaves/sdz")).unwrap();
    connector.disconnect(&volume).await.unwrap();
}

#[tokio::test]
async fn a_disk_of_another_size_and_one_that_others_use_are_not_taken() {
    if !root() {
        return;
    }
    let mut machine = Machine::new();
    machine.export(TARGET, portal(0), "sda", MIB);
    let (connector, volume) = (connector(&machine, false), id("csi--v"));
    let (kind, outcome, text) = told(connector.connect(&volume, &attachment(2 * MIB)).await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("1 MiB") && text.contains("2 MiB"), "{text}");
    // It was told to ask again.
    machine.grow(&["sda"], 2 * MIB);
    let device = connector.connect(&volume, &attachment(2 * MIB)).await.unwrap();
    assert_eq!(device.size, Bytes::mib(2));
    // Read-only is this kernel's own doing: an export has no rights.
    let readonly = Attachment { readonly: true, ..attachment(2 * MIB) };
    connector.connect(&volume, &readonly).await.unwrap();
    let refused = std::fs::OpenOptions::new().write(true).open(&device.path).and_then(|mut file| {
        use std::io::Write as _;
        file.write_all(&[1; 4096]).and_then(|()| file.sync_all())
    });
    assert!(refused.is_err());
    // Something was made of it that is no multipath.
    std::fs::write(machine.path("sys/block/sda/holders/dm-7"), "").unwrap();
    let (kind, _, text) = told(connector.disconnect(&volume).await);
    assert!(kind == Kind::Busy && text.contains("dm-7"), "{text}");
    std::fs::remove_file(machine.path("sys/block/sda/holders/dm-7")).unwrap();
    // A disk that cannot be reached now is none.
    std::fs::write(machine.path("sys/block/sda/device/state"), "transport-offline").unwrap();
    assert_eq!(connector.find(&volume).await.unwrap(), None);
    std::fs::write(machine.path("sys/block/sda/device/state"), "running").unwrap();
    connector.disconnect(&volume).await.unwrap();
}

#[tokio::test]
async fn what_is_no_attachment_of_the_volume_is_refused_before_anything_is_run() {
    let machine = Machine::new();
    let connector = connector(&machine, false);
    let of = |change: &dyn Fn(&mut String, &mut String, &mut Vec<SocketAddr>)| {
        let (mut volume, mut target, mut portals) = ("csi--v".to_owned(), TARGET.to_owned(), vec![portal(0)]);
        change(&mut volume, &mut target, &mut portals);
        Attachment { connection: Connection::Iscsi { volume, target, lun: 0, portals }, ..attachment(MIB) }
    };
    for wrong in [
        of(&|volume, _, _| *volume = "csi--w".into()),
        of(&|_, target, _| *target = "--logoutall=all".into()),
        of(&|_, target, _| *target = "iqn.x/../y".into()),
        of(&|_, _, portals| portals.clear()),
    ] {
        let (kind, outcome, text) = told(connector.connect(&id("csi--v"), &wrong).await);
        assert_eq!((kind, outcome), (Kind::InvalidArgument, Outcome::Refused), "{text}");
    }
    assert!(machine.calls().is_empty());
    // Without the setting, a node takes no such attachment.
    let config = StorpoolConfig { conf_file: machine.path("storpool.conf"), ..StorpoolConfig::default() };
    let plain = StorpoolConnector::new(config, "alpha".to_owned());
    let (kind, _, text) = told(plain.connect(&id("csi--v"), &attachment(MIB)).await);
    assert!(kind == Kind::InvalidArgument && text.contains("\"iscsi\""), "{text}");
}

#[tokio::test]
async fn a_node_tells_its_initiator_where_it_is_no_client() {
    let machine = Machine::new();
    let iqn = Some(("iscsi".to_owned(), "iqn.2026-01.example:node".to_owned()));
    assert_eq!(connector(&machine, false).join().await.unwrap().identity, iqn);
    std::fs::write(machine.path("storpool.conf"), "SP_CLUSTER_ID=d.n\n[alpha]\nSP_OURID=7\n").unwrap();
    let client = Some(("storpool".to_owned(), "d.n.7".to_owned()));
    assert_eq!(connector(&machine, false).join().await.unwrap().identity, client);
    let all = with(&machine, IscsiSettings { nodes: Served::All, ..IscsiSettings::new("pg") });
    assert_eq!(all.join().await.unwrap().identity, iqn);
    for (text, wanted) in [("GenerateName=yes\n", "no initiator"), ("InitiatorName=iqn.A_b\n", "iqn.A_b")] {
        machine.name_initiator(text);
        let (kind, _, text) = told(all.join().await);
        assert!(kind == Kind::FailedPrecondition && text.contains(wanted), "{text}");
    }
    std::fs::remove_file(machine.path("etc/iscsi/initiatorname.iscsi")).unwrap();
    let (_, _, text) = told(all.join().await);
    assert!(text.contains("initiatorname.iscsi") && text.contains("install open-iscsi"), "{text}");
}
