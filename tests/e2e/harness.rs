//! A test, and how it is run: in a namespace of its own that is gone afterwards, with a report where it fails.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use libtest_mimic::{Completion, Failed, Trial};
use tokio::runtime::Handle;

use crate::cluster::Cluster;
use crate::report;
use crate::space::Space;

pub type Result<T = ()> = std::result::Result<T, Failed>;
type Run = for<'a> fn(&'a Space) -> Pin<Box<dyn Future<Output = Result> + 'a>>;

/// What a test needs beside a cluster with the chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Two nodes with the driver.
    TwoNodes,
    /// The scripts of the project's own test cluster, to break nodes and the API server with.
    Scripts,
}

#[derive(Clone, Copy)]
pub struct Test {
    pub name: &'static str,
    pub run: Run,
    /// Disturbs others, so nothing else runs meanwhile.
    pub alone: bool,
    /// Not part of the usual run; `--include-ignored` runs it too.
    pub slow: bool,
    pub needs: &'static [Need],
}

/// The list of a file's tests: `tests![one, another: two_nodes, third: alone slow scripts]`.
#[macro_export]
macro_rules! tests {
    ($($name:ident $(: $($mark:ident)*)?),* $(,)?) => {
        pub const TESTS: &[$crate::harness::Test] = &[$({
            #[allow(unused_mut, reason = "most tests have no marks")]
            let mut test = $crate::harness::Test {
                name: stringify!($name),
                run: |space| Box::pin($name(space)),
                alone: false,
                slow: false,
                needs: &[],
            };
            $($($crate::tests!(@mark test $mark);)*)?
            test
        }),*];
    };
    (@mark $test:ident alone) => { $test.alone = true };
    (@mark $test:ident slow) => { $test.slow = true };
    (@mark $test:ident two_nodes) => { $test.needs = &[$crate::harness::Need::TwoNodes] };
    // The project's own cluster has two nodes.
    (@mark $test:ident scripts) => { $test.needs = &[$crate::harness::Need::Scripts] };
}

impl Test {
    pub fn trial(&self, cluster: &Arc<Cluster>, runtime: &Handle) -> Trial {
        let (test, cluster, runtime) = (*self, Arc::clone(cluster), runtime.clone());
        Trial::ignorable_test(test.name, move || {
            let _entered = runtime.enter();
            if let Some(reason) = test.needs.iter().find_map(|need| cluster.lacks(*need)) {
                eprintln!("SKIPPED {}: {reason}", test.name);
                return Ok(Completion::ignored_with(reason));
            }
            runtime.block_on(test.live(cluster)).map(|()| Completion::Completed)
        })
        .with_ignored_flag(test.slow)
    }

    async fn live(&self, cluster: Arc<Cluster>) -> Result {
        let began = Instant::now();
        let space = Space::make(cluster, self.name).await?;
        let outcome = match AssertUnwindSafe((self.run)(&space)).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => Err(Failed::from(panic_text(panic.as_ref()))),
        };
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(failed) => Err(format!("{}\n{}", text(&failed), report::of(&space).await)),
        };
        let took = began.elapsed();
        let cleaned = space.remove().await.map_err(|failed| text(&failed));
        eprintln!(
            "{}: {:.1} s, and {:.1} s to clean up",
            self.name,
            seconds(took),
            seconds(began.elapsed() - took)
        );
        match (outcome, cleaned) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(failed), Ok(())) | (Ok(()), Err(failed)) => Err(failed.into()),
            (Err(failed), Err(left)) => Err(format!("{failed}\n{left}").into()),
        }
    }
}

pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn text(failed: &Failed) -> String {
    failed.message().unwrap_or("failed without a word").to_owned()
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("panicked without a word").to_owned()
}

/// Says what was being done when an error came up.
pub trait Doing<T> {
    fn doing(self, what: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl std::fmt::Display) -> Result<T> {
        self.map_err(|error| Failed::from(format!("{what}: {error}")))
    }
}

/// Fails with the text unless it holds.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result {
    if holds { Ok(()) } else { Err(otherwise().into()) }
}
