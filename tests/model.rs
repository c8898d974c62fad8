//! Random operations on the `file` back end beside a reference model in memory: same results, same listings, also after
//! a restart in between. A failure is shrunk to the shortest sequence that shows it, which is printed.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test ends by panicking, and tells what it skipped or left behind"
)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use fairlead::backend::file::{FileBackend, FileConfig, FileConnector};
use fairlead::backend::{
    AttachOrder, Backend, Connector, DetachOrder, GroupOrder, Page, SnapshotOrder, VolumeOrder,
};
use fairlead::error::{Error, Kind, Outcome};
use fairlead::volume::{
    Access, AccessKind, AccessMode, Bytes, Content, NativeId, NodeId, Owner, Parameters, SizeRange, Source,
    TopologyRequirement,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const MAX_VOLUMES: u64 = 5;
const MAX_MIB: u64 = 40;
const PER_SERVER: usize = 2;
const CASES: u32 = 100;
const STEPS: std::ops::Range<usize> = 50..120;
const MODES: [AccessMode; 5] = [
    AccessMode::SingleNodeWriter,
    AccessMode::SingleNodeMultiWriter,
    AccessMode::MultiNodeReaderOnly,
    AccessMode::MultiNodeSingleWriter,
    AccessMode::MultiNodeMultiWriter,
];

#[derive(Clone, Copy, Debug)]
enum From {
    Nothing,
    Volume(u8),
    Snapshot(u8),
}

#[derive(Clone, Debug)]
enum Op {
    Create { name: u8, mib: u64, from: From },
    Delete(u8),
    Expand { name: u8, mib: u64 },
    Attach { name: u8, node: u8, mode: usize, readonly: bool },
    Detach { name: u8, node: Option<u8> },
    BeginFormat(u8),
    Format(u8),
    Snapshot { name: u8, volume: u8 },
    DeleteSnapshot(u8),
    Group { name: u8, volumes: Vec<u8> },
    DeleteGroup { name: u8, forget_one: bool },
    DeleteMember(u8),
    Page { max: usize, delete: u8 },
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let from = prop_oneof![
        3 => Just(From::Nothing),
        1 => (0..7_u8).prop_map(From::Volume),
        2 => (0..4_u8).prop_map(From::Snapshot),
    ];
    prop_oneof![
        6 => (0..7_u8, 0..14_u64, from).prop_map(|(name, mib, from)| Op::Create { name, mib, from }),
        3 => (0..7_u8).prop_map(Op::Delete),
        2 => (0..7_u8, 1..20_u64).prop_map(|(name, mib)| Op::Expand { name, mib }),
        6 => (0..7_u8, 0..4_u8, 0..MODES.len(), any::<bool>())
            .prop_map(|(name, node, mode, readonly)| Op::Attach { name, node, mode, readonly }),
        3 => (0..7_u8, prop::option::of(0..4_u8)).prop_map(|(name, node)| Op::Detach { name, node }),
        1 => (0..7_u8).prop_map(Op::BeginFormat),
        1 => (0..7_u8).prop_map(Op::Format),
        3 => (0..4_u8, 0..7_u8).prop_map(|(name, volume)| Op::Snapshot { name, volume }),
        2 => (0..4_u8).prop_map(Op::DeleteSnapshot),
        2 => (0..3_u8, prop::collection::vec(0..7_u8, 1..4)).prop_map(|(name, volumes)| Op::Group { name, volumes }),
        1 => (0..3_u8, any::<bool>()).prop_map(|(name, forget_one)| Op::DeleteGroup { name, forget_one }),
        1 => (0..3_u8).prop_map(Op::DeleteMember),
        1 => (1..4_usize, 0..7_u8).prop_map(|(max, delete)| Op::Page { max, delete }),
        1 => Just(Op::Restart),
    ]
}

#[derive(Clone, Debug)]
struct ModelVolume {
    mib: u64,
    source: Option<Source>,
    content: Content,
    /// By node: mode, read-only, nonce.
    attached: BTreeMap<String, (AccessMode, bool, String)>,
}

#[derive(Clone, Debug, PartialEq)]
struct ModelSnapshot {
    volume: String,
    mib: u64,
    group: Option<String>,
}

/// What should be. Snapshots are keyed by id; a member's id is what the back end answered.
#[derive(Debug, Default)]
struct Model {
    volumes: BTreeMap<String, ModelVolume>,
    snapshots: BTreeMap<String, ModelSnapshot>,
    groups: BTreeMap<String, (BTreeSet<String>, Vec<NativeId>)>,
}

impl Model {
    fn create(&mut self, name: &str, mib: u64, source: Option<Source>) -> Result<(), Kind> {
        if let Some(known) = self.volumes.get(name) {
            let same = known.mib >= mib && known.source == source;
            return if same { Ok(()) } else { Err(Kind::AlreadyExists) };
        }
        let floor = match &source {
            None => None,
            Some(Source::Volume(id)) => Some(self.volumes.get(id.as_str()).ok_or(Kind::NotFound)?.mib),
            Some(Source::Snapshot(id)) => Some(self.snapshots.get(id.as_str()).ok_or(Kind::NotFound)?.mib),
        };
        let mib = match (mib, floor) {
            (0, Some(floor)) => floor,
            (0, None) => 1024,
            (mib, Some(floor)) if mib < floor => return Err(Kind::OutOfRange),
            (mib, _) => mib,
        };
        if self.volumes.len() as u64 >= MAX_VOLUMES || self.promised() + mib > MAX_MIB {
            return Err(Kind::ResourceExhausted);
        }
        let content = if source.is_some() { Content::Data } else { Content::New };
        self.volumes.insert(name.to_owned(), ModelVolume { mib, source, content, attached: BTreeMap::new() });
        Ok(())
    }

    fn promised(&self) -> u64 {
        self.volumes.values().map(|volume| volume.mib).sum()
    }

    fn delete(&mut self, name: &str) -> Result<(), Kind> {
        if self.volumes.get(name).is_some_and(|volume| !volume.attached.is_empty()) {
            return Err(Kind::FailedPrecondition);
        }
        self.volumes.remove(name);
        Ok(())
    }

    fn expand(&mut self, name: &str, mib: u64) -> Result<u64, Kind> {
        let promised = self.promised();
        let volume = self.volumes.get_mut(name).ok_or(Kind::NotFound)?;
        if mib > volume.mib {
            if promised - volume.mib + mib > MAX_MIB {
                return Err(Kind::ResourceExhausted);
            }
            volume.mib = mib;
        }
        Ok(volume.mib)
    }

    /// Whether the attachment is a new one.
    fn attach(&self, name: &str, node: &str, mode: AccessMode, readonly: bool) -> Result<bool, Kind> {
        let volume = self.volumes.get(name).ok_or(Kind::NotFound)?;
        if node == "n3" {
            return Err(Kind::NotFound);
        }
        let others: Vec<_> =
            volume.attached.iter().filter(|(other, _)| *other != node).map(|(_, a)| a).collect();
        if !others.is_empty() {
            let all: Vec<_> =
                others.iter().map(|(mode, ro, _)| (*mode, *ro)).chain([(mode, readonly)]).collect();
            let writers =
                all.iter().filter(|(mode, ro)| !ro && *mode != AccessMode::MultiNodeReaderOnly).count();
            let every = |wanted| all.iter().all(|(mode, _)| *mode == wanted);
            let shareable = all.iter().all(|(mode, _)| format!("{mode:?}").starts_with("MultiNode"));
            let fine = writers == 0
                || every(AccessMode::MultiNodeMultiWriter)
                || every(AccessMode::MultiNodeSingleWriter) && writers == 1;
            if !(shareable && fine) {
                return Err(Kind::FailedPrecondition);
            }
        }
        match volume.attached.get(node) {
            Some((known, ro, _)) if (*known, *ro) == (mode, readonly) => Ok(false),
            Some(_) => Err(Kind::AlreadyExists),
            None => {
                let count = self.volumes.values().filter(|volume| volume.attached.contains_key(node)).count();
                if count >= PER_SERVER { Err(Kind::ResourceExhausted) } else { Ok(true) }
            }
        }
    }

    fn snapshot(&mut self, name: &str, volume: &str) -> Result<(), Kind> {
        if let Some(known) = self.snapshots.get(name) {
            return if known.volume == volume { Ok(()) } else { Err(Kind::AlreadyExists) };
        }
        let mib = self.volumes.get(volume).ok_or(Kind::NotFound)?.mib;
        self.snapshots.insert(name.to_owned(), ModelSnapshot { volume: volume.to_owned(), mib, group: None });
        Ok(())
    }

    /// Whether the group is a new one.
    fn group(&self, name: &str, volumes: &BTreeSet<String>) -> Result<bool, Kind> {
        if let Some((known, _)) = self.groups.get(name) {
            return if known == volumes { Ok(false) } else { Err(Kind::AlreadyExists) };
        }
        if volumes.iter().all(|volume| self.volumes.contains_key(volume)) {
            Ok(true)
        } else {
            Err(Kind::NotFound)
        }
    }
}

/// The result without what is not compared; an expected refusal must be final.
fn plain<T>(result: Result<T, Error>) -> Result<T, Kind> {
    result.map_err(|error| {
        assert_eq!(error.outcome(), Outcome::Refused, "{error:?}");
        error.kind()
    })
}

fn id(text: &str) -> NativeId {
    text.parse().unwrap()
}

fn volume_name(number: u8) -> String {
    format!("v{number}")
}

struct Run {
    config: FileConfig,
    backend: FileBackend,
    model: Model,
}

impl Run {
    async fn new(directory: std::path::PathBuf) -> Self {
        let mut config = FileConfig::new(directory);
        config.max_volumes = Some(MAX_VOLUMES);
        config.max_bytes = Some(Bytes::mib(MAX_MIB));
        config.per_server = Some(u32::try_from(PER_SERVER).unwrap());
        let backend = FileBackend::open(config.clone()).await.unwrap();
        for node in ["n0", "n1", "n2"] {
            Self::node(&config, node).join().await.unwrap();
        }
        Self { config, backend, model: Model::default() }
    }

    fn node(config: &FileConfig, node: &str) -> FileConnector {
        FileConnector::new(config.clone(), "here".parse().unwrap(), node.to_owned())
    }

    async fn step(&mut self, op: &Op) {
        match op {
            Op::Create { name, mib, from } => {
                let name = volume_name(*name);
                let source = match from {
                    From::Nothing => None,
                    From::Volume(number) => Some(Source::Volume(id(&volume_name(*number)))),
                    From::Snapshot(number) => Some(Source::Snapshot(id(&format!("s{number}")))),
                };
                let order = VolumeOrder {
                    name: name.clone(),
                    size: SizeRange::at_least(Bytes::mib(*mib)),
                    source: source.clone(),
                    access: Vec::new(),
                    parameters: Parameters::default(),
                    mutable: Parameters::default(),
                    topology: TopologyRequirement::default(),
                    owner: Owner::default(),
                };
                let got = plain(self.backend.create(&order).await).map(|_| ());
                assert_eq!(got, self.model.create(&name, *mib, source));
            }
            Op::Delete(name) => self.delete(*name).await,
            Op::Expand { name, mib } => {
                let name = volume_name(*name);
                let got = self.backend.expand(&id(&name), SizeRange::at_least(Bytes::mib(*mib))).await;
                assert_eq!(plain(got).map(|grown| grown.size.get() >> 20), self.model.expand(&name, *mib));
            }
            Op::Attach { name, node, mode, readonly } => {
                self.attach(*name, *node, MODES[*mode], *readonly).await;
            }
            Op::Detach { name, node } => {
                let name = volume_name(*name);
                let node = node.map(|node| format!("n{node}"));
                let order = DetachOrder {
                    volume: id(&name),
                    node: node.as_ref().map(|node| node.parse().unwrap()),
                    fence: None,
                };
                self.backend.detach(&order).await.unwrap();
                if let Some(volume) = self.model.volumes.get_mut(&name) {
                    volume.attached.retain(|known, _| node.as_ref().is_some_and(|node| node != known));
                }
            }
            Op::BeginFormat(name) => {
                let name = volume_name(*name);
                let node = Self::node(&self.config, "n0");
                let got = plain(node.mark_formatting(&id(&name)).await);
                let expected = match self.model.volumes.get_mut(&name) {
                    None => Err(Kind::NotFound),
                    Some(volume) if volume.content == Content::Data => Err(Kind::FailedPrecondition),
                    Some(volume) => {
                        volume.content = Content::Formatting;
                        Ok(())
                    }
                };
                assert_eq!(got, expected);
                let known = self.model.volumes.get(&name).map(|volume| Some(volume.content));
                assert_eq!(plain(node.content(&id(&name)).await), known.ok_or(Kind::NotFound));
            }
            Op::Format(name) => {
                let name = volume_name(*name);
                let got = plain(Self::node(&self.config, "n0").mark_formatted(&id(&name)).await);
                let known = self.model.volumes.get_mut(&name).map(|volume| volume.content = Content::Data);
                assert_eq!(got, known.ok_or(Kind::NotFound));
            }
            Op::Snapshot { name, volume } => {
                let (name, volume) = (format!("s{name}"), volume_name(*volume));
                let order = SnapshotOrder {
                    name: name.clone(),
                    volume: id(&volume),
                    parameters: Parameters::default(),
                };
                let got = plain(self.backend.create_snapshot(&order).await).map(|_| ());
                assert_eq!(got, self.model.snapshot(&name, &volume));
            }
            Op::DeleteSnapshot(name) => {
                let name = format!("s{name}");
                self.backend.delete_snapshot(&id(&name)).await.unwrap();
                self.model.snapshots.remove(&name);
            }
            Op::Group { name, volumes } => self.group(*name, volumes).await,
            Op::DeleteGroup { name, forget_one } => {
                let name = format!("g{name}");
                let mut members =
                    self.model.groups.get(&name).map(|(_, ids)| ids.clone()).unwrap_or_default();
                let wrong = *forget_one && members.pop().is_some();
                let got = plain(self.backend.delete_group(&id(&name), &members).await);
                assert_eq!(got, if wrong { Err(Kind::InvalidArgument) } else { Ok(()) });
                if !wrong {
                    self.model.groups.remove(&name);
                    self.model.snapshots.retain(|_, snapshot| snapshot.group.as_ref() != Some(&name));
                }
            }
            Op::DeleteMember(name) => {
                if let Some((_, members)) = self.model.groups.get(&format!("g{name}")) {
                    let got = plain(self.backend.delete_snapshot(&members[0]).await);
                    assert_eq!(got, Err(Kind::InvalidArgument));
                }
            }
            Op::Page { max, delete } => self.page(*max, *delete).await,
            Op::Restart => self.backend = FileBackend::open(self.config.clone()).await.unwrap(),
        }
    }

    async fn delete(&mut self, name: u8) {
        let name = volume_name(name);
        assert_eq!(plain(self.backend.delete(&id(&name)).await), self.model.delete(&name));
    }

    async fn attach(&mut self, name: u8, node: u8, mode: AccessMode, readonly: bool) {
        let (name, node) = (volume_name(name), format!("n{node}"));
        let order = AttachOrder {
            volume: id(&name),
            node: node.parse().unwrap(),
            access: Access { kind: AccessKind::Block, mode },
            readonly,
        };
        let got = plain(self.backend.attach(&order).await);
        let expected = self.model.attach(&name, &node, mode, readonly);
        assert_eq!(got.as_ref().err(), expected.as_ref().err());
        if let (Ok(attachment), Ok(new)) = (got, expected) {
            let volume = self.model.volumes.get_mut(&name).unwrap();
            assert_eq!((attachment.size, attachment.content), (Bytes::mib(volume.mib), volume.content));
            let known = volume.attached.insert(node, (mode, readonly, attachment.nonce.clone()));
            assert_eq!(known.map(|(.., nonce)| nonce == attachment.nonce), (!new).then_some(true));
        }
    }

    async fn group(&mut self, name: u8, volumes: &[u8]) {
        let name = format!("g{name}");
        let volumes: BTreeSet<_> = volumes.iter().map(|number| volume_name(*number)).collect();
        let order = GroupOrder {
            name: name.clone(),
            volumes: volumes.iter().rev().map(|volume| id(volume)).collect(),
            parameters: Parameters::default(),
        };
        let got = plain(self.backend.create_group(&order).await);
        let expected = self.model.group(&name, &volumes);
        assert_eq!(got.as_ref().err(), expected.as_ref().err());
        if let (Ok(group), Ok(true)) = (got, expected) {
            for member in &group.members {
                let volume = member.volume.to_string();
                let mib = self.model.volumes[&volume].mib;
                let snapshot = ModelSnapshot { volume, mib, group: Some(name.clone()) };
                assert_eq!(self.model.snapshots.insert(member.id.to_string(), snapshot), None);
            }
            let members = group.members.into_iter().map(|member| member.id).collect();
            self.model.groups.insert(name, (volumes, members));
        }
    }

    /// Lists by pages with a delete after the first: nothing that stays is missed or told twice.
    async fn page(&mut self, max: usize, delete: u8) {
        let mut page = Page { max: Some(max), token: None };
        let mut seen = Vec::new();
        loop {
            let list = self.backend.list(&page).await.unwrap();
            assert!(list.items.len() <= max);
            let first = seen.is_empty();
            seen.extend(list.items.into_iter().map(|volume| volume.name));
            page.token = list.next;
            if page.token.is_none() {
                break;
            }
            if first {
                self.delete(delete).await;
            }
        }
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        assert!(self.model.volumes.keys().all(|name| seen.contains(name)), "{seen:?}");
    }

    /// Everything that the back end tells is what the model says.
    async fn compare(&self) {
        let list = self.backend.list(&Page::default()).await.unwrap().items;
        let told: Vec<_> = list.iter().map(|volume| volume.name.clone()).collect();
        assert_eq!(told, self.model.volumes.keys().cloned().collect::<Vec<_>>());
        for volume in &list {
            let model = &self.model.volumes[&volume.name];
            assert_eq!((volume.size, volume.content), (Bytes::mib(model.mib), model.content));
            assert_eq!(volume.source, model.source);
            let nodes: Vec<_> = volume.attached.iter().map(NodeId::to_string).collect();
            assert_eq!(nodes, model.attached.keys().cloned().collect::<Vec<_>>());
            assert_eq!(self.backend.get(&volume.id).await.unwrap(), *volume);
        }
        let list = self.backend.list_snapshots(&Default::default(), &Page::default()).await.unwrap().items;
        let told: BTreeMap<_, _> = list
            .iter()
            .map(|s| {
                let group = s.group.as_ref().map(NativeId::to_string);
                let snapshot = ModelSnapshot { volume: s.volume.to_string(), mib: s.size.get() >> 20, group };
                (s.id.to_string(), snapshot)
            })
            .collect();
        assert_eq!(told, self.model.snapshots);
        for (name, (_, members)) in &self.model.groups {
            let group = self.backend.get_group(&id(name)).await.unwrap();
            assert_eq!(group.members.into_iter().map(|member| member.id).collect::<Vec<_>>(), *members);
        }
    }
}

#[test]
fn random_operations_agree_with_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (steps, sequences) = (Cell::new(0_usize), Cell::new(0_usize));
    // The minimal sequence is printed; nothing is written into the source tree.
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&prop::collection::vec(op(), STEPS), |operations| {
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let home = directory.path().join("d");
            std::fs::create_dir(&home).unwrap();
            let mut run = Run::new(home).await;
            for (number, operation) in operations.iter().enumerate() {
                run.step(operation).await;
                if number % 8 == 0 {
                    run.compare().await;
                }
            }
            run.backend = FileBackend::open(run.config.clone()).await.unwrap();
            run.compare().await;
            let left = std::fs::read_dir(run.config.directory.join("volumes")).unwrap().count();
            assert_eq!(left, run.model.volumes.len() * 2, "one record and one image for each");
        });
        steps.set(steps.get() + operations.len());
        sequences.set(sequences.get() + 1);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    println!("{} operations in {} sequences", steps.get(), sequences.get());
    assert!(steps.get() >= 1_000);
}
