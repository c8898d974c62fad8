//! A pod of a test.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, AttachParams, LogParams};
use tokio::io::AsyncReadExt;

use crate::harness::{Doing, Result};
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, until};

#[derive(Clone)]
pub struct Running<'a> {
    pub space: &'a Space,
    pub name: String,
}

impl Running<'_> {
    pub async fn get(&self) -> Result<Pod> {
        self.api().get(&self.name).await.doing(format!("get pod {}", self.name))
    }

    fn api(&self) -> Api<Pod> {
        self.space.api()
    }

    /// Waits until the pod is ready; a pod that has ended will never be.
    pub async fn wait(&self) -> Result {
        let what = format!("pod {} to run", self.name);
        until(what, PATIENCE, async || {
            let pod = self.get().await?;
            Ok(match phase(&pod) {
                "Failed" | "Succeeded" => Seen::Never(state(&pod)),
                _ if ready(&pod) => Seen::Done(()),
                _ => Seen::NotYet(state(&pod)),
            })
        })
        .await
    }

    pub async fn log(&self) -> Result<String> {
        self.api()
            .logs(&self.name, &LogParams::default())
            .await
            .doing(format!("read the log of {}", self.name))
    }

    pub async fn node(&self) -> Result<String> {
        let node = self.get().await?.spec.and_then(|spec| spec.node_name);
        node.ok_or_else(|| format!("pod {} has no node", self.name).into())
    }

    /// Runs a script in the pod and gives what it wrote. It fails if the script does.
    pub async fn sh(&self, script: &str) -> Result<String> {
        match self.try_sh(script).await? {
            (true, output) => Ok(output),
            (false, output) => Err(format!("in pod {}: {script}\nfailed: {output}", self.name).into()),
        }
    }

    /// Runs a script that has to fail, and gives what it wrote.
    pub async fn sh_fails(&self, script: &str) -> Result<String> {
        match self.try_sh(script).await? {
            (true, output) => {
                Err(format!("in pod {}: {script}\nshould have failed: {output}", self.name).into())
            }
            (false, output) => Ok(output),
        }
    }

    /// Whether a script succeeded, and what it wrote.
    pub async fn try_sh(&self, script: &str) -> Result<(bool, String)> {
        exec(&self.api(), &self.name, "main", &["sh", "-c", script]).await
    }
}

/// Runs a command in a container; whether it succeeded, and what it wrote to both outputs.
pub async fn exec(pods: &Api<Pod>, pod: &str, container: &str, command: &[&str]) -> Result<(bool, String)> {
    let what = || format!("run {command:?} in {pod}");
    let params = AttachParams::default().container(container).stdout(true).stderr(true);
    let mut process = pods.exec(pod, command.iter().copied(), &params).await.doing(what())?;
    let status = process.take_status().ok_or("no status of a command")?;
    let mut stdout = process.stdout().ok_or("no output of a command")?;
    let mut stderr = process.stderr().ok_or("no output of a command")?;
    let (mut output, mut errors) = (String::new(), String::new());
    let read =
        async { tokio::try_join!(stdout.read_to_string(&mut output), stderr.read_to_string(&mut errors)) };
    read.await.doing(what())?;
    let status = status.await.ok_or_else(|| format!("{}: the connection broke off", what()))?;
    process.join().await.doing(what())?;
    Ok((status.status.as_deref() == Some("Success"), output + &errors))
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

pub fn ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// The phase, and what containers wait for, in one line.
pub fn state(pod: &Pod) -> String {
    let statuses =
        pod.status.as_ref().and_then(|status| status.container_statuses.clone()).unwrap_or_default();
    let mut words = vec![phase(pod).to_owned()];
    words.extend(condition(pod, "PodScheduled").and_then(|condition| condition.message.clone()));
    words.extend(statuses.iter().filter_map(container_state));
    words.join("; ")
}

fn container_state(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    let restarts = match status.restart_count {
        0 => String::new(),
        count => format!(", {count} restarts"),
    };
    let text = match (&state.waiting, &state.terminated) {
        (Some(waiting), _) => {
            format!(
                "waits: {} {}",
                waiting.reason.as_deref().unwrap_or_default(),
                waiting.message.as_deref().unwrap_or_default()
            )
        }
        (_, Some(ended)) => {
            format!("ended with {}: {}", ended.exit_code, ended.reason.as_deref().unwrap_or_default())
        }
        _ => format!("runs, ready: {}", status.ready),
    };
    Some(format!("{} {text}{restarts}", status.name))
}
