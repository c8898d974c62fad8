//! The contract: one list of facts, run against every back end. A fact that needs block devices is skipped, loudly,
//! where this process may not make any.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test ends by panicking, and tells what it skipped or left behind"
)]

#[path = "contract/attach.rs"]
mod attach;
#[path = "contract/cinder.rs"]
mod cinder;
#[path = "contract/crash.rs"]
mod crash;
#[path = "contract/device.rs"]
mod device;
#[path = "contract/file.rs"]
mod file;
#[path = "contract/fixture.rs"]
mod fixture;
#[path = "common/logs.rs"]
mod logs;
#[path = "contract/quota.rs"]
mod quota;
#[path = "contract/simulated.rs"]
mod simulated;
#[path = "contract/snapshot.rs"]
mod snapshot;
#[path = "contract/storage.rs"]
mod storage;
#[path = "contract/storpool.rs"]
mod storpool;
#[path = "contract/volume.rs"]
mod volume;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use fairlead::volume::Bytes;

use file::FileFixture;
use fixture::{Fact, Fixture, Needs};
use storage::Storage;

type Make = Arc<dyn Fn() -> Box<dyn Fixture> + Send + Sync>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    logs::record("contract");
    let root = nix::unistd::geteuid().is_root();
    let mut storages = vec![("file", Storage::plain())];
    if root {
        storages.push(("file-xfs", Storage::xfs()));
    } else {
        eprintln!("SKIPPED: every fact on xfs and every fact with devices: they need root");
    }
    let facts = [volume::FACTS, attach::FACTS, device::FACTS, snapshot::FACTS, quota::FACTS].concat();
    let mut trials = Vec::new();
    for (name, storage) in &storages {
        let storage = Arc::clone(storage);
        let make: Make = Arc::new(move || Box::new(FileFixture::new(&storage)));
        trials.extend(facts.iter().map(|fact| trial(name, *fact, Arc::clone(&make), root)));
    }
    trials.extend(crash::trials(&storages, root));
    trials.extend(simulated::trials(&facts));
    let (on_storpool, left_out) = storpool::trials(&facts, root);
    eprintln!(
        "SKIPPED: {left_out} facts on storpool: its nodes cannot let go of devices, nor note a volume's content"
    );
    trials.extend(on_storpool);
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The mounts go before the process does.
    drop(storages);
    conclusion.exit_code()
}

fn trial(backend: &str, fact: Fact, make: Make, root: bool) -> Trial {
    let skipped = fact.needs == Needs::Devices && !root;
    let run = move || -> Result<(), Failed> {
        fixture::runtime(Bytes::mib(1)).block_on(async {
            let fixture = make();
            fixture.start().await;
            (fact.run)(fixture.as_ref()).await;
            Ok(())
        })
    };
    Trial::test(format!("{backend}::{}", fact.name), run).with_ignored_flag(skipped)
}
