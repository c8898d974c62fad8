//! Runs a simulated cluster as a program.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program says where it listens, and why it does not"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use cloudsim::End;
use storpoolsim::{Cluster, Config, Devices, Sim};

const USAGE: &str = "usage: storpoolsim [--listen ADDRESS] [--clients COUNT] [--token TOKEN] [--devices DIRECTORY]
Prints the URL of its management API. Clients are numbered from 1; with a directory they get loop devices and links in it
(root). Ends when it is told to, and fails where a volume or a snapshot is left.";

struct Arguments {
    listen: SocketAddr,
    clients: u16,
    token: Option<String>,
    devices: Option<PathBuf>,
}

fn arguments() -> Result<Arguments, String> {
    let mut found =
        Arguments { listen: SocketAddr::from(([127, 0, 0, 1], 0)), clients: 0, token: None, devices: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        let bad = |why: &dyn std::fmt::Display| format!("{word} {value}: {why}\n{USAGE}");
        match word.as_str() {
            "--listen" => found.listen = value.parse().map_err(|why| bad(&why))?,
            "--clients" => found.clients = value.parse().map_err(|why| bad(&why))?,
            "--token" => found.token = Some(value),
            "--devices" => found.devices = Some(value.into()),
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
    let mut config = Config::default();
    config.token = arguments.token.unwrap_or(config.token);
    let started = Sim::start_at(config, &[arguments.listen]).await;
    let mut sim = started.map_err(|why| format!("cannot listen: {why}"))?;
    for number in 1..=arguments.clients {
        sim.cluster().add_client(number);
    }
    if let Some(directory) = arguments.devices {
        sim.show(Devices::new(&directory).map_err(|why| format!("{}: {why}", directory.display()))?);
    }
    let signals = |why: std::io::Error| format!("cannot wait for signals: {why}");
    let end = End::listen().map_err(signals)?;
    println!("{}", sim.url());
    end.comes().await;
    // Deleting goes on for a while by itself.
    let kept = |cluster: &Cluster| -> Vec<_> {
        cluster.objects().filter(|one| one.deleted.is_none()).map(|one| one.called()).collect()
    };
    let left = kept(&sim.cluster());
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("left behind: {}", left.join(", "))),
    }
}
