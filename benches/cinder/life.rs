//! The lives of volumes, step by step, many at once.

use std::time::{Duration, Instant, SystemTime};

use fairlead::backend::cinder::CinderBackend;
use fairlead::backend::{AttachOrder, Backend, DetachOrder, VolumeOrder};
use fairlead::volume::{
    Access, AccessKind, AccessMode, Bytes, FsType, MountFlags, NativeId, NodeId, Owner, Parameters,
    SizeRange, TopologyRequirement,
};
use futures_util::{StreamExt as _, stream};

use crate::report::{Report, ms, percentile};

/// A step of a volume's life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Create,
    Attach,
    AttachAgain,
    Detach,
    Delete,
}

impl Step {
    const ALL: [Self; 5] = [Self::Create, Self::Attach, Self::AttachAgain, Self::Detach, Self::Delete];

    const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Attach => "attach",
            Self::AttachAgain => "attach again",
            Self::Detach => "detach",
            Self::Delete => "delete",
        }
    }
}

/// What went over the wire.
#[derive(Clone, Copy, Default)]
pub struct Traffic {
    pub requests: u64,
    /// Bytes of the answers, where somebody counts them.
    pub bytes: Option<u64>,
}

/// What one step of one volume took.
pub struct Sample {
    pub volume: NativeId,
    pub took: Duration,
    pub ended: SystemTime,
    /// The attachment that it made or ended.
    pub attachment: String,
}

/// A cloud to measure with.
pub trait Cloud {
    fn backend(&self) -> &CinderBackend;
    fn nodes(&self) -> &[NodeId];
    /// All of it so far.
    fn traffic(&self) -> Traffic;
    /// The time between the cloud's end of each operation and the answer, if it can be told for this step.
    fn lost(&self, step: Step, samples: &[Sample]) -> Option<Vec<Duration>>;
}

/// A series of lives on one cloud.
pub struct Bench<C> {
    title: String,
    pub cloud: C,
}

#[derive(Clone, Default)]
struct Volume {
    name: String,
    id: Option<NativeId>,
    attachment: String,
}

impl<C: Cloud> Bench<C> {
    pub const fn new(title: String, cloud: C) -> Self {
        Self { title, cloud }
    }

    pub async fn lives(&self, report: &mut Report, lives: &[(usize, usize)]) {
        for &(count, at_once) in lives {
            self.life(report, count, at_once).await;
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "requests for people")]
    async fn life(&self, report: &mut Report, count: usize, at_once: usize) {
        let stamp = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let mut volumes: Vec<_> =
            (0..count).map(|n| Volume { name: format!("{stamp}-{n:03}"), ..Volume::default() }).collect();
        let title = format!("{}: {count} volumes, {at_once} at once", self.title);
        let mut whole = 0.0;
        for step in Step::ALL {
            let (before, began) = (self.cloud.traffic(), Instant::now());
            let samples = self.step(step, &mut volumes, at_once).await;
            let (all, after) = (began.elapsed(), self.cloud.traffic());
            let title = format!("{title}: {}", step.name());
            let requests = (after.requests - before.requests) as f64 / count as f64;
            whole += if step == Step::AttachAgain { 0.0 } else { requests };
            let aim = match (step, at_once) {
                (Step::Attach, 1) => "<= 4",
                (Step::Attach, _) => "<= 1.5",
                (Step::AttachAgain, _) => "1",
                _ => "",
            };
            report.row(format!("{title}, requests each"), requests, "", aim);
            if let (Some(before), Some(after)) = (before.bytes, after.bytes) {
                let bytes = (after - before) as f64 / count as f64;
                report.row(format!("{title}, bytes answered each"), bytes, "B", "");
            }
            let mut took: Vec<_> = samples.iter().map(|sample| sample.took).collect();
            report.row(format!("{title}, p50"), ms(percentile(&mut took, 50)), "ms", "");
            report.row(format!("{title}, all"), ms(all), "ms", "");
            if let Some(mut lost) = self.cloud.lost(step, &samples) {
                let (p50, p95) = (ms(percentile(&mut lost, 50)), ms(percentile(&mut lost, 95)));
                report.row(format!("{title}, lost p50"), p50, "ms", "<= 150");
                report.row(format!("{title}, lost p95"), p95, "ms", "<= 400");
            }
        }
        let aim = if at_once == 1 { "<= 12" } else { "<= 7" };
        report.row(format!("{title}: a whole life, requests"), whole, "", aim);
    }

    /// All volumes through one step, `at_once` at a time.
    async fn step(&self, step: Step, volumes: &mut Vec<Volume>, at_once: usize) -> Vec<Sample> {
        let done = stream::iter(volumes.drain(..).enumerate())
            .map(|(turn, volume)| self.one(step, turn, volume))
            .buffer_unordered(at_once)
            .collect::<Vec<_>>()
            .await;
        let (moved, samples): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        *volumes = moved;
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        samples
    }

    async fn one(&self, step: Step, turn: usize, mut volume: Volume) -> (Volume, Sample) {
        let (backend, began) = (self.cloud.backend(), Instant::now());
        match step {
            Step::Create => volume.id = Some(backend.create(&order(&volume.name)).await.unwrap().id),
            Step::Attach | Step::AttachAgain => {
                let order = self.attach(volume.id.as_ref().unwrap(), turn);
                volume.attachment = backend.attach(&order).await.unwrap().nonce;
            }
            Step::Detach => {
                let order = self.attach(volume.id.as_ref().unwrap(), turn);
                let order = DetachOrder { volume: order.volume, node: Some(order.node), fence: None };
                backend.detach(&order).await.unwrap();
            }
            Step::Delete => backend.delete(volume.id.as_ref().unwrap()).await.unwrap(),
        }
        let (took, ended) = (began.elapsed(), SystemTime::now());
        let id = volume.id.clone().unwrap();
        let sample = Sample { volume: id, took, ended, attachment: volume.attachment.clone() };
        (volume, sample)
    }

    fn attach(&self, volume: &NativeId, turn: usize) -> AttachOrder {
        let kind = AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() };
        let access = Access { kind, mode: AccessMode::SingleNodeWriter };
        let nodes = self.cloud.nodes();
        let node = nodes[turn % nodes.len()].clone();
        AttachOrder { volume: volume.clone(), node, access, readonly: false }
    }
}

fn order(name: &str) -> VolumeOrder {
    VolumeOrder {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::gib(1)),
        source: None,
        access: Vec::new(),
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner::default(),
    }
}
