//! External commands: an absolute path, a list of arguments, a deadline, and bounded output.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

use crate::error::{Error, Kind, Result};

/// How much of each output stream is kept, from its end.
const KEPT: usize = 64 << 10;
/// How much of it goes into an error.
const QUOTED: usize = 1 << 10;
/// How long a killed command may take to be gone. One that waits for a dead device cannot be killed at all.
const REAP: Duration = Duration::from_secs(5);

/// A command that ended by itself.
#[derive(Debug)]
pub(super) struct Finished {
    tool: String,
    status: ExitStatus,
    /// The end of its standard output.
    pub(super) stdout: String,
    /// The end of its standard error.
    pub(super) stderr: String,
}

impl Finished {
    /// Its exit code; `None` where a signal ended it.
    pub(super) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The same where it succeeded.
    pub(super) fn success(self) -> Result<Self> {
        if self.status.success() { Ok(self) } else { Err(self.failure(Kind::Internal)) }
    }

    /// An error that names the tool, how it ended and its last words.
    pub(super) fn failure(&self, kind: Kind) -> Error {
        let end = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => {
                format!("ended by {}", Signal::try_from(signal).map_or("a signal", Signal::as_str))
            }
            (None, None) => "ended in no known way".to_owned(),
        };
        Error::unknown(kind, format!("{} failed ({end}): {}", self.tool, self.words()))
    }

    /// Its last words on one line: standard error, or standard output where that is silent.
    pub(super) fn words(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let mut line = lines.join("; ");
        if line.is_empty() {
            return "it said nothing".to_owned();
        }
        let cut = line.ceil_char_boundary(line.len().saturating_sub(QUOTED));
        line.replace_range(..cut, if cut == 0 { "" } else { "…" });
        line
    }
}

/// Runs a tool to its end. Standard input is empty; the environment is `LC_ALL=C` and a plain `PATH`, so that nothing of
/// the driver's own leaks into it. How it ended is for the caller to judge.
///
/// # Errors
/// Where it cannot be started; `Timeout` where it had to be killed at the deadline.
#[allow(clippy::disallowed_methods, reason = "this is the one place that starts external commands")]
pub(super) async fn run<A: AsRef<OsStr>>(
    tool: &Path,
    arguments: &[A],
    deadline: Duration,
) -> Result<Finished> {
    let name = tool.file_name().unwrap_or(tool.as_os_str()).to_string_lossy().into_owned();
    let mut child = tokio::process::Command::new(tool)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", super::tools::DIRECTORIES)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group, so that what it starts itself can be killed with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::io(format!("start {}", tool.display()), error))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let ended = {
        let whole = async {
            let (status, out, err) =
                tokio::join!(child.wait(), keep_tail(out, &mut stdout), keep_tail(err, &mut stderr));
            out.and(err).and(status)
        };
        tokio::time::timeout(deadline, whole).await
    };
    match ended {
        Ok(Ok(status)) => Ok(Finished { tool: name, status, stdout: text(&stdout), stderr: text(&stderr) }),
        Ok(Err(error)) => {
            kill(&mut child).await;
            Err(Error::io(format!("wait for {name}"), error))
        }
        Err(_) => {
            let fate = if kill(&mut child).await { "was killed" } else { "cannot be killed and still runs" };
            Err(Error::unknown(
                Kind::Timeout,
                format!("{name} did not end within {deadline:?} and {fate}; last words: {:?}", {
                    let said = text(if stderr.is_empty() { &stdout } else { &stderr });
                    said.lines().next_back().unwrap_or_default().to_owned()
                }),
            ))
        }
    }
}

/// Kills the command with all that it started; whether it is gone. One that is not is reaped by the runtime later.
async fn kill(child: &mut Child) -> bool {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok())
        && let Err(error) = killpg(Pid::from_raw(id), Signal::SIGKILL)
    {
        tracing::warn!(%error, "cannot kill an external command");
    }
    matches!(tokio::time::timeout(REAP, child.wait()).await, Ok(Ok(_)))
}

/// Reads to the end, keeping the last [`KEPT`] bytes.
async fn keep_tail(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> std::io::Result<()> {
    let Some(mut stream) = stream else { return Ok(()) };
    let mut buffer = vec![0; 8 << 10];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
    kept.drain(..kept.len().saturating_sub(KEPT));
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn shell(script: &str, deadline: Duration) -> Result<Finished> {
        run(Path::new("/bin/sh"), &["-c", script], deadline).await
    }

    #[tokio::test]
    async fn a_failure_names_tool_code_and_last_words() {
        let finished = shell("echo no such thing >&2; exit 7", Duration::from_secs(10)).await.unwrap();
        assert_eq!(finished.code(), Some(7));
        assert_eq!(finished.success().unwrap_err().to_string(), "sh failed (exit code 7): no such thing");
        let killed = shell("kill -TERM $$", Duration::from_secs(10)).await.unwrap();
        assert!(killed.failure(Kind::Internal).to_string().contains("SIGTERM"));
    }

    #[tokio::test]
    async fn the_environment_is_bare_and_standard_input_is_empty() {
        let finished = shell("env | cut -d= -f1 | sort; cat", Duration::from_secs(10)).await.unwrap();
        assert_eq!(finished.stdout.split_whitespace().collect::<Vec<_>>(), ["LC_ALL", "PATH", "PWD"]);
    }

    #[tokio::test]
    async fn of_endless_output_the_tail_is_kept() {
        let finished =
            shell("head -c 3000000 /dev/zero | tr '\\0' x; echo END", Duration::from_secs(20)).await;
        let finished = finished.unwrap();
        assert_eq!(finished.stdout.len(), KEPT);
        assert!(finished.stdout.ends_with("xEND\n"));
        assert!(finished.words().len() <= QUOTED + 4);
    }

    #[tokio::test]
    async fn at_the_deadline_the_command_and_its_children_are_killed() {
        let begin = Instant::now();
        let error = shell("sleep 61 & echo $! >&2; wait", Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(begin.elapsed() < Duration::from_secs(5), "{error}");
        let id: i32 = error.to_string().split('"').nth(1).unwrap().parse().unwrap();
        for _ in 0..100 {
            // A killed child of a killed parent is a zombie until init reaps it.
            let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("process {id} lives on");
    }

    #[tokio::test]
    async fn a_missing_tool_is_named() {
        let error = run(Path::new("/nonexistent/mkfs"), &["x"], REAP).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/mkfs"), "{error}");
    }
}
