//! The client against a real OpenStack. Not part of `cargo test`: run it with `cargo test --test openstack`.
//!
//! `FAIRLEAD_OPENSTACK` names the directory with the cloud's `clouds.yaml` and `cloud.conf`, else it is where
//! `make openstack-up` puts them. `FAIRLEAD_OPENSTACK_SERVER` names servers of the project csi to attach to, joined by commas:
//! one, or three for the contract. Each test has its own while it runs, so with six two tests never wait for each other. What
//! cannot be run for want of them is skipped, loudly.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test ends by panicking, and tells what it skipped"
)]

#[path = "contract/attach.rs"]
mod attach;
#[path = "openstack/attaching.rs"]
mod attaching;
#[path = "contract/cinder.rs"]
mod cinder;
#[path = "openstack/contract.rs"]
mod contract;
#[path = "contract/device.rs"]
mod device;
#[path = "common/driver.rs"]
mod driver;
#[path = "contract/fixture.rs"]
mod fixture;
#[path = "common/life.rs"]
mod life;
#[path = "openstack/path.rs"]
mod path;
#[path = "contract/quota.rs"]
mod quota;
#[path = "openstack/servers.rs"]
mod servers;
#[path = "contract/snapshot.rs"]
mod snapshot;
#[path = "contract/volume.rs"]
mod volume;
#[path = "openstack/volumes.rs"]
mod volumes;
#[path = "common/cinder.rs"]
mod waiting;

use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use fairlead::backend::cinder::client::{Client, GroupOrder, SnapshotOrder, Source as From, VolumeOrder};
use fairlead::backend::cinder::config::CinderConfig;
use fairlead::backend::cinder::credentials::Source;
use fairlead::backend::cinder::identity::{Microversion, Service, Session};
use fairlead::backend::cinder::model::Status;
use fairlead::error::{Error, Kind, Outcome};

use attaching::{
    a_left_over_attachment_is_removed_and_the_volume_attached, a_server_is_attached_no_more_than_it_may_hold,
    a_shared_volume_is_attached_where_both_may_have_it, a_volume_is_attached_once_and_found_again,
    a_volume_that_is_not_attached_at_once_is_attached_again, a_volume_that_stays_attached_is_detached_again,
};
use path::data_moves_between_attached_servers;
use servers::Pool;
use volumes::{
    a_volumes_life_is_cheap, the_back_end_makes_and_deletes_volumes,
    the_back_end_tells_what_there_is_instead, two_controllers_make_one_volume,
};
use waiting::{available, until};

type Work = fn(Cloud) -> Pin<Box<dyn Future<Output = ()>>>;

/// Where the cloud's files are.
#[derive(Clone)]
struct Cloud {
    directory: PathBuf,
    servers: Vec<String>,
    /// Whether faults may be ordered, which hit whoever comes first.
    faults: bool,
}

impl Cloud {
    fn source(&self, cloud: &str) -> Source {
        Source::Clouds { file: self.directory.join("clouds.yaml"), cloud: Some(cloud.to_owned()) }
    }

    /// A server, and where the links to its disks are; `None` where this machine has no disks of it.
    fn disks(&self, number: usize) -> Option<(&str, PathBuf)> {
        let server = self.servers.get(number)?;
        let nodes = self.directory.join("nodes");
        nodes.is_dir().then(|| (server.as_str(), nodes.join(server)))
    }

    fn open(&self, source: Source) -> Client {
        let session = Session::open("lab", CinderConfig::new(source), Arc::default()).unwrap();
        Client::new(Arc::new(session))
    }

    fn client(&self) -> Client {
        self.open(self.source("csi"))
    }
}

macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), (|cloud| Box::pin($name(cloud))) as Work)),*]
    };
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    driver::logs::record("openstack");
    let cloud = cloud();
    let there = reachable(&cloud.directory);
    if let Err(why) = &there {
        eprintln!("SKIPPED: everything: {why}");
    } else if cloud.servers.is_empty() {
        eprintln!("SKIPPED: attaching: FAIRLEAD_OPENSTACK_SERVER names no server");
    } else if cloud.disks(1).is_none() {
        eprintln!(
            "SKIPPED: moving data: FAIRLEAD_OPENSTACK_SERVER names no two servers with disks on this machine"
        );
    }
    let trials = trials![
        every_way_to_log_in_works,
        a_wrong_password_is_refused,
        the_project_is_told,
        a_volume_lives_and_dies,
        pages_hold_together,
        refusals_are_told_apart,
        a_group_is_cut_at_once,
        a_volume_is_attached_and_detached,
        a_volume_is_attached_once_and_found_again,
        a_server_is_attached_no_more_than_it_may_hold,
        a_left_over_attachment_is_removed_and_the_volume_attached,
        a_shared_volume_is_attached_where_both_may_have_it,
        the_back_end_makes_and_deletes_volumes,
        the_back_end_tells_what_there_is_instead,
        two_controllers_make_one_volume,
        a_volumes_life_is_cheap,
        data_moves_between_attached_servers,
    ];
    let pool = Pool::new(cloud.servers.clone());
    let trial = |name: &'static str, work: Work, missing: bool| {
        let (cloud, pool) = (cloud.clone(), Arc::clone(&pool));
        let run = move || {
            let lease = pool.take(needed(name));
            run(work(Cloud { servers: lease.servers.clone(), ..cloud }))
        };
        Trial::test(name, run).with_ignored_flag(missing)
    };
    let trials = trials.map(|(name, work)| {
        let too_few = needed(name) > cloud.servers.len() || needed(name) > 1 && cloud.disks(1).is_none();
        trial(name, work, there.is_err() || too_few)
    });
    let broken = trials![
        a_volume_that_is_not_attached_at_once_is_attached_again,
        a_volume_that_stays_attached_is_detached_again,
    ];
    if !cloud.faults {
        eprintln!(
            "SKIPPED: {} tests with faults: they need FAIRLEAD_OPENSTACK_FAULTS=1 and --test-threads 1",
            broken.len()
        );
    }
    let broken = broken
        .map(|(name, work)| trial(name, work, there.is_err() || cloud.servers.is_empty() || !cloud.faults));
    let (facts, left_out) = contract::trials(&cloud, &pool, there.is_ok());
    eprintln!(
        "SKIPPED: {left_out} facts of the contract: they need devices of this machine, or three servers"
    );
    libtest_mimic::run(&arguments, trials.into_iter().chain(broken).chain(facts).collect()).exit_code()
}

/// How many servers a test wants, by its name.
fn needed(name: &str) -> usize {
    match (name.contains("servers"), name.contains("attached")) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    }
}

#[allow(clippy::disallowed_methods, reason = "tests are told by the environment what to run against")]
fn cloud() -> Cloud {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let cache = || {
        let home = variable("HOME").unwrap_or_default();
        let cache = variable("XDG_CACHE_HOME").map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from);
        cache.join("fairlead/openstack/run")
    };
    Cloud {
        directory: variable("FAIRLEAD_OPENSTACK").map_or_else(cache, PathBuf::from),
        servers: variable("FAIRLEAD_OPENSTACK_SERVER")
            .map(|names| names.split([',', ' ']).map(str::to_owned).collect())
            .unwrap_or_default(),
        faults: variable("FAIRLEAD_OPENSTACK_FAULTS").is_some(),
    }
}

fn reachable(directory: &Path) -> Result<(), String> {
    let file = directory.join("clouds.yaml");
    let source = Source::Clouds { file: file.clone(), cloud: Some("csi".to_owned()) };
    if !file.exists() {
        return Err(format!("{} is not there: start a cloud with make openstack-up", file.display()));
    }
    let credentials = source.read(&Default::default()).unwrap();
    let (host, port) = (credentials.auth_url.host_str().unwrap(), credentials.auth_url.port().unwrap());
    let address: SocketAddr = format!("{host}:{port}").parse().unwrap();
    TcpStream::connect_timeout(&address, Duration::from_secs(3))
        .map(drop)
        .map_err(|error| format!("{address}: {error}: start the cloud with make openstack-up"))
}

fn run(work: impl Future<Output = ()>) -> Result<(), Failed> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work);
    Ok(())
}

fn name(what: &str) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("fairlead-check-{what}-{now}")
}

async fn new_volume(client: &Client, what: &str, source: Option<From>) -> String {
    let order = VolumeOrder { name: name(what), size: 1, source, ..VolumeOrder::default() };
    let id = client.create_volume(&order).await.unwrap().id;
    available(client, &id).await;
    id
}

async fn delete(client: &Client, id: &str) {
    client.delete_volume(id).await.unwrap();
    until("the end of a volume", async || match client.volume(id).await {
        Err(error) if error.is_not_found() => Some(()),
        found => found.map(|volume| assert!(!volume.status.is_error(), "{volume:?}")).map(|()| None).unwrap(),
    })
    .await;
}

async fn every_way_to_log_in_works(cloud: Cloud) {
    let conf = Source::Conf { files: vec![cloud.directory.join("cloud.conf")], cloud: None };
    for source in [cloud.source("csi"), cloud.source("csi-app"), conf] {
        let client = cloud.open(source);
        let volume = client.endpoint(Service::Volume).await.unwrap();
        let compute = client.endpoint(Service::Compute).await.unwrap();
        assert!(volume.major == 3 && volume.has(Microversion(3, 59)), "{volume:?}");
        assert!(compute.has(Microversion(2, 60)), "{compute:?}");
        client.volumes(&[]).await.unwrap();
    }
}

async fn a_wrong_password_is_refused(cloud: Cloud) {
    let text = std::fs::read_to_string(cloud.directory.join("clouds.yaml")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let lines = text.lines().map(|line| match line.split_once("password: ") {
        Some((before, _)) => format!("{before}password: not-this-one\n"),
        None => format!("{line}\n"),
    });
    std::fs::write(directory.path().join("clouds.yaml"), lines.collect::<String>()).unwrap();
    let wrong = Cloud { directory: directory.path().to_owned(), ..cloud };
    let error = wrong.client().volumes(&[]).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unauthenticated, Outcome::Unknown), "{error}");
    assert!(
        error.to_string().contains("request=req-") && !format!("{error:?}").contains("not-this"),
        "{error:?}"
    );
}

async fn the_project_is_told(cloud: Cloud) {
    let client = cloud.client();
    let limits = client.limits().await.unwrap();
    assert!(limits.max_total_volumes.is_some() && limits.total_gigabytes_used.is_some(), "{limits:?}");
    let types = client.volume_types().await.unwrap();
    assert!(types.iter().any(|kind| kind.extra_specs.contains_key("multiattach")), "{types:?}");
    let zones = client.volume_zones().await.unwrap();
    assert!(zones.iter().any(|zone| zone.state.available), "{zones:?}");
}

async fn a_volume_lives_and_dies(cloud: Cloud) {
    let client = cloud.client();
    let order = VolumeOrder {
        name: name("life"),
        size: 1,
        metadata: [("cluster".to_owned(), "check".to_owned())].into(),
        ..VolumeOrder::default()
    };
    let id = client.create_volume(&order).await.unwrap().id;
    available(&client, &id).await;
    let listed = client.volumes(&[("name", order.name.clone())]).await.unwrap();
    assert_eq!(listed.iter().map(|volume| volume.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    assert_eq!(listed[0].metadata, order.metadata);
    assert!(listed[0].created_at.is_some() && listed[0].size == 1, "{listed:?}");

    client.note_on_volume(&id, &[("pv".to_owned(), "x".to_owned())].into()).await.unwrap();
    assert_eq!(client.volume(&id).await.unwrap().metadata.len(), 2);
    client.extend_volume(&id, 2, false).await.unwrap();
    until("two GiB", async || (client.volume(&id).await.unwrap().size == 2).then_some(())).await;
    available(&client, &id).await;

    let order = SnapshotOrder { name: name("life"), volume: id.clone(), ..SnapshotOrder::default() };
    let snapshot = client.create_snapshot(&order).await.unwrap().id;
    until("a snapshot", async || {
        (client.snapshot(&snapshot).await.unwrap().status == Status::Available).then_some(())
    })
    .await;
    assert_eq!(client.snapshots(&[("volume_id", id.clone())]).await.unwrap().len(), 1);
    let refused = client.delete_volume(&id).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.outcome()),
        (Kind::FailedPrecondition, Outcome::Refused),
        "{refused}"
    );
    let order = VolumeOrder {
        name: name("copy"),
        size: 2,
        source: Some(From::Snapshot(snapshot.clone())),
        ..VolumeOrder::default()
    };
    let copy = client.create_volume(&order).await.unwrap().id;
    available(&client, &copy).await;
    assert_eq!(client.volume(&copy).await.unwrap().snapshot_id.as_deref(), Some(snapshot.as_str()));
    delete(&client, &copy).await;
    client.delete_snapshot(&snapshot).await.unwrap();
    until("the end of a snapshot", async || {
        client.snapshot(&snapshot).await.err().map(|error| assert!(error.is_not_found(), "{error}"))
    })
    .await;
    delete(&client, &id).await;
}

async fn pages_hold_together(cloud: Cloud) {
    let client = cloud.client();
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(new_volume(&client, "page", None).await);
    }
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = client.volume_page(&[], Some(1), after.as_deref()).await.unwrap();
        found.extend(page.items.into_iter().map(|volume| volume.id));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert!(made.iter().all(|id| found.contains(id)), "{made:?} in {found:?}");
    for id in &made {
        delete(&client, id).await;
    }
    let error = client.volume_page(&[], Some(1), Some(&made[0])).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

async fn refusals_are_told_apart(cloud: Cloud) {
    let client = cloud.client();
    let order = VolumeOrder { name: name("refused"), size: 1, ..VolumeOrder::default() };
    let told = |error: &Error, kind| {
        assert_eq!((error.kind(), error.outcome()), (kind, Outcome::Refused), "{error}");
        assert!(error.to_string().contains("request=req-"), "{error}");
    };
    let zone = VolumeOrder { availability_zone: Some("mars".to_owned()), ..order.clone() };
    told(&client.create_volume(&zone).await.unwrap_err(), Kind::InvalidArgument);
    let source = Some(From::Snapshot("11111111-2222-3333-4444-555555555555".to_owned()));
    let source = VolumeOrder { source, ..order.clone() };
    told(&client.create_volume(&source).await.unwrap_err(), Kind::NotFound);
    let kind = VolumeOrder { volume_type: Some("golden".to_owned()), ..order.clone() };
    told(&client.create_volume(&kind).await.unwrap_err(), Kind::NotFound);
    let poor = cloud.open(cloud.source("csi2"));
    let error = poor.create_volume(&VolumeOrder { size: 11, ..order }).await.unwrap_err();
    told(&error, Kind::ResourceExhausted);
    assert!(error.to_string().contains("quota is 10G"), "{error}");
    let none = "11111111-2222-3333-4444-555555555555";
    told(&client.volume(none).await.unwrap_err(), Kind::NotFound);
    told(&client.server(none).await.unwrap_err(), Kind::NotFound);
    told(&client.server_volumes(none).await.unwrap_err(), Kind::NotFound);
}

async fn a_group_is_cut_at_once(cloud: Cloud) {
    let client = cloud.client();
    let group_type = client.group_types().await.unwrap().remove(0);
    let volume = new_volume(&client, "group", None).await;
    let volume_type = client.volume(&volume).await.unwrap().volume_type.unwrap();
    let order = GroupOrder {
        name: name("group"),
        group_type: group_type.id,
        volume_types: vec![volume_type],
        ..GroupOrder::default()
    };
    let group = client.create_group(&order).await.unwrap();
    let settled = async || {
        until("a group", async || {
            let found = client.group(&group).await.unwrap();
            assert!(!found.status.is_error(), "{found:?}");
            (found.status == Status::Available).then_some(found)
        })
        .await
    };
    settled().await;
    client.change_group(&group, std::slice::from_ref(&volume), &[]).await.unwrap();
    assert_eq!(settled().await.volumes, [volume.as_str()]);
    let cut = client.create_group_snapshot(&group, &order.name).await.unwrap();
    until("a group snapshot", async || {
        (client.group_snapshot(&cut).await.unwrap().status == Status::Available).then_some(())
    })
    .await;
    let members = client.snapshots(&[("volume_id", volume.clone())]).await.unwrap();
    assert_eq!(
        members.iter().map(|m| m.group_snapshot_id.as_deref()).collect::<Vec<_>>(),
        [Some(cut.as_str())]
    );
    client.delete_group_snapshot(&cut).await.unwrap();
    until("the end of a group snapshot", async || {
        client.group_snapshot(&cut).await.err().map(|error| assert!(error.is_not_found(), "{error}"))
    })
    .await;
    client.change_group(&group, &[], std::slice::from_ref(&volume)).await.unwrap();
    assert!(settled().await.volumes.is_empty());
    client.delete_group(&group).await.unwrap();
    delete(&client, &volume).await;
}

async fn a_volume_is_attached_and_detached(cloud: Cloud) {
    let (client, server) = (cloud.client(), cloud.servers[0].clone());
    let found = client.server(&server).await.unwrap();
    assert!(found.status == "ACTIVE" && found.flavor.original_name.is_some(), "{found:?}");
    let volume = new_volume(&client, "attach", None).await;
    client.attach_volume(&server, &volume, false).await.unwrap();
    until("an attached volume", async || {
        (client.volume(&volume).await.unwrap().status == Status::InUse).then_some(())
    })
    .await;
    let told = client.volume(&volume).await.unwrap().attachments;
    assert_eq!(told.iter().map(|one| one.server_id.as_str()).collect::<Vec<_>>(), [server.as_str()]);
    let listed = client.server_volumes(&server).await.unwrap();
    assert!(listed.iter().any(|one| one.volume_id == volume), "{listed:?}");
    let kept = client.attachments(&[("volume_id", volume.clone())]).await.unwrap();
    assert!(kept.len() == 1 && kept[0].instance.as_deref() == Some(&server), "{kept:?}");
    let busy = client.delete_attachment(&kept[0].id).await.unwrap_err();
    assert_eq!((busy.kind(), busy.outcome()), (Kind::Busy, Outcome::Unknown), "{busy}");
    let again = client.attach_volume(&server, &volume, false).await.unwrap_err();
    assert_eq!(again.outcome(), Outcome::Refused, "{again}");
    let actions = client.server_actions(&server).await.unwrap();
    assert!(actions.iter().any(|action| action.action == "attach_volume"), "{actions:?}");
    client.extend_volume(&volume, 2, true).await.unwrap();
    until("a larger volume", async || {
        let now = client.volume(&volume).await.unwrap();
        (now.size == 2 && now.status == Status::InUse).then_some(())
    })
    .await;
    client.detach_volume(&server, &volume).await.unwrap();
    available(&client, &volume).await;
    until("a server without it", async || {
        let listed = client.server_volumes(&server).await.unwrap();
        listed.iter().all(|one| one.volume_id != volume).then_some(())
    })
    .await;
    let gone = client.detach_volume(&server, &volume).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound, "{gone}");
    delete(&client, &volume).await;
}
