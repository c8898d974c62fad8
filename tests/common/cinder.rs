//! Waiting for a cloud's work, by its client.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code, of which each test takes the part that it needs"
)]

use std::time::{Duration, Instant};

use fairlead::backend::cinder::client::Client;
use fairlead::backend::cinder::model::Status;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first wait and the longest one: a simulated cloud is quick, a real one is not to be flooded.
const PACE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// Asks until it is so, for at most a minute.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let (started, mut pause) = (Instant::now(), PACE.0);
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what} did not come");
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(PACE.1);
    }
}

/// Until a volume is made, and can be attached.
pub async fn available(client: &Client, id: &str) {
    until("an available volume", async || {
        let volume = client.volume(id).await.unwrap();
        assert!(!volume.status.is_error(), "{volume:?}");
        (volume.status == Status::Available && volume.service_uuid.is_some()).then_some(())
    })
    .await;
}
