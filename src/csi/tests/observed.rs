//! What the log, the metrics and the flights show of a call.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tracing::dispatcher::{self, DefaultGuard};
use tracing::{Dispatch, Level};

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Everything that this thread logs from now on; the tests' runtime has one thread.
    fn capture() -> (Self, DefaultGuard) {
        // tracing remembers for each place in the code whether anybody listens. With a second listener it asks all
        // of them and not the thread that comes by first, which may be that of another test.
        static LISTENER: OnceLock<Dispatch> = OnceLock::new();
        LISTENER.get_or_init(|| Self::default().subscriber());
        let log = Self::default();
        let guard = dispatcher::set_default(&log.clone().subscriber());
        (log, guard)
    }

    fn subscriber(self) -> Dispatch {
        let subscriber = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false);
        Dispatch::new(subscriber.with_writer(move || self.clone()).finish())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// The lines of this crate's own edge.
    fn lines(&self) -> Vec<String> {
        self.text().lines().filter(|line| line.contains("fairlead::csi")).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn a_call_leaves_one_line_with_its_ids_code_and_time() {
    let (log, _guard) = Log::capture();
    let wire = Wire::new(Fake::default()).await;
    let mut controller = wire.controller();
    controller.create_volume(order("v")).await.unwrap();
    controller
        .controller_publish_volume(publish_order("here/gone\n\u{1b}[31m", "worker-1"))
        .await
        .unwrap_err();
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, parts) in lines.iter().zip([
        ["INFO", "rpc=\"CreateVolume\"", "order=\"v\"", "code=\"OK\"", "seconds="],
        ["WARN", "rpc=\"ControllerPublishVolume\"", "node=\"worker-1\"", "code=\"NOT_FOUND\"", "error="],
    ]) {
        for part in parts {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
    }
    assert!(!log.lines().join("").contains('\u{1b}'));
    let page = wire.metrics.encode();
    for line in [
        r#"fairlead_rpc_seconds_count{rpc="CreateVolume",code="OK"} 1"#,
        r#"fairlead_rpc_seconds_count{rpc="ControllerPublishVolume",code="NOT_FOUND"} 1"#,
        r#"fairlead_rpcs_in_flight{rpc="CreateVolume"} 0"#,
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
}

#[tokio::test]
async fn no_secret_and_no_mount_flag_is_ever_logged_or_answered() {
    const SECRETS: [&str; 2] = ["hunter2", "secret-flag"];
    let (log, _guard) = Log::capture();
    let wire = Wire::new(Fake::default()).await;
    let (mut controller, mut node, mut group) = (wire.controller(), wire.node(), wire.group());
    let secrets = || BTreeMap::from([("password".to_owned(), "hunter2".to_owned())]);
    let flags = ["context=secret-flag".to_owned(), "secret-flag\0".to_owned()];
    let with_flags = |count: usize, mode| csi::VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume {
            mount_flags: flags[..count].to_vec(),
            ..Default::default()
        })),
        ..mount(mode)
    };
    let mut statuses: Vec<Status> = Vec::new();
    for (count, mode) in [
        (1, Mode::SingleNodeWriter),
        (2, Mode::SingleNodeWriter),
        (1, Mode::MultiNodeMultiWriter),
        (1, Mode::Unknown),
    ] {
        let capability = with_flags(count, mode);
        let create = csi::CreateVolumeRequest {
            volume_capabilities: vec![capability.clone()],
            secrets: secrets(),
            ..order("v")
        };
        statuses.extend(controller.create_volume(create).await.err());
        let publish = csi::ControllerPublishVolumeRequest {
            volume_capability: Some(capability.clone()),
            secrets: secrets(),
            ..publish_order("here/v", "worker-1")
        };
        let context = match controller.controller_publish_volume(publish).await {
            Ok(attached) => attached.into_inner().publish_context,
            Err(status) => {
                statuses.push(status);
                BTreeMap::new()
            }
        };
        let stage = csi::NodeStageVolumeRequest {
            volume_id: "here/v".into(),
            staging_target_path: "/kubelet/staging".into(),
            volume_capability: Some(capability.clone()),
            publish_context: context,
            secrets: secrets(),
            ..Default::default()
        };
        statuses.extend(node.node_stage_volume(stage).await.err());
        let publish = csi::NodePublishVolumeRequest {
            volume_id: "here/v".into(),
            staging_target_path: "/kubelet/staging".into(),
            target_path: "/kubelet/pods/mount".into(),
            volume_capability: Some(capability.clone()),
            secrets: secrets(),
            ..Default::default()
        };
        statuses.extend(node.node_publish_volume(publish).await.err());
        let validate = csi::ValidateVolumeCapabilitiesRequest {
            volume_id: "here/v".into(),
            volume_capabilities: vec![capability],
            secrets: secrets(),
            ..Default::default()
        };
        statuses.extend(controller.validate_volume_capabilities(validate).await.err());
    }
    let cut = csi::CreateVolumeGroupSnapshotRequest {
        name: "g".into(),
        source_volume_ids: vec!["here/gone".into()],
        secrets: secrets(),
        ..Default::default()
    };
    statuses.extend(group.create_volume_group_snapshot(cut).await.err());
    assert!(statuses.len() > 8, "the failing paths are to be seen too: {statuses:?}");
    assert!(log.lines().len() >= 21);
    for secret in SECRETS {
        assert!(!format!("{statuses:?}").contains(secret));
        let text = log.text();
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.expect(what);
}

#[tokio::test]
async fn a_cancelled_call_is_logged_goes_on_and_is_joined_by_its_retry() {
    let (log, _guard) = Log::capture();
    let wire = Wire::new(Fake::default()).await;
    wire.fake.gate.forget_permits(2000);
    let mut controller = wire.controller();
    let wait = Duration::from_millis(50);
    assert!(tokio::time::timeout(wait, controller.create_volume(order("v"))).await.is_err());
    let cancelled = |line: &String| line.contains("CANCELLED") && line.contains("CreateVolume");
    until("the cancelled call is logged", || log.lines().iter().any(cancelled)).await;
    assert_eq!(wire.controller.flights().len(), 1);
    let other = csi::CreateVolumeRequest { capacity_range: None, ..order("v") };
    let status = controller.create_volume(other).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert!(status.message().contains("create for"), "its phase is told: {status:?}");
    let mut again = wire.controller();
    let retry = tokio::spawn(async move { again.create_volume(order("v")).await });
    let waiting = r#"fairlead_rpcs_in_flight{rpc="CreateVolume"} 1"#;
    until("the retry waits for the flight", || wire.metrics.encode().contains(waiting)).await;
    wire.fake.gate.add_permits(1);
    tokio::time::timeout(Duration::from_secs(5), retry).await.expect("it joined").unwrap().unwrap();
    assert_eq!(wire.fake.creates.load(Ordering::SeqCst), 1);
    let page = wire.metrics.encode();
    for line in [
        r#"fairlead_rpc_seconds_count{rpc="CreateVolume",code="CANCELLED"} 1"#,
        r#"fairlead_rpcs_in_flight{rpc="CreateVolume"} 0"#,
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
}
