//! A writer that never stops, and what it proves: that no write was lost, doubled or late.

use std::time::Duration;

use crate::harness::{Result, ensure};
use crate::manifest::Draft;
use crate::pod::Running;
use crate::wait::{PATIENCE, Seen, until};

/// About ten times a second a line with a number, the time in seconds and the node's name, each forced to the disk. Goes on
/// from the last number that is there. A write that fails ends the pod.
const SCRIPT: &str = r#"
n=$(tail -n 1 /data/log 2>/dev/null | cut -d ' ' -f 1)
n=${n:-0}
while :; do
  n=$((n + 1))
  echo "$n $(date +%s) $NODE" | dd of=/data/log oflag=append conv=notrunc,fsync 2>/dev/null || { echo "write $n failed"; exit 1; }
  echo "$n is on the disk"
  usleep 100000
done
"#;

/// What the log of a writer says.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub lines: u64,
    /// The longest time between two writes, to the second.
    pub pause: Duration,
}

/// A pod that writes to the claim `data`.
pub fn writer(name: &str) -> Draft {
    Draft::new(name).mount("data").script(SCRIPT).container(serde_json::json!({
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
    }))
}

/// Reads the log through any pod that has it, and checks that every number is there once and in order.
pub async fn written(pod: &Running<'_>) -> Result<Written> {
    // The pod's kubelet may be on its way up.
    until(format!("to read the log of {}", pod.name), PATIENCE, async || read(pod).await).await
}

async fn read(pod: &Running<'_>) -> Result<Seen<Written>> {
    let told = pod
        .sh(r#"awk '$1 != NR { wrong = 1; exit } NR > 1 && $2 - last > pause { pause = $2 - last } { last = $2 }
            END { if (wrong) print "line " NR " is: " $0; else print NR, pause + 0 }' /data/log"#)
        .await?;
    let mut numbers = told.split_whitespace().map(str::parse::<u64>);
    Ok(match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(lines)), Some(Ok(pause)), None) => {
            Seen::Done(Written { lines, pause: Duration::from_secs(pause) })
        }
        _ => Seen::Never(format!("it is not in order: {told}")),
    })
}

/// Waits until the writer has written so many more lines.
pub async fn goes_on(pod: &Running<'_>, lines: u64) -> Result<Written> {
    let before = written(pod).await?.lines;
    until(format!("{} to write {lines} more lines than {before}", pod.name), PATIENCE, async || {
        Ok(match read(pod).await? {
            Seen::Done(now) if now.lines < before + lines => Seen::NotYet(format!("{now:?}")),
            seen => seen,
        })
    })
    .await
}

/// Fails where the writer was held up for longer.
pub async fn undisturbed(pod: &Running<'_>, limit: Duration) -> Result<Written> {
    let written = goes_on(pod, 3).await?;
    ensure(written.pause <= limit, || format!("the writer was held up: {written:?}, allowed are {limit:?}"))?;
    Ok(written)
}
