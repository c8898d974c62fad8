//! `fairlead demo`: a volume's life on this machine, step by step, with two simulated servers.
//!
//! One controller process and two node processes, each with a socket of its own, are driven by a gRPC client as
//! Kubernetes would. All is real: block devices, file systems, mounts.

#![expect(clippy::print_stdout, reason = "the demo talks to a person")]

mod servers;
mod story;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

use servers::Servers;

/// Runs the demo below `directory` (a new directory in it is made and removed). Ends early, and cleans up all the
/// same, on Ctrl-C or SIGTERM.
///
/// # Errors
/// What failed, in which step; the demo has cleaned up then too, or says what it left.
pub fn run(directory: PathBuf) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the runtime", error))?
        .block_on(show(directory))
}

async fn show(directory: PathBuf) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::precondition("the demo mounts file systems, which needs root: run it with sudo"));
    }
    let mut servers = Servers::new(&directory)?;
    let told = tokio::select! {
        told = tell(&mut servers) => told,
        () = interrupted() => {
            println!("interrupted");
            Err(Error::precondition("interrupted"))
        }
    };
    let cleaned =
        timed("clean up: unpublish, unstage, detach, delete, stop the servers", servers.clean_up()).await;
    told.and(cleaned)?;
    println!("{NEXT}");
    Ok(())
}

async fn tell(servers: &mut Servers) -> Result<()> {
    println!(
        "Fairlead demo: one controller, servers A and B, back end `file`, in {}\n",
        servers.work().display()
    );
    timed("prepare a directory that both servers see", servers.prepare()).await?;
    timed("start the controller and two servers", servers.start()).await?;
    story::tell(servers).await
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals keep their default action, and there is nothing to wait for here.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

/// Runs one step and prints it with the time that it took.
async fn timed<T>(step: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    use std::io::Write as _;
    print!("  {step:<72}");
    // A step that cannot be shown is still run.
    std::io::stdout().flush().unwrap_or_default();
    let start = Instant::now();
    let result = work.await;
    match &result {
        Ok(_) => println!("{:>9}", human(start.elapsed())),
        Err(_) => println!("{:>9}", "failed"),
    }
    result
}

fn human(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

const NEXT: &str = r"
That was every step that Kubernetes drives for a pod with a volume. In a cluster you write only the claim:

  apiVersion: v1
  kind: PersistentVolumeClaim
  metadata: {name: data}
  spec:
    storageClassName: fairlead        # parameters: {backend: here}
    accessModes: [ReadWriteOnce]
    resources: {requests: {storage: 1Gi}}

and name it in a pod. Grow it by raising `storage`; snapshot it with a VolumeSnapshot.";
