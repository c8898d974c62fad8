//! Servers that a test has for itself while it runs: what another one attaches meanwhile would count against their caps.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The servers that nobody has now.
#[derive(Debug)]
pub struct Pool {
    free: Mutex<Vec<String>>,
    back: Condvar,
}

/// Servers that go back when it is dropped.
pub struct Lease {
    pool: Arc<Pool>,
    pub servers: Vec<String>,
}

impl Pool {
    pub fn new(servers: Vec<String>) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(servers), back: Condvar::new() })
    }

    /// Waits until so many are free, and takes them all at once. There must be so many.
    pub fn take(self: &Arc<Self>, count: usize) -> Lease {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.back.wait_while(free, |free| free.len() < count);
        let mut free = enough.unwrap_or_else(PoisonError::into_inner);
        let servers = free.drain(..count).collect();
        Lease { pool: Arc::clone(self), servers }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.append(&mut self.servers);
        self.pool.back.notify_all();
    }
}
