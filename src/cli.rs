//! The command line: what it accepts, and which part of the house answers.

mod operate;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::{self, Role};
use crate::config::{self, Config, Fault, Overrides, ProcessEnvironment};
use crate::demo;
use crate::probe;

/// Something went wrong while it ran.
const FAILURE: u8 = 1;
/// The configuration is bad.
const BAD_CONFIG: u8 = 2;
/// An operator's command found something that is not as it should be.
const DIFFERENCES: u8 = 3;
/// The command line is bad (`EX_USAGE` of sysexits.h).
const BAD_USAGE: u8 = 64;

const EXIT_CODES: &str = "\
Exit codes:
   0  all is well
   1  a failure while running (told in the log)
   2  a bad configuration (every fault is printed)
   3  differences or faults were found (reconcile, volume inspect)
  64  a bad command line";

/// A Kubernetes CSI driver that leads the volumes of many block clouds to the right server.
#[derive(Debug, Parser)]
#[command(name = "fairlead", after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the CSI controller.
    Controller(ServeArgs),
    /// Serve the CSI node.
    Node(ServeArgs),
    /// Serve both on one socket.
    All(ServeArgs),
    /// Judge a configuration file and print every fault as file:line:column: text.
    CheckConfig {
        /// The file [default: as --config has it]
        #[arg(value_name = "FILE", conflicts_with = "config")]
        file: Option<PathBuf>,
        #[command(flatten)]
        common: ServeArgs,
    },
    /// Ask a running Fairlead whether it is ready, and print its /readyz page.
    Probe {
        /// Where its metrics and health are served
        #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:9810")]
        address: String,
    },
    /// Show a volume's life on this machine, with two simulated servers (root).
    Demo {
        /// Where the demo makes its own directory, and removes it at the end
        #[arg(long, value_name = "DIRECTORY", default_value = "/tmp")]
        directory: PathBuf,
    },
    /// Look at volumes, make and remove them.
    #[command(subcommand)]
    Volume(operate::VolumeCommand),
    /// Look at servers.
    #[command(subcommand)]
    Server(operate::ServerCommand),
    /// Compare what the back ends hold with what Kubernetes has on record.
    Reconcile(operate::ReconcileArgs),
    /// Print the version.
    Version,
}

#[derive(Args, Debug)]
struct ServeArgs {
    /// The configuration file [default: the variable FAIRLEAD_CONFIG, else /etc/fairlead/config.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The CSI socket, unix:///path; stands above the file
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Where metrics and health are served, address:port or off; stands above the file
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// What is logged, such as info or debug,h2=warn; stands above the file
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// This node's name; stands above the file
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// The directory of the kubelet to register with; stands above the file
    #[arg(long, value_name = "DIRECTORY")]
    kubelet_dir: Option<String>,
    /// This server's id at a back end, or the absolute path of a file with it; once for each back end; stands above the file
    #[arg(long, value_name = "BACKEND=ID")]
    server_id: Vec<String>,
}

impl ServeArgs {
    fn split(self) -> (PathBuf, Overrides) {
        let file = config::file(self.config, &ProcessEnvironment);
        let Self { endpoint, http, log_level, node_name, kubelet_dir, server_id: server_ids, .. } = self;
        (file, Overrides { endpoint, http, log_level, node_name, kubelet_dir, server_ids })
    }
}

/// Reads the command line of this process and does what it says.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::from(BAD_USAGE) } else { ExitCode::SUCCESS };
            // Nobody is left to tell where even this cannot be printed.
            error.print().unwrap_or_default();
            return code;
        }
    };
    match cli.command {
        Command::Controller(args) => serve(Role::Controller, args),
        Command::Node(args) => serve(Role::Node, args),
        Command::All(args) => serve(Role::All, args),
        Command::CheckConfig { file, common } => {
            check(ServeArgs { config: file.or_else(|| common.config.clone()), ..common })
        }
        Command::Probe { address } => match probe::ready(&address) {
            Ok(page) => print(&page),
            Err(error) => {
                complain(&format!("fairlead probe: {}\n", error.chain()));
                ExitCode::from(FAILURE)
            }
        },
        Command::Demo { directory } => match demo::run(directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("fairlead demo: {}\n", error.chain()));
                ExitCode::from(FAILURE)
            }
        },
        Command::Volume(command) => operate::run(command.order()),
        Command::Server(command) => operate::run(command.order()),
        Command::Reconcile(arguments) => operate::run(arguments.order()),
        Command::Version => print(&format!("{}\n", version())),
    }
}

/// The version, with the commit where the build knew it.
fn version() -> String {
    let commit = option_env!("FAIRLEAD_COMMIT").filter(|commit| !commit.is_empty());
    let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    format!("fairlead {}{commit}", env!("CARGO_PKG_VERSION"))
}

fn serve(role: Role, args: ServeArgs) -> ExitCode {
    let (file, overrides) = args.split();
    match config::load(&file, &overrides, &ProcessEnvironment) {
        Ok(config) => match app::run(role, app::Settings { file, overrides, config }) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // The log may not have begun; stderr is where both go.
                complain(&format!("fairlead: {}\n", error.chain()));
                ExitCode::from(FAILURE)
            }
        },
        Err(faults) => bad_config(&faults),
    }
}

fn check(args: ServeArgs) -> ExitCode {
    let (file, overrides) = args.split();
    match config::load(&file, &overrides, &ProcessEnvironment) {
        Ok(config) => {
            complain(&config.doubts().iter().map(|doubt| format!("doubtful: {doubt}\n")).collect::<String>());
            print(&summary(&config))
        }
        Err(faults) => bad_config(&faults),
    }
}

fn bad_config(faults: &[Fault]) -> ExitCode {
    complain(&faults.iter().map(|fault| format!("{fault}\n")).collect::<String>());
    ExitCode::from(BAD_CONFIG)
}

fn summary(config: &Config) -> String {
    let http = config.http.map_or_else(|| "off".to_owned(), |address| address.to_string());
    let backends: String = config
        .backends
        .iter()
        .map(|(name, backend)| format!("  back end {name}: {}\n", backend.kind()))
        .collect();
    let kubelet =
        config.kubelet_dir.as_ref().map_or_else(|| "none".into(), |directory| directory.to_string_lossy());
    let Config { driver_name, endpoint, .. } = config;
    let offered = match app::offered(config).words().as_slice() {
        [] => "nothing beyond volumes".to_owned(),
        words => words.join(", "),
    };
    format!(
        "ok\n  driver {driver_name}\n  socket {}\n  metrics and health {http}\n  node {}\n  kubelet {kubelet}\n\
         {backends}  advertised {offered}\n",
        endpoint.display(),
        config.node.name,
    )
}

/// Prints what was asked for.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILURE),
    }
}

/// Prints what went wrong.
fn complain(text: &str) {
    // Nobody is left to tell where stderr is gone; the exit code still says it.
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_takes_the_documented_options() {
        for role in ["controller", "node", "all", "check-config"] {
            let line = [
                "fairlead",
                role,
                "--config",
                "f",
                "--endpoint",
                "e",
                "--http",
                "h",
                "--log-level",
                "l",
                "--node-name",
                "n",
                "--kubelet-dir",
                "k",
                "--server-id",
                "a=1",
                "--server-id",
                "b=2",
            ];
            assert!(Cli::try_parse_from(line).is_ok(), "{role}");
        }
        assert!(Cli::try_parse_from(["fairlead", "check-config", "f"]).is_ok());
        for bad in [&["fairlead"][..], &["fairlead", "nod"], &["fairlead", "version", "--http", "x"]] {
            assert!(Cli::try_parse_from(bad).unwrap_err().use_stderr(), "{bad:?}");
        }
    }

    #[test]
    fn the_version_is_the_crate_s() {
        assert!(version().starts_with(concat!("fairlead ", env!("CARGO_PKG_VERSION"))));
    }
}
