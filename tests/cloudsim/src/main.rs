//! Runs a simulated cloud as a program.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program says where it listens, and why it does not"
)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use cloudsim::{Config, Sim};

const USAGE: &str = "usage: cloudsim [--dialect openstack|rackspace|cyclades] [--listen ADDRESS] [--control ADDRESS] \
                     [--servers COUNT]
Prints the address of the identity service, then that for orders (see wire/control.rs), then the ids of the servers in the
project csi. Ends when it is interrupted.";

struct Arguments {
    dialect: String,
    listen: SocketAddr,
    control: SocketAddr,
    servers: usize,
}

fn arguments() -> Result<Arguments, String> {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut found = Arguments { dialect: "openstack".to_owned(), listen: local, control: local, servers: 0 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        let bad = |why: &dyn std::fmt::Display| format!("{word} {value}: {why}\n{USAGE}");
        match word.as_str() {
            "--dialect" => found.dialect = value,
            "--listen" => found.listen = value.parse().map_err(|why| bad(&why))?,
            "--control" => found.control = value.parse().map_err(|why| bad(&why))?,
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
    let failed = |why: std::io::Error| format!("cannot listen: {why}");
    let sim = Arc::new(Sim::start_at(config, arguments.listen).await.map_err(failed)?);
    let (control, _task) = sim.control(arguments.control).await.map_err(failed)?;
    println!("{}\nhttp://{control}", sim.auth_url());
    for number in 1..=arguments.servers {
        println!("{}", sim.add_server("csi", &format!("server-{number}")));
    }
    tokio::signal::ctrl_c().await.map_err(|why| format!("cannot wait for an interrupt: {why}"))
}
