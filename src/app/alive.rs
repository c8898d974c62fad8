//! Whether this process still does its work: what `/healthz` tells.

use std::path::Path;
use std::time::Duration;

use crate::client::{self, Client};
use crate::error::{Error, Kind, Result};
use crate::proto::csi::ProbeRequest;

/// How long a connection is tried for: a full queue, and a socket that is only just being opened, are no death.
const DIAL: Duration = Duration::from_secs(3);
/// From the question to the answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Calls Probe on the process's own socket, over the way that a peer's call takes. Any answer is a sign of life, also
/// that the driver is not ready: a restart would not make a back end ready.
///
/// # Errors
/// Where nobody can be reached there, or no answer comes.
pub async fn check(socket: &Path) -> Result<()> {
    let ask = async {
        let client = Client::dial_within(socket, DIAL).await?;
        client.identity().probe(ProbeRequest {}).await.map_err(|status| client::refused("Probe", &status))
    };
    match tokio::time::timeout(DEADLINE, ask).await {
        Ok(answer) => answer.map(drop),
        Err(_) => {
            let text = format!("no answer on {} for {} s", socket.display(), DEADLINE.as_secs());
            Err(Error::unknown(Kind::Timeout, text))
        }
    }
}
