//! Thousands of calls through the controller while a simulated cloud, one of each kind, loses answers, carries orders out late, fails and
//! rolls back, and the driver's process is killed now and then. Whatever was answered is true of the cloud, and once
//! nothing goes wrong any more, every call ends and nothing is left.
//!
//! What a kind of cloud cannot do is not asked of it, and what goes wrong nowhere else goes wrong there.
//!
//! The seed is printed, and `FAIRLEAD_FAULTS_SEED` sets it: then the same calls and faults are drawn, although how they
//! meet is up to the machine. `FAIRLEAD_FAULTS_CALLS` sets how many calls are made, `FAIRLEAD_FAULTS_KEEP=1` keeps the
//! log.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends by panicking, and tells its seed"
)]

#[path = "cinder_faults/calm.rs"]
mod calm;
#[path = "faults/dice.rs"]
mod dice;
#[path = "cinder_faults/kind.rs"]
mod kind;
#[path = "faults/log.rs"]
mod log;
#[path = "common/logs.rs"]
mod logs;
#[path = "cinder_faults/process.rs"]
mod process;
#[path = "cinder_faults/weather.rs"]
mod weather;
#[path = "cinder_faults/work.rs"]
mod work;
#[path = "cinder_faults/world.rs"]
mod world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cloudsim::Sim;
use fairlead::backend::cinder::dialect::Dialect;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use dice::Dice;
use kind::{APP_SECRET, CYCLADES, Kind, OPENSTACK, RACKSPACE};
use process::Seat;
use weather::Weather;
use work::Worker;
use world::World;

const WORKERS: usize = 40;
/// So long each thousand of calls may take, and as long once more.
const STORM: Duration = Duration::from_secs(90);
/// So long a call may go on after the last fault: the longest wait for something that was lost is 30 s.
const SETTLING: Duration = Duration::from_secs(60);

#[allow(clippy::disallowed_methods, reason = "tests are told by the environment what to run")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

/// What no log may tell: the password, the application credential's secret, and all tokens.
fn secrets(sim: &Sim) -> Vec<String> {
    let cloud = sim.cloud();
    let tokens = cloud.tokens.iter().map(|token| token.secret.clone());
    tokens.chain([cloudsim::PASSWORD.to_owned(), APP_SECRET.to_owned()]).collect()
}

/// The clouds by which the driver logs in: an OpenStack takes an application credential, too.
fn clouds(sim: &Sim, kind: &Kind) -> String {
    let mut text = sim.clouds_yaml();
    if kind.is(Dialect::OPENSTACK) {
        let id = sim.cloud().config.users[0].credential.0.clone();
        text += &format!(
            "  csi-app:\n    region_name: RegionOne\n    auth_type: v3applicationcredential\n    auth:\n      \
             auth_url: {}\n      application_credential_id: {id}\n      \
             application_credential_secret: {APP_SECRET}\n",
            sim.auth_url()
        );
    }
    text
}

/// One cloud after the other: how quick calls are is part of what is tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_left_whatever_goes_wrong() {
    let mut directory = tempfile::tempdir().unwrap();
    directory.disable_cleanup(variable("FAIRLEAD_FAULTS_KEEP").is_some());
    let log = directory.path().join("log");
    logs::record_to(&log);
    eprintln!("the log: {}", log.display());
    for kind in [&OPENSTACK, &RACKSPACE, &CYCLADES] {
        campaign(kind, &log).await;
    }
}

async fn campaign(kind: &'static Kind, log: &Path) {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let seed = variable("FAIRLEAD_FAULTS_SEED").unwrap_or_else(|| u64::try_from(now).unwrap() % 1_000_000);
    let calls = variable("FAIRLEAD_FAULTS_CALLS").unwrap_or(kind.calls);
    eprintln!("{}: FAIRLEAD_FAULTS_SEED={seed}", kind.dialect.name);
    let mut dice = Dice::new(seed);
    let sim = Arc::new(Sim::start(kind.cloud(&mut dice)).await.unwrap());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("clouds.yaml");
    std::fs::write(&file, clouds(&sim, kind)).unwrap();
    let servers: Vec<_> =
        (0..kind.servers).map(|number| sim.add_server("csi", &format!("s{number}"))).collect();
    let world = World::new(&sim, kind, servers.clone());
    let seat = Arc::new(Seat::new(kind, &file).await);
    let began = Instant::now();

    let (calm, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let worker = Worker {
            seat: Arc::clone(&seat),
            world: world.clone(),
            dice: dice.split(),
            calm: Arc::clone(&calm),
            done: Arc::clone(&done),
        };
        workers.spawn(worker.work());
    }
    let mut weather = Weather::new(&sim, kind, dice.split(), servers);
    let mut kills = 0;
    let mut next = Instant::now();
    let thousands = u32::try_from(calls / 1000).unwrap() + 1;
    while done.load(Ordering::Relaxed) < calls {
        assert!(began.elapsed() < STORM * thousands, "{} calls only", done.load(Ordering::Relaxed));
        if Instant::now() >= next {
            next = Instant::now() + Duration::from_millis(dice.between(kind.life.0, kind.life.1));
            seat.kill().await;
            kills += 1;
        }
        weather.blow().await;
    }
    let stormed = began.elapsed();
    eprintln!("{calls} calls in {stormed:.1?}");
    calm.store(true, Ordering::Relaxed);
    let removed = weather.clears_up().await;
    let ended =
        timeout(SETTLING, async { while workers.join_next().await.transpose().unwrap().is_some() {} });
    if ended.await.is_err() {
        let errors = world.with(|book| book.errors.clone());
        panic!("calls that do not end, or not well: {}; the last errors: {errors:#?}", seat.flights().await);
    }
    let settled = began.elapsed();
    world.nothing_is_lost();
    // What a new process finds, which knows nothing of what went wrong.
    seat.kill().await;
    tokio::time::sleep_until(weather.late).await;
    calm::leave_nothing(&seat, &world).await;
    let secrets = secrets(&sim);
    log::known(&secrets);
    let lines = log::lines_without(log, &secrets);
    eprintln!("{lines} lines of log tell none of {} secrets", secrets.len());
    assert!(lines > 1000 && secrets.len() > kind.logins.len() + 1, "too little was logged");

    world.with(|book| {
        for (answer, count) in &book.answers {
            eprintln!("{count:6} {answer}");
        }
        let (blows, calls) = (weather.blows, done.load(Ordering::Relaxed));
        let (placed, all) = (book.placed, began.elapsed());
        eprintln!(
            "{}: {calls} calls, {blows} faults and {kills} kills in {stormed:.1?}, the last answer after {settled:.1?}, all clean after \
             {all:.1?}; {placed} places compared; {removed} disks removed by an administrator",
            kind.dialect.name
        );
        assert_eq!(book.wrong, [""; 0], "seed {seed}");
        assert!(placed > 20 && kills > 2, "too little was seen");
    });
}
