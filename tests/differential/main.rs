//! One script of calls, sent to a simulated OpenStack and to a real one: statuses, errors and the shape of bodies must be
//! the same. Not part of `cargo test`: run it with `cargo test --test differential`, where `make openstack-up` has
//! started a cloud. `FAIRLEAD_OPENSTACK` names the directory with its `clouds.yaml`, where it is another one.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test ends by panicking, and tells what it skipped"
)]

mod cloud;
mod compare;
mod script;
mod steps;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use cloud::Cloud;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let real = cloud::find();
    if let Err(why) = &real {
        eprintln!("SKIPPED: everything: {why}");
    }
    let missing = real.is_err();
    let trials = steps::scripts().into_iter().map(|(name, steps)| {
        let real = real.clone();
        Trial::test(name, move || run(name, &steps, real?)).with_ignored_flag(missing)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn run(name: &str, steps: &[script::Step], real: Cloud) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let sim = cloudsim::Sim::start(cloud::like_the_real_one()).await?;
        let simulated = Cloud::simulated(&sim);
        let prefix = format!("sim-{name}-{}", std::process::id());
        let answers = script::run(steps, &real, &prefix).await;
        script::clean(&real, &prefix).await;
        let real = answers?;
        let simulated = script::run(steps, &simulated, &prefix).await?;
        let differences = compare::all(steps, &real, &simulated);
        let count = differences.len();
        println!("{name}: {} calls, {count} differences", steps.len());
        if count == 0 { Ok(()) } else { Err(Failed::from(format!("\n{}", differences.join("\n")))) }
    })
}
