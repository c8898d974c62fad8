//! Named steps at which the crash tests end the process, as `kill -9` would. Compiled away without the feature
//! `failpoints`.

/// Ends this process here if the step's name is the one in `FAIRLEAD_FAILPOINT`.
#[cfg(feature = "failpoints")]
#[allow(clippy::disallowed_methods, reason = "a test hook that no release build has")]
pub fn step(name: &str) {
    if std::env::var("FAIRLEAD_FAILPOINT").is_ok_and(|wanted| wanted == name) {
        // SIGKILL itself, so that no destructor and no handler runs.
        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL).unwrap_or_default();
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub const fn step(_name: &str) {}
