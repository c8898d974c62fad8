//! `make bench`: what the driver costs, measured on real processes and devices. Prints a table, writes
//! `bench-results.json`. Asserts no figure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench stops at the first fault and prints"
)]

#[path = "../tests/common/driver.rs"]
mod driver;
#[path = "../tests/common/life.rs"]
mod life;
#[path = "common/report.rs"]
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use driver::{Driver, Lab};
use fairlead::client::Client;
use fairlead::host::{Host, Linux, loopdev};
use fairlead::proto::csi;
use life::{Seat, mount};
use report::{Report, ms, percentile};

const MIB: i64 = 1 << 20;
/// Rounds of the small measurements.
const ROUNDS: usize = 20;
/// Calls of the RPC measurement.
const CALLS: usize = 2000;

#[allow(clippy::cast_precision_loss, reason = "mebibytes for people")]
fn resident_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() as f64 / 1024.0
}

#[allow(clippy::disallowed_methods, reason = "the bare commands that the driver is compared with")]
fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn seat(lab: &Lab, driver: &Driver, capability: csi::VolumeCapability) -> Seat {
    Seat { client: driver.client(), home: lab.root.join("kubelet"), capability }
}

#[allow(clippy::cast_precision_loss, reason = "mebibytes for people")]
async fn processes(report: &mut Report) {
    let size = fs::metadata(env!("CARGO_BIN_EXE_fairlead")).unwrap().len();
    report.row("binary, stripped", size as f64 / f64::from(1 << 20), "MiB", "<= 12");
    for (command, memory) in [("node", "<= 8"), ("controller", "<= 12")] {
        let lab = Lab::new("bench");
        let mut starts = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let driver = lab.start(command, "server", &[]).await;
            driver.client().identity().probe(csi::ProbeRequest {}).await.unwrap();
            starts.push(start.elapsed());
        }
        report.row(
            format!("{command}: start to first answer, p50"),
            ms(percentile(&mut starts, 50)),
            "ms",
            "<= 50",
        );
        let driver = lab.start(command, "server", &[]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        report.row(format!("{command}: resident when idle"), resident_mib(driver.pid()), "MiB", memory);
        if command == "node" {
            let mut calls = Vec::new();
            for _ in 0..CALLS {
                let start = Instant::now();
                let client = Client::dial(&driver.socket).await.unwrap();
                client.node().node_get_capabilities(csi::NodeGetCapabilitiesRequest {}).await.unwrap();
                calls.push(start.elapsed());
            }
            let name = "NodeGetCapabilities on a new connection";
            report.row(format!("{name}, p50"), ms(percentile(&mut calls, 50)) * 1000.0, "us", "<= 300");
            report.row(format!("{name}, p99"), ms(percentile(&mut calls, 99)) * 1000.0, "us", "");
            report.row(format!("node: resident after {CALLS} calls"), resident_mib(driver.pid()), "MiB", "");
        }
    }
}

async fn proof(report: &mut Report) {
    let lab = Lab::new("bench");
    let host = Linux::new();
    for tib in [1_u64, 16] {
        let image = lab.root.join(format!("{tib}TiB"));
        let file = fs::File::create(&image).unwrap();
        // ext4 holds files of 16 TiB less a little.
        if let Err(error) = file.set_len((tib << 40) - (1 << 20)) {
            println!("proof on {tib} TiB: SKIPPED, the file system here holds no such file: {error}");
            continue;
        }
        let bound = loopdev::attach(&image, false, "fairlead-bench").unwrap();
        let device = host.device(&bound.path).await.unwrap();
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            host.prove_blank(&device).await.unwrap();
            times.push(start.elapsed());
        }
        report.row(format!("format proof on {tib} TiB, p50"), ms(percentile(&mut times, 50)), "ms", "<= 50");
        loopdev::detach(&bound, Duration::from_secs(10)).unwrap();
    }
}

/// Stage beside the bare commands, in turns.
async fn stage(report: &mut Report) {
    for fs_type in ["ext4", "xfs", "btrfs"] {
        let lab = Lab::new("bench");
        let driver = lab.start("all", "server", &[]).await;
        let seat = seat(&lab, &driver, mount(fs_type));
        let (mut bare, mut staged) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let image = life::text(&lab.root.join("bare.img"));
            let target = life::text(&seat.staging("bare"));
            run("truncate", &["-s", "1G", &image]);
            let start = Instant::now();
            bare_stage(fs_type, &image, &target);
            bare.push(start.elapsed());
            run("umount", &[&target]);
            for (device, _) in driver::loops_below(&lab.root) {
                run("losetup", &["-d", &life::text(&device)]);
            }
            fs::remove_file(&image).unwrap();

            let volume = seat.create(&format!("bench-{round}"), 1024 * MIB, None).await.unwrap();
            let context = seat.attach(&volume).await.unwrap();
            let start = Instant::now();
            seat.stage(&volume, &context).await.unwrap();
            staged.push(start.elapsed());
            seat.unstage(&volume).await.unwrap();
            seat.detach(&volume).await.unwrap();
            seat.delete(&volume).await.unwrap();
        }
        let (bare, staged) = (ms(percentile(&mut bare, 50)), ms(percentile(&mut staged, 50)));
        report.row(format!("{fs_type} 1 GiB: bare losetup, mkfs, mount, p50"), bare, "ms", "");
        report.row(format!("{fs_type} 1 GiB: NodeStageVolume, p50"), staged, "ms", "");
        report.row(format!("{fs_type} 1 GiB: stage / bare"), staged / bare, "x", "<= 1.15");
    }
}

/// What an operator would type: the same tools, with the options that the driver gives them.
#[allow(clippy::disallowed_methods, reason = "the bare commands that the driver is compared with")]
fn bare_stage(fs_type: &str, image: &str, target: &str) {
    let output =
        Command::new("losetup").args(["--find", "--show", "--direct-io=on", image]).output().unwrap();
    let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    match fs_type {
        "ext4" => run("mkfs.ext4", &["-q", "-F", "-E", "nodiscard", &device]),
        "xfs" => run("mkfs.xfs", &["-q", "-f", "-K", &device]),
        _ => run("mkfs.btrfs", &["-q", "-f", "-K", &device]),
    }
    run("mount", &["-t", fs_type, &device, target]);
}

async fn one_life(seat: &Seat, name: &str, times: &mut BTreeMap<&'static str, Vec<Duration>>) {
    let mut lap = Instant::now();
    let mut timed = |step, times: &mut BTreeMap<&'static str, Vec<Duration>>| {
        times.entry(step).or_default().push(lap.elapsed());
        lap = Instant::now();
    };
    let volume = seat.create(name, 64 * MIB, None).await.unwrap();
    timed("create", times);
    let context = seat.attach(&volume).await.unwrap();
    timed("attach", times);
    seat.stage(&volume, &context).await.unwrap();
    timed("stage", times);
    seat.unstage(&volume).await.unwrap();
    timed("unstage", times);
    seat.detach(&volume).await.unwrap();
    timed("detach", times);
    seat.delete(&volume).await.unwrap();
    timed("delete", times);
}

#[allow(clippy::cast_precision_loss, reason = "volumes a second for people")]
async fn lives(report: &mut Report, volumes: usize) {
    for parallel in [1, 30] {
        let lab = Lab::new("bench");
        let driver = lab.start("all", "server", &[]).await;
        let seat = seat(&lab, &driver, mount("ext4"));
        let start = Instant::now();
        let workers = (0..parallel).map(|worker| {
            let seat = seat.clone();
            tokio::spawn(async move {
                let mut times = BTreeMap::new();
                for index in (worker..volumes).step_by(parallel) {
                    one_life(&seat, &format!("life-{index}"), &mut times).await;
                }
                times
            })
        });
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for worker in workers.collect::<Vec<_>>() {
            for (step, mut times) in worker.await.unwrap() {
                all.entry(step).or_default().append(&mut times);
            }
        }
        let rate = volumes as f64 / start.elapsed().as_secs_f64();
        report.row(format!("{volumes} ext4 lives, {parallel} at once: whole lives"), rate, "/s", "");
        for (step, mut times) in all {
            report.row(format!("  {step}, p50"), ms(percentile(&mut times, 50)), "ms", "");
            report.row(format!("  {step}, p99"), ms(percentile(&mut times, 99)), "ms", "");
        }
        report.row(
            format!("  resident afterwards, {parallel} at once"),
            resident_mib(driver.pid()),
            "MiB",
            "",
        );
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "how many volumes the long part takes is the caller's to choose"
)]
fn volumes() -> usize {
    std::env::var("FAIRLEAD_BENCH_VOLUMES")
        .map_or(1000, |text| text.parse().expect("FAIRLEAD_BENCH_VOLUMES is a number"))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut report = Report::default();
    processes(&mut report).await;
    proof(&mut report).await;
    stage(&mut report).await;
    lives(&mut report, volumes()).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench-results.json");
    fs::write(&path, serde_json::to_string_pretty(&report.json()).unwrap()).unwrap();
    println!("\nwritten to bench-results.json");
}
