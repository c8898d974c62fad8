//! The operator's commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::{DIFFERENCES, FAILURE, bad_config, complain, print};
use crate::app;
use crate::config::{self, Overrides, ProcessEnvironment};
use crate::operator::{NewVolume, Order, Report};
use crate::volume::{BackendName, Bytes, Parameters, SizeRange, Topology};

/// What every command takes.
#[derive(Args, Debug)]
pub(super) struct Common {
    /// The configuration file [default: the variable FAIRLEAD_CONFIG, else /etc/fairlead/config.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
    /// What is logged on stderr, such as info
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum VolumeCommand {
    /// All volumes, with who has them and who claims them.
    List {
        /// Only those of this back end
        #[arg(long, value_name = "NAME")]
        backend: Option<BackendName>,
        #[command(flatten)]
        common: Common,
    },
    /// One volume as its back end knows it.
    Info {
        /// The volume's id, <back end>/<id there>
        id: String,
        #[command(flatten)]
        common: Common,
    },
    /// One volume with its faults, snapshots and what Kubernetes knows of it.
    Inspect {
        /// The volume's id, <back end>/<id there>
        id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Make a volume; made already under this name, it is told of.
    Create {
        /// Its name: ordered twice, it is made once
        name: String,
        /// Its size, such as 10GiB
        #[arg(long)]
        size: Bytes,
        /// Where [default: the only back end]
        #[arg(long, value_name = "NAME")]
        backend: Option<BackendName>,
        /// As a StorageClass would have it; may be given again
        #[arg(long = "parameter", value_name = "KEY=VALUE", value_parser = pair)]
        parameters: Vec<(String, String)>,
        /// From where it must be reachable; may be given again
        #[arg(long = "topology", value_name = "KEY=VALUE", value_parser = pair)]
        topology: Vec<(String, String)>,
        /// The id of a volume to copy
        #[arg(long, value_name = "ID", conflicts_with = "from_snapshot")]
        from_volume: Option<String>,
        /// The id of a snapshot to make it from
        #[arg(long, value_name = "ID")]
        from_snapshot: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Delete a volume for good. Refused where a PersistentVolume names it.
    Remove {
        /// The volume's id, <back end>/<id there>
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ServerCommand {
    /// The volumes that a server has.
    Inspect {
        /// The Node's name, or the whole node id of its CSINode object
        node: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args, Debug)]
pub(super) struct ReconcileArgs {
    /// Only this back end
    #[arg(long, value_name = "NAME")]
    backend: Option<BackendName>,
    /// Mend what can be mended without any doubt: detach what no PersistentVolume names and no kubelet uses
    #[arg(long)]
    fix: bool,
    #[command(flatten)]
    common: Common,
}

impl VolumeCommand {
    pub(super) fn order(self) -> (Common, Order) {
        match self {
            Self::List { backend, common } => (common, Order::ListVolumes(backend)),
            Self::Info { id, common } => (common, Order::VolumeInfo(id)),
            Self::Inspect { id, common } => (common, Order::InspectVolume(id)),
            Self::Remove { id, common } => (common, Order::RemoveVolume(id)),
            Self::Create {
                name,
                size,
                backend,
                parameters,
                topology,
                from_volume,
                from_snapshot,
                common,
            } => {
                let backend = backend.map(|name| ("backend".to_owned(), name.to_string()));
                let volume = NewVolume {
                    name,
                    size: SizeRange::at_least(size),
                    parameters: Parameters(parameters.into_iter().chain(backend).collect()),
                    place: (!topology.is_empty()).then(|| Topology(topology.into_iter().collect())),
                    from_volume,
                    from_snapshot,
                };
                (common, Order::CreateVolume(volume))
            }
        }
    }
}

impl ServerCommand {
    pub(super) fn order(self) -> (Common, Order) {
        let Self::Inspect { node, common } = self;
        (common, Order::InspectServer(node))
    }
}

impl ReconcileArgs {
    pub(super) fn order(self) -> (Common, Order) {
        let Self { backend, fix, common } = self;
        (common, Order::Reconcile { backend, fix })
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is no KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Carries an order out and prints what came of it.
pub(super) fn run((common, order): (Common, Order)) -> ExitCode {
    let file = config::file(common.config, &ProcessEnvironment);
    // The file's own level is meant for the driver that serves; here the result itself is what is asked for.
    let overrides = Overrides { log_level: Some(common.log_level), ..Overrides::default() };
    let config = match config::load(&file, &overrides, &ProcessEnvironment) {
        Ok(config) => config,
        Err(faults) => return bad_config(&faults),
    };
    match app::operate(&config, order) {
        Ok(report) => tell(&report, common.output),
        Err(error) => {
            complain(&format!("fairlead: {}\n", error.chain()));
            ExitCode::from(FAILURE)
        }
    }
}

fn tell(report: &Report, output: Output) -> ExitCode {
    let told = match output {
        Output::Table => print(&report.text),
        Output::Json => print(&format!("{:#}\n", report.json)),
    };
    match told == ExitCode::SUCCESS && report.differences {
        true => ExitCode::from(DIFFERENCES),
        false => told,
    }
}
