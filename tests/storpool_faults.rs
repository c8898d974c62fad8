//! Thousands of CSI calls to the driver's own binary while a simulated StorPool loses answers, refuses, is slow, has
//! clients that do not answer and addresses that are down, and the process is killed now and then. Whatever was answered
//! is true of the cluster, nothing on the wire takes what is another's, and once nothing goes wrong any more, every call
//! ends and nothing is left.
//!
//! The seed is printed, and `FAIRLEAD_FAULTS_SEED` sets it: then the same calls and faults are drawn, although how they
//! meet is up to the machine. `FAIRLEAD_FAULTS_CALLS` sets how many calls are made, `FAIRLEAD_FAULTS_KEEP=1` keeps the
//! logs.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends by panicking, and tells its seed"
)]

#[path = "storpool_faults/calls.rs"]
mod calls;
#[path = "storpool_faults/calm.rs"]
mod calm;
#[path = "faults/dice.rs"]
mod dice;
#[path = "faults/log.rs"]
mod log;
#[path = "common/process.rs"]
mod process;
#[path = "storpool_faults/seat.rs"]
mod seat;
#[path = "storpool_faults/weather.rs"]
mod weather;
#[path = "storpool_faults/wire.rs"]
mod wire;
#[path = "storpool_faults/work.rs"]
mod work;
#[path = "storpool_faults/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use storpoolsim::{Config, Late, Sim};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use calls::Caller;
use dice::Dice;
use seat::Seat;
use weather::Weather;
use work::Worker;
use world::World;

const CALLS: u64 = 2000;
const WORKERS: usize = 40;
/// The nodes that have volumes as clients, and those that log in to them over iSCSI, by number.
pub const CLIENTS: [u16; 4] = [1, 2, 3, 4];
pub const INITIATORS: [u16; 2] = [5, 6];
/// All of them.
pub const NODES: [u16; 6] = [1, 2, 3, 4, 5, 6];
/// Where volumes are exported.
pub const GROUP: &str = "k8s";
/// Milliseconds from one kill of the process to the next.
const LIFE: (u64, u64) = (1000, 4000);
/// So long the calls may take all together, for each thousand.
const STORM: Duration = Duration::from_secs(120);
/// So long a call may go on after the last fault.
const SETTLING: Duration = Duration::from_secs(60);
const TOKEN: &str = "8245106739925174063";

#[allow(clippy::disallowed_methods, reason = "tests are told by the environment what to run")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

/// What a node is called as an initiator.
pub fn initiator(node: u16) -> String {
    format!("iqn.2026-01.example:node-{node}")
}

/// What an administrator has made before anything is exported.
fn portals() -> Vec<(String, BTreeMap<String, String>)> {
    let command = |name: &str, words: &[(&str, &str)]| {
        let words = words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        (name.to_owned(), words.collect())
    };
    vec![
        command("setBaseName", &[("name", "iqn.2026-01.example:sim")]),
        command("createPortalGroup", &[("name", GROUP)]),
        command("portalGroupAddNetwork", &[("portalGroup", GROUP), ("net", "10.0.0.1/24")]),
    ]
}

/// A cluster of one of the sorts that there may be: much is nowhere said.
async fn cluster(dice: &mut Dice) -> Sim {
    let late = [Late::Error("timeout"), Late::Error("newName"), Late::Fine, Late::Forgotten];
    let mut config = Config {
        token: TOKEN.to_owned(),
        error_status: *dice.one_of(&[200, 500]),
        unauthorized: *dice.one_of(&[(401, "invalidAuth"), (200, "notAuthorized")]),
        late: dice.one_of(&late).clone(),
        ..Config::default()
    };
    config.timings.confirm = Duration::from_millis(*dice.one_of(&[2, 20]));
    eprintln!(
        "errors come with {}, a bad token is {:?}, a wait in vain ends with {:?}",
        config.error_status, config.unauthorized, config.late
    );
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let sim = Sim::start_at(config, &[any, any]).await.unwrap();
    sim.keep_journal();
    CLIENTS.iter().for_each(|client| sim.cluster().add_client(*client));
    sim.cluster().configure_iscsi(&portals()).unwrap();
    sim
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_left_whatever_goes_wrong() {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let seed = variable("FAIRLEAD_FAULTS_SEED").unwrap_or_else(|| u64::try_from(now).unwrap() % 1_000_000);
    let calls = variable("FAIRLEAD_FAULTS_CALLS").unwrap_or(CALLS);
    eprintln!("FAIRLEAD_FAULTS_SEED={seed}");
    let mut dice = Dice::new(seed);
    let sim = Arc::new(cluster(&mut dice).await);
    let mut directory = tempfile::tempdir().unwrap();
    directory.disable_cleanup(variable("FAIRLEAD_FAULTS_KEEP").is_some());
    eprintln!("the logs: {}", directory.path().display());
    let world = World::new(&sim);
    let seat = Arc::new(Seat::new(directory.path(), &sim, TOKEN).await);
    let began = Instant::now();

    let (calm, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let caller = Caller::new(&seat, &world);
        let (calm, done) = (Arc::clone(&calm), Arc::clone(&done));
        workers.spawn(Worker { caller, dice: dice.split(), calm, done }.work());
    }
    let mut weather = Weather::new(&sim, dice.split());
    let mut kills = 0;
    let mut next = Instant::now();
    let longest = STORM * u32::try_from(calls.div_ceil(1000)).unwrap();
    while done.load(Ordering::Relaxed) < calls {
        assert!(began.elapsed() < longest, "{} calls only", done.load(Ordering::Relaxed));
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
    weather.clears_up().await;
    let ended =
        timeout(SETTLING, async { while workers.join_next().await.transpose().unwrap().is_some() {} });
    if ended.await.is_err() {
        let errors = world.with(|book| book.errors.clone());
        panic!("calls that do not end, or not well; the last errors: {errors:#?}");
    }
    let settled = began.elapsed();
    world.nothing_is_lost();
    // What a new process finds, which knows nothing of what went wrong.
    seat.kill().await;
    calm::leave_nothing(&Caller::new(&seat, &world)).await;
    let together = world.with(|book| wire::check(&sim.journal(), &mut book.wrong));
    let secrets = [TOKEN.to_owned()];
    log::known(&secrets);
    let lines: usize = seat.logs().iter().map(|file| log::lines_without(file, &secrets)).sum();
    eprintln!("{lines} lines of log tell no token");
    assert!(lines > 1000, "too little was logged");

    world.with(|book| {
        for (answer, count) in &book.answers {
            eprintln!("{count:6} {answer}");
        }
        let (blows, calls) = (weather.blows, done.load(Ordering::Relaxed));
        let (placed, logins, all) = (book.placed, book.logins, began.elapsed());
        eprintln!(
            "{calls} calls, {blows} faults and {kills} kills in {stormed:.1?}, the last answer after {settled:.1?}, all clean after \
             {all:.1?}; {placed} places compared; {logins} logins; {together} orders went with others"
        );
        assert_eq!(book.wrong, [""; 0], "seed {seed}");
        assert!(placed > 20 && logins > 5 && kills > 2 && together > 0, "too little was seen");
    });
}
