//! Thousands of calls through the controller while a simulated cloud loses answers, carries orders out late, fails and
//! rolls back, and the driver's process is killed now and then. Whatever was answered is true of the cloud, and once
//! nothing goes wrong any more, every call ends and nothing is left.
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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cloudsim::{Config, NameFilter, Sim};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use dice::Dice;
use process::Seat;
use weather::Weather;
use work::Worker;
use world::World;

const CALLS: u64 = 2000;
const WORKERS: usize = 40;
/// Milliseconds from one kill of the process to the next.
const LIFE: (u64, u64) = (700, 3000);
/// So long the calls may take all together.
const STORM: Duration = Duration::from_secs(240);
/// So long a call may go on after the last fault: the longest wait for something that was lost is 30 s.
const SETTLING: Duration = Duration::from_secs(60);

#[allow(clippy::disallowed_methods, reason = "tests are told by the environment what to run")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

const APP_SECRET: &str = "sim-app-secret";

/// What no log may tell: the password, the application credential's secret, and all tokens.
fn secrets(sim: &Sim) -> Vec<String> {
    let cloud = sim.cloud();
    let tokens = cloud.tokens.iter().map(|token| token.secret.clone());
    tokens.chain([cloudsim::PASSWORD.to_owned(), APP_SECRET.to_owned()]).collect()
}

/// The clouds csi, by password, and csi-app, by an application credential.
fn clouds(sim: &Sim) -> String {
    let id = sim.cloud().config.users[0].credential.0.clone();
    format!(
        "{}  csi-app:\n    region_name: RegionOne\n    auth_type: v3applicationcredential\n    auth:\n      \
         auth_url: {}\n      application_credential_id: {id}\n      \
         application_credential_secret: {APP_SECRET}\n",
        sim.clouds_yaml(),
        sim.auth_url()
    )
}

/// A cloud that is quick, and one of several sorts.
fn cloud(dice: &mut Dice) -> Config {
    let mut config = Config::openstack();
    // Lists may have more than was asked for, or come in many pages.
    config.name_filter = *dice.one_of(&[NameFilter::Honoured, NameFilter::Ignored, NameFilter::NotAllowed]);
    config.page = *dice.one_of(&[1000, 7]);
    eprintln!("names as filters are {:?}, a page has {} items", config.name_filter, config.page);
    config.users[0].credential.2 = APP_SECRET.to_owned();
    let ms = Duration::from_millis;
    let times = &mut config.timings;
    (times.create, times.register, times.delete, times.extend) = (ms(20), ms(5), ms(20), ms(20));
    (times.snapshot, times.delete_snapshot) = (ms(20), ms(20));
    (times.attach, times.detach, times.rpc) = (ms(40), ms(40), ms(300));
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_left_whatever_goes_wrong() {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let seed = variable("FAIRLEAD_FAULTS_SEED").unwrap_or_else(|| u64::try_from(now).unwrap() % 1_000_000);
    let calls = variable("FAIRLEAD_FAULTS_CALLS").unwrap_or(CALLS);
    eprintln!("FAIRLEAD_FAULTS_SEED={seed}");
    let mut dice = Dice::new(seed);
    let sim = Arc::new(Sim::start(cloud(&mut dice)).await.unwrap());
    let mut directory = tempfile::tempdir().unwrap();
    directory.disable_cleanup(variable("FAIRLEAD_FAULTS_KEEP").is_some());
    eprintln!("the log: {}", directory.path().join("log").display());
    let log = directory.path().join("log");
    logs::record_to(&log);
    let file = directory.path().join("clouds.yaml");
    std::fs::write(&file, clouds(&sim)).unwrap();
    let servers: Vec<_> = (0..4).map(|number| sim.add_server("csi", &format!("s{number}"))).collect();
    let world = World::new(&sim);
    let seat = Arc::new(Seat::new(&file).await);
    let began = Instant::now();

    let (calm, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let worker = Worker {
            seat: Arc::clone(&seat),
            world: world.clone(),
            dice: dice.split(),
            servers: servers.clone(),
            calm: Arc::clone(&calm),
            done: Arc::clone(&done),
        };
        workers.spawn(worker.work());
    }
    let mut weather = Weather::new(&sim, dice.split(), servers);
    let mut kills = 0;
    let mut next = Instant::now();
    while done.load(Ordering::Relaxed) < calls {
        assert!(began.elapsed() < STORM, "{} calls only", done.load(Ordering::Relaxed));
        if Instant::now() >= next {
            next = Instant::now() + Duration::from_millis(dice.between(LIFE.0, LIFE.1));
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
    let lines = log::lines_without(&log, &secrets);
    eprintln!("{lines} lines of log tell none of {} secrets", secrets.len());
    assert!(lines > 1000 && secrets.len() > 3, "too little was logged");

    world.with(|book| {
        for (answer, count) in &book.answers {
            eprintln!("{count:6} {answer}");
        }
        let (blows, calls) = (weather.blows, done.load(Ordering::Relaxed));
        let (placed, all) = (book.placed, began.elapsed());
        eprintln!(
            "{calls} calls, {blows} faults and {kills} kills in {stormed:.1?}, the last answer after {settled:.1?}, all clean after \
             {all:.1?}; {placed} places compared; {removed} disks removed by an administrator"
        );
        assert_eq!(book.wrong, [""; 0], "seed {seed}");
        assert!(placed > 20 && kills > 2, "too little was seen");
    });
}
