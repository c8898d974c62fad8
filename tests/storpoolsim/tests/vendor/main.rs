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

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use storpoolsim::{Config, Counts, Sim};

/// Calls that the script must have made, so that it cannot end early without being noticed.
const CALLS: usize = 60;

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vendor").join(name)
}

/// The driver's calls, as its client's sources have them: method and query.
fn calls_of_driver() -> Result<BTreeSet<String>, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/backend/storpool");
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()));
    let mut text = read(&sources.join("client.rs"))?;
    for entry in std::fs::read_dir(sources.join("client")).map_err(|why| why.to_string())? {
        text.push_str(&read(&entry.map_err(|why| why.to_string())?.path())?);
    }
    let mut calls = BTreeSet::new();
    for (word, method) in [("Call::get(", "GET"), ("Call::post(", "POST")] {
        for rest in text.split(word).skip(1) {
            // The name of the operation, and then the path, whose first part is the query.
            let query = rest.split_once("&[\"").and_then(|(_, path)| path.split_once('"'));
            let (query, _) = query.ok_or_else(|| format!("a call without a query: {word}{rest:.80}"))?;
            calls.insert(format!("{method} /{query}"));
        }
    }
    Ok(calls)
}

/// What the script does not try of the driver's calls.
fn untried(counts: &Counts) -> Result<Vec<String>, String> {
    let tried = |call: &String| {
        counts.iter().any(|(made, count)| {
            count.requests > 0
                && (made == call
                    || made.strip_prefix(call.as_str()).is_some_and(|rest| rest.starts_with('/')))
        })
    };
    Ok(calls_of_driver()?.into_iter().filter(|call| !tried(call)).collect())
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

/// The driver's calls are found, and one that is not tried is told.
fn tells() -> Result<(), Failed> {
    let calls = calls_of_driver()?;
    assert!(calls.len() >= 15 && calls.contains("POST /VolumesReassignWait"), "{calls:?}");
    let mut counts = Counts::new();
    assert_eq!(untried(&counts)?.len(), calls.len());
    counts.entry("GET /Volume/{id}".to_owned()).or_default().requests = 1;
    let untried = untried(&counts)?;
    assert!(!untried.contains(&"GET /Volume".to_owned()) && untried.contains(&"GET /VolumesList".to_owned()));
    Ok(())
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
        let config = Config::default();
        let sim = match kind {
            "remote" => Sim::start_location(vec![config.neighbour("d.home", "home"), config]).await?,
            _ => Sim::start(config).await?,
        };
        let token = sim.cluster().config.token.clone();
        let remote = kind == "remote";
        let served = || if remote { sim.neighbour("d.n") } else { sim.cluster() };
        {
            let mut cluster = served();
            for client in [1, 2, 3] {
                cluster.add_client(client);
            }
            cluster.run_client(3, false);
        }
        let (python, kind, at) = (python.to_owned(), kind.to_owned(), sim.addresses()[0]);
        let script = here("script.py").display().to_string();
        let (host, port) = (at.ip().to_string(), at.port().to_string());
        let run = move || run(&python, &[&script, &host, &port, &token, &kind]);
        // The script's host logs in as soon as it may.
        let log_in = async {
            while served().log_in("iqn.2026-01.example:host", "v-1").is_err() {
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
        let untried = untried(&sim.counts())?;
        assert!(untried.is_empty(), "calls of the driver that the script does not make: {untried:?}");
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
    let mut trials = vec![trial("single"), trial("multi"), trial("remote")];
    if let Err(why) = &python
        && !arguments.list
    {
        eprintln!(
            "SKIPPED: {} tests with the vendor's client, which cannot be installed: {why}",
            trials.len()
        );
        trials = trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect();
    }
    trials.push(Trial::test("a_call_of_the_driver_that_is_not_tried_is_told", tells));
    libtest_mimic::run(&arguments, trials).exit_code()
}
