use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::fake::{Cloud, Cut, Disk, Entry, Image, Joining, Machine};
use super::*;
use crate::error::{Kind, Outcome};
use crate::host::{Mount, PathKind};
use crate::volume::{AccessMode, Connection, Content, FsType, HealthStatus, MountFlags};

const SIZE: Bytes = Bytes::mib(512);
const STAGING: &str = "/kubelet/staging";
const INTENT: &str = "/kubelet/staging/.fairlead-formatting";
const HALF_INTENT: &str = "/kubelet/staging/..fairlead-formatting.new";

struct Rig {
    machine: Arc<Machine>,
    node: Node,
    metrics: Arc<Metrics>,
}

impl Rig {
    fn new() -> Self {
        let machine = Arc::new(Machine::default());
        {
            let mut state = machine.state();
            for directory in ["/", "/dev", "/kubelet", STAGING, "/kubelet/pods"] {
                state.paths.insert(directory.into(), Entry::Directory);
            }
            for name in ["v", "w"] {
                let image = Image { disk: Disk::Blank, size: SIZE, content: Content::New, device: None };
                state.images.insert(name.into(), image);
            }
        }
        let (node, metrics) = Self::process(&machine);
        Self { machine, node, metrics }
    }

    fn process(machine: &Arc<Machine>) -> (Node, Arc<Metrics>) {
        let config = NodeConfig {
            name: "worker-1".into(),
            topology: Topology([("zone".to_owned(), "a".to_owned())].into()),
            max_volumes: Some(30),
            foreign: None,
        };
        let metrics = Arc::new(Metrics::default());
        let cloud: Arc<dyn Connector> = Arc::new(Cloud(Arc::clone(machine)));
        let connectors = BTreeMap::from([("here".parse().unwrap(), cloud)]);
        let host: Arc<dyn Host> = Arc::<Machine>::clone(machine);
        (Node::new(config, host, connectors, Arc::clone(&metrics)), metrics)
    }

    /// Where the back end keeps a record of the contents, or does not.
    fn with(recorded: bool) -> Self {
        let rig = Self::new();
        rig.machine.state().unrecorded = !recorded;
        rig
    }

    fn record(&self, content: Content) {
        self.machine.state().images.get_mut("v").unwrap().content = content;
    }

    fn recorded(&self) -> Content {
        self.machine.state().images["v"].content
    }

    /// Another process on the same machine, after the end of the one before.
    fn restart(&mut self) {
        self.machine.revive();
        (self.node, self.metrics) = Self::process(&self.machine);
    }

    fn set(&self, disk: Disk) {
        self.machine.state().images.get_mut("v").unwrap().disk = disk;
    }

    fn mounted(&self) -> Vec<PathBuf> {
        self.machine.state().mounts.iter().map(|mount| mount.target.clone()).collect()
    }

    fn connected(&self) -> bool {
        self.machine.state().images["v"].device.is_some()
    }

    fn mountpoint(&self, path: &str) -> PathKind {
        futures_util::FutureExt::now_or_never(self.machine.path_kind(Path::new(path))).unwrap().unwrap()
    }
}

fn id() -> VolumeId {
    "here/v".parse().unwrap()
}

fn mount(fs: FsType, flags: &[&str]) -> AccessKind {
    AccessKind::Mount { fs, flags: MountFlags::new(flags.iter().map(|flag| (*flag).to_owned()).collect()) }
}

fn stage(kind: AccessKind) -> Stage {
    Stage {
        volume: id(),
        attachment: Attachment {
            nonce: "1".into(),
            size: SIZE,
            content: Content::New,
            readonly: false,
            connection: Connection::Loop { image: "v.img".into() },
        },
        path: STAGING.into(),
        access: Access { kind, mode: AccessMode::SingleNodeMultiWriter },
    }
}

fn publish(kind: AccessKind, target: &str) -> Publish {
    Publish {
        volume: id(),
        staging: STAGING.into(),
        target: Path::new("/kubelet/pods").join(target),
        access: Access { kind, mode: AccessMode::SingleNodeMultiWriter },
        readonly: false,
    }
}

fn formatted(fs: FsType) -> Disk {
    Disk::Fs { fs, size: SIZE, written: true }
}

fn intent(volume: &str, nonce: &str, size: Bytes, fs: &str) -> Entry {
    Entry::File(format!(r#"{{"volume":"{volume}","nonce":"{nonce}","size":{},"fs":"{fs}"}}"#, size.get()))
}

fn kinds() -> Vec<AccessKind> {
    FsType::ALL.into_iter().map(|fs| mount(fs, &["noatime"])).chain([AccessKind::Block]).collect()
}

#[test]
fn every_step_in_the_sources_is_listed_once_and_every_listed_one_is_there() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    // The host's is within the writing of the intent.
    for entry in
        ["node", "host"].map(|room| std::fs::read_dir(sources.join(room)).unwrap()).into_iter().flatten()
    {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        if path.file_name().is_some_and(|name| name != "tests.rs") {
            let steps = text.split("failpoint::step(\"").skip(1);
            found.extend(steps.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    let distinct: BTreeSet<_> = found.iter().map(String::as_str).collect();
    assert_eq!(distinct.len(), found.len(), "a step's name is used twice: {found:?}");
    assert_eq!(distinct, STEPS.iter().copied().collect());
    assert_eq!(STEPS.len(), found.len());
}

#[tokio::test]
async fn a_volume_lives_its_life_with_each_call_made_twice() {
    for kind in kinds() {
        let rig = Rig::new();
        let (stage, publish) = (stage(kind.clone()), publish(kind.clone(), "p"));
        for _ in 0..2 {
            rig.node.stage(&stage).await.unwrap();
        }
        let block = kind == AccessKind::Block;
        assert_eq!(rig.mounted().len(), usize::from(!block));
        for _ in 0..2 {
            rig.node.publish(&publish).await.unwrap();
        }
        assert_eq!(rig.mounted().len(), 1 + usize::from(!block));
        assert!(rig.metrics.encode().contains(r#"connected_devices{backend="here"} 1"#));
        let stats = rig.node.stats(&id(), &publish.target).await.unwrap();
        assert_eq!(matches!(stats, Stats::Block(SIZE)), block);
        assert_eq!(rig.node.health(&id()).await.unwrap(), []);
        let refused = rig.node.unstage(&id(), &stage.path).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::FailedPrecondition);
        assert!(refused.to_string().contains("/kubelet/pods/p"), "{refused}");
        assert_eq!(rig.mounted().len(), 1 + usize::from(!block), "a refused unstage changes nothing");
        for _ in 0..2 {
            rig.node.unpublish(&id(), &publish.target).await.unwrap();
        }
        assert_eq!(rig.mountpoint("/kubelet/pods/p"), PathKind::Missing);
        for _ in 0..2 {
            rig.node.unstage(&id(), &stage.path).await.unwrap();
        }
        assert!(rig.mounted().is_empty() && !rig.connected());
        assert!(rig.metrics.encode().contains(r#"connected_devices{backend="here"} 0"#));
        assert_eq!(rig.machine.state().formats, usize::from(!block));
    }
}

/// The process ends at every change that it makes, before, in and after it; the retry of each call completes, data is
/// never formatted over, and nothing is left at the end.
#[tokio::test]
async fn the_retry_completes_wherever_the_process_ended() {
    let rigs = kinds().into_iter().flat_map(|kind| [(kind.clone(), true), (kind, false)]);
    for (kind, recorded) in rigs {
        for cut in [Cut::Before, Cut::Half, Cut::After] {
            let mut ends = 0;
            loop {
                let mut rig = Rig::with(recorded);
                rig.machine.state().fuse = Some((ends + 1, cut));
                let before = ends;
                let (stage, publish) = (stage(kind.clone()), publish(kind.clone(), "p"));
                for call in 0..5 {
                    let mut tries = 0;
                    loop {
                        let result = match call {
                            0 => rig.node.stage(&stage).await,
                            1 => rig.node.publish(&publish).await,
                            2 => {
                                let size = SizeRange::at_least(SIZE);
                                let expand = Expand { volume: id(), path: publish.target.clone(), size };
                                rig.node.expand(&expand).await.map(drop)
                            }
                            3 => rig.node.unpublish(&id(), &publish.target).await,
                            _ => rig.node.unstage(&id(), &stage.path).await,
                        };
                        let Err(error) = result else { break };
                        assert_eq!(
                            error.outcome(),
                            Outcome::Unknown,
                            "{kind:?} {cut:?} {ends} {call}: {error:?}"
                        );
                        assert_eq!(tries, 0, "{kind:?} {cut:?} {ends} {call}: {error:?}");
                        (tries, ends) = (1, before + 1);
                        rig.restart();
                    }
                    if call == 1 {
                        assert_eq!(rig.machine.state().paths.get(Path::new(INTENT)), None);
                    }
                }
                assert_eq!(rig.machine.state().destroyed, 0);
                assert!(rig.mounted().is_empty() && !rig.connected(), "{kind:?} {cut:?} {ends}");
                if ends == before {
                    break;
                }
            }
            assert!(ends >= 6, "{kind:?} {cut:?}: only {ends} changes were cut");
        }
    }
}

#[tokio::test]
async fn only_what_is_new_and_proven_blank_is_formatted() {
    use FsType::{Ext4, Xfs};
    let refused: Vec<(&str, Disk, Content, Option<Entry>)> = vec![
        ("Data and blank", Disk::Blank, Content::Data, None),
        ("Data, blank and an intent", Disk::Blank, Content::Data, Some(intent("here/v", "1", SIZE, "ext4"))),
        ("bytes without signature", Disk::Garbage, Content::New, None),
        ("another file system", formatted(Xfs), Content::New, None),
        (
            "another file system, intent",
            formatted(Xfs),
            Content::New,
            Some(intent("here/v", "1", SIZE, "ext4")),
        ),
        ("LUKS", Disk::Other("crypto_LUKS"), Content::New, None),
        ("LUKS, intent", Disk::Other("crypto_LUKS"), Content::New, Some(intent("here/v", "1", SIZE, "ext4"))),
        ("several signatures", Disk::Ambivalent, Content::New, None),
        ("another nonce", Disk::Garbage, Content::New, Some(intent("here/v", "0", SIZE, "ext4"))),
        ("another volume", Disk::Garbage, Content::New, Some(intent("here/w", "1", SIZE, "ext4"))),
        ("another size", Disk::Garbage, Content::New, Some(intent("here/v", "1", Bytes::mib(1), "ext4"))),
        ("another target", Disk::Garbage, Content::New, Some(intent("here/v", "1", SIZE, "xfs"))),
        ("no intent of ours", Disk::Garbage, Content::New, Some(Entry::File("{}".into()))),
    ];
    for (what, disk, content, entry) in refused {
        let rig = Rig::new();
        rig.set(disk.clone());
        if let Some(entry) = entry {
            rig.machine.state().paths.insert(INTENT.into(), entry);
        }
        let mut order = stage(mount(Ext4, &[]));
        order.attachment.content = content;
        let error = rig.node.stage(&order).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (Kind::FailedPrecondition, Outcome::Refused),
            "{what}: {error}"
        );
        assert_eq!(rig.machine.state().images["v"].disk, disk, "{what}");
        assert_eq!(rig.machine.state().formats, 0, "{what}");
        assert!(!rig.connected(), "{what}: a refusal leaves nothing behind");
    }
    for disk in [Disk::Garbage, Disk::Fs { fs: Ext4, size: SIZE, written: false }, Disk::Blank] {
        for recorded in [true, false] {
            let rig = Rig::with(recorded);
            rig.set(disk.clone());
            rig.machine.state().paths.insert(INTENT.into(), intent("here/v", "1", SIZE, "ext4"));
            rig.node.stage(&stage(mount(Ext4, &[]))).await.unwrap();
            assert_eq!(rig.recorded(), if recorded { Content::Data } else { Content::New });
            let state = rig.machine.state();
            assert_eq!((state.formats, state.paths.get(Path::new(INTENT))), (1, None));
        }
    }
    // The next attachment of the same volume cannot use it: another node may have had the volume in between.
    let rig = Rig::new();
    rig.set(Disk::Garbage);
    rig.machine.state().paths.insert(INTENT.into(), intent("here/v", "1", SIZE, "ext4"));
    let mut order = stage(mount(Ext4, &[]));
    order.attachment.nonce = "2".into();
    assert_eq!(rig.node.stage(&order).await.unwrap_err().kind(), Kind::FailedPrecondition);
}

/// The disk goes in the midst of it, and another one comes, which gets its number where nobody has the first one open.
#[tokio::test]
async fn only_the_disk_that_was_looked_at_is_formatted() {
    for begun in [false, true] {
        let rig = Rig::new();
        if begun {
            rig.machine.state().paths.insert(INTENT.into(), intent("here/v", "1", SIZE, "ext4"));
        }
        rig.machine.state().replacement = Some(formatted(FsType::Ext4));
        let error = rig.node.stage(&stage(mount(FsType::Ext4, &[]))).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown), "{error}");
        let state = rig.machine.state();
        assert_eq!((state.replacement.is_none(), state.formats, state.destroyed), (true, 0, 0));
    }
}

/// The process ends at every change of a stage and the pod is gone by then: unstage takes the intent away. The record
/// still lets the next stage complete, with the same attachment or with another one elsewhere.
#[tokio::test]
async fn an_interrupted_mkfs_is_made_again_also_after_unstage() {
    for (fs, elsewhere) in FsType::ALL.into_iter().flat_map(|fs| [(fs, false), (fs, true)]) {
        for cut in [Cut::Before, Cut::Half, Cut::After] {
            let (mut ends, mut half_made) = (0, 0);
            loop {
                let mut rig = Rig::new();
                rig.machine.state().fuse = Some((ends + 1, cut));
                let mut order = stage(mount(fs, &[]));
                if rig.node.stage(&order).await.is_ok() {
                    break;
                }
                ends += 1;
                rig.restart();
                rig.node.unstage(&id(), &order.path).await.unwrap();
                for left in [INTENT, HALF_INTENT] {
                    assert_eq!(rig.machine.state().paths.get(Path::new(left)), None, "{cut:?} {ends}");
                }
                assert!(!rig.connected());
                half_made += usize::from(rig.machine.state().images["v"].disk == Disk::Garbage);
                if elsewhere {
                    order.path = "/kubelet/pods".into();
                    (order.attachment.nonce, order.attachment.content) = ("2".into(), rig.recorded());
                }
                rig.node.stage(&order).await.unwrap();
                assert_eq!((rig.mounted(), rig.recorded()), (vec![order.path.clone()], Content::Data));
                assert_eq!(rig.machine.state().destroyed, 0);
            }
            assert!(ends >= 8, "{cut:?}: only {ends} changes were cut");
            assert_eq!(half_made, usize::from(cut == Cut::Half), "{cut:?}");
        }
    }
}

#[tokio::test]
async fn what_may_have_been_written_is_never_formatted() {
    use FsType::{Ext4, Xfs};
    let begun = || Some(intent("here/v", "1", SIZE, "ext4"));
    // Whether there is a record, what was told, what the record says.
    let cases = [
        ("record Data, intent", true, Content::New, Content::Data, Disk::Garbage, begun()),
        ("record Data, blank", true, Content::New, Content::Data, Disk::Blank, begun()),
        ("record Data, told Formatting", true, Content::Formatting, Content::Data, Disk::Garbage, None),
        ("told Data, record Formatting", true, Content::Data, Content::Formatting, Disk::Garbage, begun()),
        ("told Formatting, no record", false, Content::Formatting, Content::New, Disk::Garbage, None),
        ("Formatting, another's", true, Content::Formatting, Content::Formatting, formatted(Xfs), None),
        ("Formatting, LUKS", true, Content::New, Content::Formatting, Disk::Other("crypto_LUKS"), None),
        ("Formatting, several", true, Content::New, Content::Formatting, Disk::Ambivalent, None),
    ];
    for (what, recorded, told, record, disk, entry) in cases {
        let rig = Rig::with(recorded);
        rig.set(disk.clone());
        rig.record(record);
        if let Some(entry) = entry {
            rig.machine.state().paths.insert(INTENT.into(), entry);
        }
        let mut order = stage(mount(Ext4, &[]));
        order.attachment.content = told;
        let error = rig.node.stage(&order).await.unwrap_err();
        let found = (error.kind(), error.outcome());
        assert_eq!(found, (Kind::FailedPrecondition, Outcome::Refused), "{what}: {error}");
        assert_eq!(rig.recorded(), record, "{what}");
        assert_eq!(rig.machine.state().images["v"].disk, disk, "{what}");
        assert!(!rig.connected(), "{what}");
    }
}

#[tokio::test]
async fn a_raw_device_is_data_before_anybody_can_write_to_it() {
    for (recorded, record) in [(true, Content::New), (true, Content::Formatting), (false, Content::New)] {
        let rig = Rig::with(recorded);
        rig.record(record);
        rig.machine.state().paths.insert(INTENT.into(), intent("here/v", "1", SIZE, "ext4"));
        rig.node.stage(&stage(AccessKind::Block)).await.unwrap();
        assert_eq!(rig.recorded(), if recorded { Content::Data } else { record });
        assert_eq!(rig.machine.state().paths.get(Path::new(INTENT)), None);
        rig.set(Disk::Other("a user's bytes"));
        for unstaged in [false, true] {
            if unstaged {
                rig.node.unstage(&id(), Path::new(STAGING)).await.unwrap();
            }
            for disk in [Disk::Other("a user's bytes"), Disk::Garbage] {
                rig.set(disk.clone());
                let error = rig.node.stage(&stage(mount(FsType::Ext4, &[]))).await.unwrap_err();
                assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
                assert_eq!(rig.machine.state().images["v"].disk, disk);
            }
        }
    }
    for record in [Content::New, Content::Formatting] {
        let rig = Rig::new();
        rig.record(record);
        let mut reader = stage(AccessKind::Block);
        (reader.attachment.readonly, reader.access.mode) = (true, AccessMode::SingleNodeReaderOnly);
        rig.node.stage(&reader).await.unwrap();
        assert_eq!(rig.recorded(), record, "nobody wrote");
    }
    // A staged reader may be published for writing where the attachment allows it.
    let rig = Rig::new();
    let mut order = stage(AccessKind::Block);
    order.access.mode = AccessMode::SingleNodeReaderOnly;
    rig.node.stage(&order).await.unwrap();
    assert_eq!(rig.recorded(), Content::Data);
}

#[tokio::test]
async fn a_found_file_system_is_data_before_it_is_mounted_for_writing() {
    for (flags, recorded) in [(&["noatime"][..], Content::Data), (&["ro"], Content::New)] {
        let rig = Rig::new();
        rig.set(formatted(FsType::Ext4));
        rig.node.stage(&stage(mount(FsType::Ext4, flags))).await.unwrap();
        assert_eq!((rig.recorded(), rig.machine.state().formats), (recorded, 0));
    }
}

#[tokio::test]
async fn a_file_system_with_a_void_intent_is_mounted_and_the_intent_is_gone_first() {
    for (entry, content) in [
        (intent("here/v", "0", SIZE, "ext4"), Content::New),
        (intent("here/v", "1", SIZE, "ext4"), Content::Data),
    ] {
        let rig = Rig::new();
        rig.set(formatted(FsType::Ext4));
        rig.machine.state().paths.insert(INTENT.into(), entry);
        let mut order = stage(mount(FsType::Ext4, &[]));
        order.attachment.content = content;
        rig.node.stage(&order).await.unwrap();
        let state = rig.machine.state();
        assert_eq!((state.formats, state.paths.get(Path::new(INTENT))), (0, None));
    }
}

#[tokio::test]
async fn nothing_is_formatted_for_readers_or_where_it_cannot_fit() {
    let reader = |change: fn(&mut Stage)| {
        let mut order = stage(mount(FsType::Ext4, &[]));
        change(&mut order);
        order
    };
    for (what, order, kind) in [
        ("mode", reader(|o| o.access.mode = AccessMode::SingleNodeReaderOnly), Kind::FailedPrecondition),
        ("attachment", reader(|o| o.attachment.readonly = true), Kind::FailedPrecondition),
        ("flag", reader(|o| o.access.kind = mount(FsType::Ext4, &["ro"])), Kind::FailedPrecondition),
        ("device too small", reader(|o| o.attachment.size = Bytes::gib(1)), Kind::Unavailable),
        ("bad flag", reader(|o| o.access.kind = mount(FsType::Ext4, &["bind"])), Kind::InvalidArgument),
        ("gone", reader(|o| o.volume = "here/x".parse().unwrap()), Kind::NotFound),
        ("back end", reader(|o| o.volume = "there/x".parse().unwrap()), Kind::NotFound),
        ("detached", reader(|o| o.attachment.nonce.clear()), Kind::FailedPrecondition),
        ("no directory", reader(|o| o.path = "/kubelet/none".into()), Kind::FailedPrecondition),
        ("relative", reader(|o| o.path = "some/path".into()), Kind::InvalidArgument),
        ("root", reader(|o| o.path = "/".into()), Kind::InvalidArgument),
    ] {
        let rig = Rig::new();
        let error = rig.node.stage(&order).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert_eq!(rig.machine.state().formats, 0, "{what}");
        assert_eq!(rig.connected(), error.outcome() == Outcome::Unknown, "{what}: {error:?}");
    }
    let rig = Rig::new();
    rig.machine.state().images.get_mut("v").unwrap().size = Bytes::mib(20);
    let mut order = stage(mount(FsType::Xfs, &[]));
    order.attachment.size = Bytes::mib(20);
    assert_eq!(rig.node.stage(&order).await.unwrap_err().kind(), Kind::OutOfRange);
}

#[tokio::test]
async fn what_is_staged_otherwise_already_exists_and_stays() {
    let rig = Rig::new();
    rig.node.stage(&stage(mount(FsType::Xfs, &["noatime"]))).await.unwrap();
    let before = rig.mounted();
    let change = |change: fn(&mut Stage)| {
        let mut order = stage(mount(FsType::Xfs, &["noatime"]));
        change(&mut order);
        order
    };
    for order in [
        change(|o| o.access.kind = mount(FsType::Ext4, &["noatime"])),
        change(|o| o.access.kind = mount(FsType::Xfs, &[])),
        change(|o| o.access.kind = mount(FsType::Xfs, &["noatime", "noexec"])),
        change(|o| o.access.mode = AccessMode::MultiNodeReaderOnly),
        change(|o| o.access.kind = AccessKind::Block),
        change(|o| o.volume = "here/w".parse().unwrap()),
        change(|o| o.path = "/kubelet/pods".into()),
    ] {
        let error = rig.node.stage(&order).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::AlreadyExists, Outcome::Refused), "{error}");
        assert!(!error.to_string().contains("noatime"), "no mount flag in an error: {error}");
        assert_eq!(rig.mounted(), before);
        assert!(rig.connected());
    }
    assert!(rig.machine.state().images["w"].device.is_none(), "the other volume is let go of again");
}

#[tokio::test]
async fn readers_get_a_read_only_mount() {
    for fs in FsType::ALL {
        let rig = Rig::new();
        rig.set(formatted(fs));
        let mut order = stage(mount(fs, &[]));
        (order.attachment.readonly, order.attachment.content) = (true, Content::Data);
        for _ in 0..2 {
            rig.node.stage(&order).await.unwrap();
        }
        assert!(rig.machine.state().mounts[0].super_options.contains(&"ro".to_owned()));
        let writer = publish(mount(fs, &[]), "p");
        assert_eq!(rig.node.publish(&writer).await.unwrap_err().kind(), Kind::FailedPrecondition);
        let reader = Publish { readonly: true, ..writer };
        for _ in 0..2 {
            rig.node.publish(&reader).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_target_is_as_the_access_mode_allows() {
    use AccessMode::*;
    for (mode, allowed) in [
        (SingleNodeWriter, false),
        (SingleNodeSingleWriter, false),
        (SingleNodeMultiWriter, true),
        (MultiNodeMultiWriter, true),
        (MultiNodeSingleWriter, true),
    ] {
        for kind in kinds() {
            let rig = Rig::new();
            rig.node.stage(&stage(kind.clone())).await.unwrap();
            let order = |target: &str| {
                let mut order = publish(kind.clone(), target);
                order.access.mode = mode;
                order
            };
            rig.node.publish(&order("p")).await.unwrap();
            let second = rig.node.publish(&order("q")).await;
            assert_eq!(second.is_ok(), allowed, "{mode:?}");
            if let Err(error) = second {
                assert_eq!(error.kind(), Kind::FailedPrecondition);
                assert!(error.to_string().contains("/kubelet/pods/p"), "{error}");
                assert_eq!(rig.mountpoint("/kubelet/pods/q"), PathKind::Missing);
            }
        }
    }
}

#[tokio::test]
async fn what_is_published_otherwise_already_exists() {
    for kind in kinds() {
        let rig = Rig::new();
        let order = publish(kind.clone(), "p");
        let early = rig.node.publish(&order).await.unwrap_err();
        assert_eq!(early.kind(), Kind::FailedPrecondition, "{early}");
        rig.node.stage(&stage(kind.clone())).await.unwrap();
        rig.node.publish(&order).await.unwrap();
        let reader = Publish { readonly: true, ..order.clone() };
        assert_eq!(rig.node.publish(&reader).await.unwrap_err().kind(), Kind::AlreadyExists);
        let opposite = Publish { target: "/kubelet/pods/q".into(), ..reader };
        let second = rig.node.publish(&opposite).await;
        // One device node cannot be read-only for one and writable for another.
        assert_eq!(second.is_ok(), kind != AccessKind::Block, "{second:?}");
        let missing = Publish { target: "/nowhere/p".into(), ..order.clone() };
        rig.node.publish(&missing).await.unwrap_err();
        rig.machine.state().paths.insert("/kubelet/pods/l".into(), Entry::Link);
        let link = Publish { target: "/kubelet/pods/l".into(), ..order };
        assert_eq!(rig.node.publish(&link).await.unwrap_err().kind(), Kind::InvalidArgument);
    }
}

#[tokio::test]
async fn a_read_only_device_node_is_sealed_and_opened_again() {
    let rig = Rig::new();
    rig.node.stage(&stage(AccessKind::Block)).await.unwrap();
    let writer = publish(AccessKind::Block, "p");
    let reader = Publish { readonly: true, ..writer.clone() };
    rig.node.publish(&reader).await.unwrap();
    assert_eq!(rig.machine.state().sealed.len(), 1);
    rig.node.unpublish(&id(), &reader.target).await.unwrap();
    rig.node.publish(&writer).await.unwrap();
    assert_eq!(rig.machine.state().sealed.len(), 0);
}

#[tokio::test]
async fn unstage_works_without_the_volume_and_spares_what_is_no_volume() {
    let rig = Rig::new();
    rig.node.stage(&stage(mount(FsType::Ext4, &[]))).await.unwrap();
    rig.machine.state().images.remove("v");
    rig.node.unstage(&id(), Path::new(STAGING)).await.unwrap();
    assert!(rig.mounted().is_empty());
    rig.node.unstage(&"gone/v".parse().unwrap(), Path::new(STAGING)).await.unwrap();

    let rig = Rig::new();
    rig.node.stage(&stage(mount(FsType::Ext4, &[]))).await.unwrap();
    rig.node.unstage(&"gone/v".parse().unwrap(), Path::new(STAGING)).await.unwrap();
    assert!(
        rig.mounted().is_empty() && rig.connected(),
        "the device is that of a back end which is not asked"
    );

    let proc = Mount { fs_type: "proc".into(), ..mount_of("/proc") };
    rig.machine.state().mounts.push(proc);
    for result in [
        rig.node.unpublish(&id(), Path::new("/proc")).await,
        rig.node.unstage(&id(), Path::new("/proc")).await,
    ] {
        assert_eq!(result.unwrap_err().kind(), Kind::FailedPrecondition);
    }
    assert_eq!(rig.mounted(), [Path::new("/proc")]);
}

fn mount_of(target: &str) -> Mount {
    Mount {
        id: 9,
        device: 3,
        root: "/".into(),
        target: target.into(),
        options: vec!["rw".into()],
        fs_type: "ext4".into(),
        source: "x".into(),
        super_options: vec!["rw".into()],
        shared: false,
    }
}

#[tokio::test]
async fn unstage_takes_its_interrupted_intent_along_but_no_other_file() {
    let rig = Rig::new();
    rig.machine.state().paths.insert(INTENT.into(), intent("here/w", "1", SIZE, "ext4"));
    rig.node.unstage(&id(), Path::new(STAGING)).await.unwrap();
    assert!(rig.machine.state().paths.contains_key(Path::new(INTENT)));
    rig.machine.state().paths.insert(INTENT.into(), intent("here/v", "1", SIZE, "ext4"));
    rig.node.unstage(&id(), Path::new(STAGING)).await.unwrap();
    assert!(!rig.machine.state().paths.contains_key(Path::new(INTENT)));
}

#[tokio::test]
async fn expand_and_stats_know_only_the_volume_at_its_paths() {
    let rig = Rig::new();
    let kind = mount(FsType::Xfs, &[]);
    rig.node.stage(&stage(kind.clone())).await.unwrap();
    let reader = Publish { readonly: true, ..publish(kind, "p") };
    rig.node.publish(&reader).await.unwrap();
    let expand = |volume: &str, path: &str, size: u64| Expand {
        volume: volume.parse().unwrap(),
        path: path.into(),
        size: SizeRange::at_least(Bytes::mib(size)),
    };
    for (volume, path) in [
        ("here/v", "some/path"),
        ("here/v", "/"),
        ("here/v", "/kubelet/pods/none"),
        ("here/v", "/kubelet/pods"),
        ("here/w", STAGING),
        ("here/x", STAGING),
        ("there/v", STAGING),
    ] {
        let error = rig.node.expand(&expand(volume, path, 1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{volume} {path}: {error}");
        let error = rig.node.stats(&volume.parse().unwrap(), Path::new(path)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{volume} {path}: {error}");
    }
    rig.machine.state().images.get_mut("v").unwrap().size = Bytes::gib(1);
    for (path, size) in [("/kubelet/pods/p", 1024), (STAGING, 700), (STAGING, 1024)] {
        assert_eq!(rig.node.expand(&expand("here/v", path, size)).await.unwrap(), Bytes::gib(1));
    }
    let grown = Disk::Fs { fs: FsType::Xfs, size: Bytes::gib(1), written: true };
    assert_eq!(rig.machine.state().images["v"].disk, grown);
    assert_eq!(
        rig.node.expand(&expand("here/v", STAGING, 2048)).await.unwrap_err().kind(),
        Kind::Unavailable,
        "the back end has not grown it so far"
    );
}

#[tokio::test]
async fn a_read_only_file_system_cannot_be_grown() {
    let rig = Rig::new();
    rig.set(formatted(FsType::Ext4));
    let mut order = stage(mount(FsType::Ext4, &["ro"]));
    order.attachment.content = Content::Data;
    rig.node.stage(&order).await.unwrap();
    let expand = Expand { volume: id(), path: STAGING.into(), size: SizeRange::at_least(SIZE) };
    assert_eq!(rig.node.expand(&expand).await.unwrap_err().kind(), Kind::FailedPrecondition);
}

#[tokio::test]
async fn a_clone_in_a_larger_volume_grows_when_it_is_staged() {
    for fs in FsType::ALL {
        let rig = Rig::new();
        rig.set(Disk::Fs { fs, size: Bytes::mib(400), written: true });
        let mut order = stage(mount(fs, &[]));
        order.attachment.content = Content::Data;
        rig.node.stage(&order).await.unwrap();
        assert_eq!(rig.machine.state().images["v"].disk, formatted(fs));
    }
}

#[tokio::test]
async fn health_tells_of_dead_and_fallen_file_systems() {
    let rig = Rig::new();
    assert_eq!(rig.node.health(&id()).await.unwrap(), [], "also of a volume that was never staged");
    assert_eq!(rig.node.health(&"here/x".parse().unwrap()).await.unwrap_err().kind(), Kind::NotFound);
    let kind = mount(FsType::Ext4, &[]);
    rig.node.stage(&stage(kind.clone())).await.unwrap();
    rig.node.publish(&publish(kind.clone(), "p")).await.unwrap();
    {
        let mut state = rig.machine.state();
        let device = state.mounts[0].device;
        state.dead.insert(device);
        state.mounts.iter_mut().for_each(|mount| mount.super_options = vec!["ro".into()]);
    }
    let faults = rig.node.health(&id()).await.unwrap();
    let told: Vec<_> = faults.iter().map(|fault| (fault.status, fault.reason)).collect();
    assert_eq!(
        told,
        [
            (HealthStatus::Inaccessible, "FileSystemDead"),
            (HealthStatus::Degraded, "FileSystemReadOnlyAfterErrors")
        ]
    );
    assert_eq!(rig.node.stage(&stage(kind)).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(rig.node.stats(&id(), Path::new(STAGING)).await.unwrap_err().kind(), Kind::Timeout);
}

#[tokio::test]
async fn a_busy_volume_stays_connected() {
    let rig = Rig::new();
    rig.node.stage(&stage(mount(FsType::Ext4, &[]))).await.unwrap();
    rig.machine.state().busy.insert(STAGING.into());
    let error = rig.node.unstage(&id(), Path::new(STAGING)).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Busy, Outcome::Unknown));
    assert!(rig.connected());
}

#[tokio::test]
async fn a_cancelled_stage_goes_on_and_its_retry_joins_it() {
    let rig = Rig::new();
    let gate = Arc::new(Notify::new());
    *rig.machine.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let order = stage(mount(FsType::Ext4, &["noexec"]));
    assert!(tokio::time::timeout(Duration::from_millis(50), rig.node.stage(&order)).await.is_err());
    let flights = rig.node.flights();
    assert_eq!((flights[0].key.as_str(), flights[0].phase), ("here/v", "format"));
    let other = stage(mount(FsType::Ext4, &["nosuid"]));
    let error = rig.node.stage(&other).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Busy, Outcome::Unknown));
    assert_eq!(rig.node.unstage(&id(), Path::new(STAGING)).await.unwrap_err().kind(), Kind::Busy);
    gate.notify_one();
    rig.node.stage(&order).await.unwrap();
    assert_eq!(rig.machine.state().formats, 1);
    assert!(rig.node.flights().is_empty());
}

#[tokio::test]
async fn the_node_tells_of_itself_what_its_back_ends_know() {
    let rig = Rig::new();
    let set = |identity: Option<(&str, &str)>, zone: &str, max| {
        *rig.machine.presence.lock().unwrap() = crate::backend::Presence {
            identity: identity.map(|(kind, value)| (kind.into(), value.into())),
            topology: Topology([("zone".to_owned(), zone.to_owned())].into()),
            max_volumes: max,
        };
    };
    set(Some(("nova", "8c1e")), "a", Some(26));
    let info = rig.node.info().await.unwrap();
    assert_eq!((info.id.to_string().as_str(), info.max_volumes), ("worker-1;nova=8c1e", Some(26)));
    set(None, "a", None);
    let info = rig.node.info().await.unwrap();
    assert_eq!((info.id.to_string().as_str(), info.max_volumes), ("worker-1", Some(30)));
    set(None, "b", None);
    assert_eq!(rig.node.info().await.unwrap_err().kind(), Kind::FailedPrecondition);
}

/// Two back ends: `here` gives this node an identity, `there` only a place.
fn two_clouds() -> (Node, [Arc<Machine>; 2]) {
    let machines = [(Some("8c1e"), "here", 26), (None, "there", 5)].map(|(identity, place, max)| {
        let machine = Arc::new(Machine::default());
        *machine.presence.lock().unwrap() = crate::backend::Presence {
            identity: identity.map(|value| ("nova".to_owned(), value.to_owned())),
            topology: Topology([(place.to_owned(), "reachable".to_owned())].into()),
            max_volumes: Some(max),
        };
        machine
    });
    let connectors = machines.each_ref().map(|machine| {
        let cloud: Arc<dyn Connector> = Arc::new(Cloud(Arc::clone(machine)));
        cloud
    });
    let connectors =
        ["here", "there"].map(|name| name.parse().unwrap()).into_iter().zip(connectors).collect();
    let config = NodeConfig {
        name: "worker-1".into(),
        topology: Topology::default(),
        max_volumes: None,
        foreign: None,
    };
    (Node::new(config, Arc::<Machine>::default(), connectors, Arc::default()), machines)
}

#[tokio::test(start_paused = true)]
async fn a_back_end_that_cannot_be_joined_is_left_out_until_it_can() {
    let known = async |node: &Node| {
        let info = node.info().await.unwrap();
        assert_eq!(info.id.to_string(), "worker-1;nova=8c1e");
        (info.max_volumes, info.topology.0.into_keys().collect::<Vec<_>>().join(" "))
    };
    for joining in [Joining::Fails, Joining::Hangs] {
        let (node, [here, there]) = two_clouds();
        let set = |machine: &Machine, joining| *machine.joining.lock().unwrap() = joining;
        set(&there, joining);
        // Nobody would make it known later.
        assert!(node.info().await.unwrap_err().to_string().contains("backend=there"));
        let renewal = node.renewal();
        let begun = tokio::time::Instant::now();
        assert_eq!(known(&node).await, (Some(26), "here".to_owned()), "{joining:?}");
        assert!(begun.elapsed() <= Duration::from_secs(11), "{:?}", begun.elapsed());
        // What it has told before is as good as its answer.
        set(&here, joining);
        assert_eq!(known(&node).await, (Some(26), "here".to_owned()), "{joining:?}");
        assert!(tokio::time::timeout(Duration::from_secs(60), renewal.notified()).await.is_err());
        set(&there, Joining::Joins);
        node.join(&"there".parse().unwrap()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(1), renewal.notified()).await.unwrap();
        for joining in [Joining::Joins, joining] {
            set(&there, joining);
            assert_eq!(known(&node).await, (Some(5), "here there".to_owned()), "{joining:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_not_told_of_without_its_identity_nor_without_any_back_end() {
    for joining in [Joining::Fails, Joining::Hangs] {
        for identified in [true, false] {
            let (node, [here, there]) = two_clouds();
            let _renewal = node.renewal();
            *here.joining.lock().unwrap() = joining;
            if !identified {
                here.presence.lock().unwrap().identity = None;
                *there.joining.lock().unwrap() = joining;
            }
            assert!(node.info().await.unwrap_err().to_string().contains("backend=here"), "{identified}");
        }
    }
}

#[tokio::test]
async fn a_disk_that_tells_nothing_gets_its_volume_s_mark() {
    let rig = Rig::with(false);
    rig.machine.state().nameless = true;
    rig.node.stage(&stage(mount(FsType::Ext4, &[]))).await.unwrap();
    assert_eq!(rig.machine.state().marks, [crate::volume::Mark::of(&id().native)]);
}
