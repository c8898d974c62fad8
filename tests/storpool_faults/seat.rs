//! Where the driver's process runs: killed like by the kernel, and started again as the kubelet does it.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use storpoolsim::Sim;
use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};
use tonic::Status;

use fairlead::client::Client;

use crate::process::{PATIENCE, Process};

/// The pause before a container that died is started again. Longer than a request that was sent before is on its way: the
/// API has no means to tell a dead process's orders from a living one's.
const PAUSE: Duration = Duration::from_millis(300);

/// What a call came to; `None`: nobody knows, because the process was killed or the caller gave up.
pub type Answer<T> = Option<Result<T, Status>>;

struct Life {
    process: Process,
    client: Client,
    number: usize,
}

/// Where processes run, one after the other.
pub struct Seat {
    home: PathBuf,
    now: RwLock<Option<Life>>,
    /// The last one that was started or killed: even numbers are alive.
    number: AtomicUsize,
}

impl Seat {
    /// With a process on this cluster.
    pub async fn new(home: &Path, sim: &Sim, token: &str) -> Self {
        let urls: Vec<_> = sim.addresses().iter().map(|address| format!("\"http://{address}\"")).collect();
        let home = home.to_owned();
        std::fs::write(home.join("token"), token).unwrap();
        let yaml = format!(
            "endpoint: unix://{0}/csi.sock\nhttp: off\nlog: {{level: debug, format: json}}\nnode: {{name: seat}}\nbackends:\n  \
             fast: {{kind: storpool, endpoint: [{1}], tokenFile: {0}/token, template: nvme, attachTimeout: 1,\n         \
             iscsi: {{portalGroup: {2}}}}}\n",
            home.display(),
            urls.join(", "),
            crate::GROUP
        );
        std::fs::write(home.join("config.yaml"), yaml).unwrap();
        let seat = Self { home, now: RwLock::new(None), number: AtomicUsize::new(0) };
        *seat.now.write().await = Some(seat.start().await);
        seat
    }

    fn log(&self, number: usize) -> PathBuf {
        self.home.join(format!("log-{number:04}"))
    }

    #[allow(clippy::disallowed_methods, reason = "the program under test")]
    async fn start(&self) -> Life {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead"));
        command.arg("controller").arg("--config").arg(self.home.join("config.yaml"));
        let process = Process::start(&mut command, &self.log(number));
        match Client::dial_within(&self.home.join("csi.sock"), PATIENCE).await {
            Ok(client) => Life { process, client, number },
            Err(error) => panic!("{error:?}\n{}", process.log()),
        }
    }

    /// Kills the process wherever it is, and starts another one.
    pub async fn kill(&self) {
        let mut now = self.now.write().await;
        let mut life = now.take().expect("one runs");
        assert!(life.process.is_running(), "it has ended by itself:\n{}", life.process.log());
        // Errors that come from now on are the kill's.
        self.number.fetch_add(1, Ordering::Relaxed);
        drop(life);
        sleep(PAUSE).await;
        *now = Some(self.start().await);
    }

    /// Calls the process, and waits so long for the answer.
    pub async fn call<T>(
        &self,
        patience: Duration,
        work: impl AsyncFnOnce(Client) -> Result<T, Status>,
    ) -> Answer<T> {
        let (client, number) = {
            let now = self.now.read().await;
            let life = now.as_ref().expect("one runs");
            (life.client.clone(), life.number)
        };
        match timeout(patience, work(client)).await {
            Err(_) => None,
            Ok(Ok(answer)) => Some(Ok(answer)),
            // One that has a cause was made here, because the connection broke.
            Ok(Err(status)) => {
                let killed = self.number.load(Ordering::Relaxed) != number;
                if killed || status.source().is_some() { None } else { Some(Err(status)) }
            }
        }
    }

    /// The logs of all processes.
    pub fn logs(&self) -> Vec<PathBuf> {
        let all = (1..=self.number.load(Ordering::Relaxed)).map(|number| self.log(number));
        all.filter(|file| file.exists()).collect()
    }
}
