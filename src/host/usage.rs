//! Use of a file system, asked so that dead storage cannot hang the driver.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio::sync::oneshot;

use super::Usage;
use crate::error::{Error, Kind, Result};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many threads may hang on one path: the one that asks, and one more in case it comes alive again.
const PER_PATH: usize = 2;
/// statvfs needs next to nothing.
const STACK: usize = 128 << 10;

/// Asks on threads of its own: one that hangs is left behind, counted, and goes when the kernel lets it go.
#[derive(Clone, Debug, Default)]
pub(super) struct Asker {
    asking: Arc<Mutex<HashMap<PathBuf, usize>>>,
}

/// Counts one thread at a path while it lives.
struct Seat {
    asking: Arc<Mutex<HashMap<PathBuf, usize>>>,
    path: PathBuf,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = asking.get_mut(&self.path) {
            *count -= 1;
            if *count == 0 {
                asking.remove(&self.path);
            }
        }
    }
}

impl Asker {
    /// Use of the file system at a path.
    pub(super) async fn usage(&self, path: &Path) -> Result<Usage> {
        let asked = path.to_owned();
        self.ask(path, DEADLINE, move || statfs(&asked)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        path: &Path,
        deadline: Duration,
        call: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let seat = self.sit(path)?;
        let (sender, answer) = oneshot::channel();
        std::thread::Builder::new()
            .name("statfs".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let result = call();
                drop(seat);
                // Nobody waits any more where the deadline has passed.
                drop(sender.send(result));
            })
            .map_err(|error| Error::io("start a thread", error))?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("the thread that asked for the use of a file system panicked")),
            Err(_) => Err(Error::unknown(
                Kind::Timeout,
                format!("the file system at {} did not answer within {deadline:?}", path.display()),
            )),
        }
    }

    fn sit(&self, path: &Path) -> Result<Seat> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asking.entry(path.to_owned()).or_insert(0);
        if *count >= PER_PATH {
            return Err(Error::unknown(
                Kind::Timeout,
                format!(
                    "the file system at {} has not answered {count} earlier calls, which still wait",
                    path.display()
                ),
            ));
        }
        *count += 1;
        Ok(Seat { asking: Arc::clone(&self.asking), path: path.to_owned() })
    }
}

fn statfs(path: &Path) -> Result<Usage> {
    let found = statvfs(path).map_err(|errno| match errno {
        nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR => {
            Error::not_found(format!("{} does not exist", path.display()))
        }
        _ => Error::io(format!("ask the use of {}", path.display()), errno.into()),
    })?;
    let unit = found.fragment_size();
    let bytes = |blocks: u64| blocks.saturating_mul(unit);
    Ok(Usage {
        total: bytes(found.blocks()),
        available: bytes(found.blocks_available()),
        used: bytes(found.blocks().saturating_sub(found.blocks_free())),
        inodes: found.files(),
        inodes_free: found.files_free(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_live_file_system_answers() {
        let usage = Asker::default().usage(Path::new("/proc/self")).await.unwrap();
        assert!(usage.used <= usage.total);
        let usage = Asker::default().usage(&std::env::temp_dir()).await.unwrap();
        assert!(usage.total > 0 && usage.used <= usage.total && usage.available <= usage.total, "{usage:?}");
        let missing = Asker::default().usage(Path::new("/no/such/place")).await;
        assert_eq!(missing.unwrap_err().kind(), Kind::NotFound);
    }

    #[tokio::test]
    async fn a_dead_one_costs_two_threads_and_never_hangs() {
        let asker = Asker::default();
        let path = Path::new("/dead");
        let short = Duration::from_millis(50);
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let begin = Instant::now();
        for _ in 0..2 {
            let wait = Arc::clone(&wait);
            let hangs = move || wait.lock().unwrap().recv().map_err(|_| Error::internal("released"));
            assert_eq!(asker.ask(path, short, hangs).await.unwrap_err().kind(), Kind::Timeout);
        }
        let never = || panic!("a third thread was started");
        let error = asker.ask(path, short, never).await.map(|(): ()| ()).unwrap_err();
        assert!(error.to_string().contains("2 earlier calls"), "{error}");
        assert_eq!(asker.ask(Path::new("/alive"), short, || Ok(7)).await.unwrap(), 7);
        assert!(begin.elapsed() < Duration::from_secs(5));
        drop(release);
        while !asker.asking.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(asker.ask(path, Duration::from_secs(5), || Ok(8)).await.unwrap(), 8);
    }
}
