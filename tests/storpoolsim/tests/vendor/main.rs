//! The vendor's own client makes every call of the simulated cluster, and judges each answer by its types. It is installed
//! from its package, with known hashes, into a directory beside the build. Skipped, loudly, where that cannot be had.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test ends by panicking, and tells what it skipped"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use storpoolsim::{Config, Sim};

/// Calls that the script must have made, so that it cannot end early without being noticed.
const CALLS: usize = 60;

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor").join(name)
}

#[allow(clippy::disallowed_methods, reason = "what starts the driver's commands is the driver's")]
fn run(program: &Path, arguments: &[&str]) -> Result<Output, String> {
    let shown = program.display();
    let output = Command::new(program).args(arguments).output().map_err(|why| format!("{shown}: {why}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Err(format!("{shown} {arguments:?}: {}\n{}{}", output.status, text[0], text[1]))
}

/// A Python that has the vendor's client, or why there is none.
fn python() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vendor");
    let (python, done) = (home.join("bin/python"), home.join("installed"));
    let lock = here("requirements.lock");
    let wanted = std::fs::read_to_string(&lock).map_err(|why| why.to_string())?;
    if std::fs::read_to_string(&done).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    let text = |path: &Path| path.display().to_string();
    run(Path::new("/usr/bin/python3"), &["-m", "venv", "--clear", &text(&home)])?;
    let options = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement"];
    run(&python, &[options.as_slice(), &[text(&lock).as_str()]].concat())?;
    std::fs::write(&done, wanted).map_err(|why| why.to_string())?;
    Ok(python)
}

fn accepts(python: &Path, kind: &str) -> Result<(), Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let sim = Sim::start(Config::default()).await?;
        let token = sim.cluster().config.token.clone();
        for client in [1, 2, 3] {
            sim.cluster().add_client(client);
        }
        sim.cluster().run_client(3, false);
        let (python, kind, at) = (python.to_owned(), kind.to_owned(), sim.addresses()[0]);
        let script = here("script.py").display().to_string();
        let (host, port) = (at.ip().to_string(), at.port().to_string());
        let run = move || run(&python, &[&script, &host, &port, &token, &kind]);
        // The script's host logs in as soon as it may.
        let log_in = async {
            while sim.cluster().log_in("iqn.2026-01.example:host", "v-1").is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            std::future::pending::<()>().await;
        };
        let output = tokio::select! {
            output = tokio::task::spawn_blocking(run) => output??,
            () = log_in => unreachable!("it waits until the script has ended"),
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let calls =
            text.lines().filter(|line| line.starts_with("called ") || line.starts_with("refused ")).count();
        assert!(text.ends_with("every answer was accepted\n") && calls >= CALLS, "{calls} calls\n{text}");
        Ok(())
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let python = if arguments.list { Err("nothing is run".to_owned()) } else { python() };
    let trial = |kind: &'static str| {
        let python = python.clone();
        let test = move || accepts(&python?, kind);
        Trial::test(format!("the_vendors_client_accepts_every_answer::{kind}"), test)
    };
    let mut trials = vec![trial("single"), trial("multi")];
    if let Err(why) = &python
        && !arguments.list
    {
        eprintln!(
            "SKIPPED: {} tests with the vendor's client, which cannot be installed: {why}",
            trials.len()
        );
        trials = trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect();
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
