//! The node in a virtual machine, with disks that are plugged in and out as Nova does. README.md beside this file says
//! what it needs. Run it with `make test-vm`.

#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends by panicking, and tells how long things took"
)]

mod disks;
mod faults;
mod identity;
mod machine;
mod nameless;
mod node;

use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libtest_mimic::{Arguments, Trial};

use machine::Machine;

/// One machine for all, one after the other: booting takes longer than a test.
type Work = for<'a> fn(&'a Machine) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The list of a file's tests.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[(&str, $crate::Work)] = &[$((stringify!($name), |machine| Box::pin($name(machine)))),*];
    };
}

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let place = tempfile::Builder::new().prefix("fairlead-vm.").tempdir().unwrap();
    let machine: Arc<OnceLock<Mutex<Machine>>> = Arc::default();
    let trials = [identity::TESTS, disks::TESTS, nameless::TESTS, faults::TESTS].concat().into_iter().map(
        |(name, work)| {
            let (machine, place) = (Arc::clone(&machine), place.path().to_owned());
            Trial::test(name, move || {
                let machine = machine.get_or_init(|| Mutex::new(boot(&place)));
                let machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
                runtime.block_on(work(&machine));
                Ok(())
            })
        },
    );
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // Ends the machine before its directory goes.
    drop(machine);
    conclusion.exit_code()
}

#[allow(clippy::disallowed_methods, reason = "a script of the tests")]
fn boot(place: &std::path::Path) -> Machine {
    let image = place.join("image");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/image.sh");
    let made = Command::new(script).arg(env!("CARGO_BIN_EXE_fairlead")).arg(&image).status().unwrap();
    assert!(made.success(), "{script} failed");
    Machine::boot(place, &image)
}
