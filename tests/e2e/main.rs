//! The end-to-end suite: Fairlead as its users meet it, on a cluster where its chart is installed. README.md beside this
//! file says what it needs.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    missing_debug_implementations,
    reason = "a test ends by panicking or with an error, and tells what it measured or skipped"
)]

mod access;
mod cluster;
mod commands;
mod copies;
mod crd;
mod expansion;
mod harness;
mod leaks;
mod limits;
mod manifest;
mod moving;
mod outages;
mod parameters;
mod pod;
mod provisioning;
mod report;
mod restarts;
mod scripts;
mod space;
mod uninstall;
mod upgrade;
mod wait;
mod workloads;
mod writer;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Conclusion, Trial};

use cluster::Cluster;
use harness::Test;

/// Tests mostly wait for the cluster, so more of them run at once than there are processors.
const THREADS: usize = 6;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tests = [
        provisioning::TESTS,
        moving::TESTS,
        expansion::TESTS,
        copies::TESTS,
        access::TESTS,
        limits::TESTS,
        commands::TESTS,
        parameters::TESTS,
        restarts::TESTS,
        workloads::TESTS,
        outages::TESTS,
        upgrade::TESTS,
        uninstall::TESTS,
    ]
    .concat();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let cluster = match runtime.block_on(Cluster::find()) {
        Ok(cluster) => Arc::new(cluster),
        // The names can be had without a cluster.
        Err(_) if arguments.list => return list(&arguments, &tests),
        Err(failed) => {
            eprintln!("no cluster to test: {}", failed.message().unwrap_or_default());
            return ExitCode::FAILURE;
        }
    };
    eprintln!("{cluster}");
    let trials = |alone: bool| -> Vec<Trial> {
        let chosen = tests.iter().filter(|test| test.alone == alone);
        chosen.map(|test| test.trial(&cluster, runtime.handle())).collect()
    };
    let together = Arguments { test_threads: arguments.test_threads.or(Some(THREADS)), ..arguments.clone() };
    let singly = Arguments { test_threads: Some(1), ..arguments };
    // Always, whatever was asked for: what a single test leaves behind counts as much.
    let at_last = Arguments { filter: None, skip: Vec::new(), ignored: false, ..singly.clone() };
    let conclusions = [
        libtest_mimic::run(&together, trials(false)),
        libtest_mimic::run(&singly, trials(true)),
        libtest_mimic::run(&at_last, vec![leaks::trial(&cluster, runtime.handle())]),
    ];
    let sum = |count: fn(&Conclusion) -> u64| conclusions.iter().map(count).sum::<u64>();
    eprintln!(
        "all together: {} passed, {} failed, {} SKIPPED",
        sum(|conclusion| conclusion.num_passed),
        sum(|conclusion| conclusion.num_failed),
        sum(|conclusion| conclusion.num_ignored),
    );
    if sum(|conclusion| conclusion.num_failed) > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn list(arguments: &Arguments, tests: &[Test]) -> ExitCode {
    let trials = tests.iter().map(|test| Trial::test(test.name, || Ok(())).with_ignored_flag(test.slow));
    libtest_mimic::run(arguments, trials.collect()).exit_code()
}
