//! Runs a simulated cloud as a program.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program says where it listens, and why it does not"
)]

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cloudsim::{Config, Dialect, End, LoopDisks, Sim};

const USAGE: &str = "usage: cloudsim [--dialect openstack|rackspace|cyclades] [--listen ADDRESS] [--control ADDRESS] \
                     [--servers COUNT] [--home DIRECTORY]
Prints the address of the identity service, then that for orders (see wire/control.rs), then the ids of the servers in the
project csi. In its home, which must be empty, are a clouds.yaml and, in nodes/<server>, links to the loop devices that are a
server's disks (root). Ends on SIGINT or SIGTERM, with 1 where something happened that must never happen, or where somebody
left volumes or the like.";

struct Arguments {
    dialect: String,
    listen: SocketAddr,
    control: SocketAddr,
    servers: usize,
    home: Option<PathBuf>,
}

fn arguments() -> Result<Arguments, String> {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let dialect = "openstack".to_owned();
    let mut found = Arguments { dialect, listen: local, control: local, servers: 0, home: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        let bad = |why: &dyn std::fmt::Display| format!("{word} {value}: {why}\n{USAGE}");
        match word.as_str() {
            "--dialect" => found.dialect = value,
            "--listen" => found.listen = value.parse().map_err(|why| bad(&why))?,
            "--control" => found.control = value.parse().map_err(|why| bad(&why))?,
            "--home" => found.home = Some(value.into()),
            "--servers" => found.servers = value.parse().map_err(|why| bad(&why))?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(found)
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let arguments = arguments()?;
    let config = match arguments.dialect.as_str() {
        "openstack" => Config::openstack(),
        "rackspace" => Config::rackspace(),
        "cyclades" => Config::cyclades(),
        _ => return Err(USAGE.to_owned()),
    };
    let dialect = config.dialect;
    let failed = |why: io::Error| format!("cannot listen: {why}");
    let mut sim = Sim::start_at(config, arguments.listen).await.map_err(failed)?;
    if let Some(home) = &arguments.home {
        let failed = |why: io::Error| format!("{}: {why}", home.display());
        let disks = LoopDisks::new(home).map_err(failed)?;
        sim.show_disks(if dialect == Dialect::Openstack { disks } else { disks.without_serials() });
        std::fs::write(home.join("clouds.yaml"), sim.clouds_yaml()).map_err(failed)?;
    }
    let sim = Arc::new(sim);
    let (control, task) = sim.control(arguments.control).await.map_err(failed)?;
    let signals = |why: io::Error| format!("cannot wait for signals: {why}");
    let end = End::listen().map_err(signals)?;
    println!("{}\nhttp://{control}", sim.auth_url());
    for number in 1..=arguments.servers {
        println!("{}", sim.add_server("csi", &format!("server-{number}")));
    }
    end.comes().await;
    task.abort();
    judge(&sim)
}

/// What an end is no good end with.
fn judge(sim: &Sim) -> Result<(), String> {
    let cloud = sim.cloud();
    let (violations, left) = (cloud.ledger.violations(), cloud.leaks(&[]));
    if violations.is_empty() && left.is_empty() {
        return Ok(());
    }
    Err(format!("must never have happened: {violations:?}\nleft behind: {}", left.join(", ")))
}
