//! A machine in memory: paths, mounts, disks and a back end's images, as the kernel would show them. It can lose its
//! power at any change: from then on every call fails until [`Machine::revive`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::backend::{Connector, Device, Presence};
use crate::error::{Error, Kind, Result};
use crate::host::{Hold, Host, Mount, PathKind, Signature, Usage};
use crate::volume::{Attachment, Bytes, Content, FsType, Health, Mark, NativeId};

/// What is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    Blank,
    /// What a mkfs that was stopped leaves.
    Garbage,
    Fs {
        fs: FsType,
        size: Bytes,
        /// It was mounted for writing once: whoever formats it destroys data.
        written: bool,
    },
    Other(&'static str),
    Ambivalent,
}

#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) disk: Disk,
    pub(super) size: Bytes,
    /// What the back end's record says, where it keeps one.
    pub(super) content: Content,
    /// The device's number and its size as the kernel knows it.
    pub(super) device: Option<(u64, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File(String),
    Node(u64),
    Link,
}

/// What comes of a join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Joining {
    #[default]
    Joins,
    Fails,
    Hangs,
}

/// Where the power goes: at the n-th change, before it, half-way through it, or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Before,
    Half,
    After,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) paths: BTreeMap<PathBuf, Entry>,
    pub(super) mounts: Vec<Mount>,
    pub(super) images: BTreeMap<String, Image>,
    pub(super) sealed: BTreeSet<u64>,
    pub(super) busy: BTreeSet<PathBuf>,
    pub(super) dead: BTreeSet<u64>,
    /// Formats that were made, and those that destroyed data.
    pub(super) formats: usize,
    pub(super) destroyed: usize,
    pub(super) fuse: Option<(usize, Cut)>,
    /// Comes in the place of the disk whose formatting is marked next.
    pub(super) replacement: Option<Disk>,
    /// Disks that were taken off while somebody had them open.
    gone: BTreeSet<u64>,
    /// The back end keeps no record of the contents that a node can read.
    pub(super) unrecorded: bool,
    /// Disks tell nothing of themselves, so their file systems must bear marks.
    pub(super) nameless: bool,
    /// The marks that file systems were made with.
    pub(super) marks: Vec<Mark>,
    changes: usize,
    off: bool,
    next: u64,
}

#[derive(Debug, Default)]
pub(super) struct Machine {
    state: Mutex<State>,
    /// Where set, a format waits for it.
    pub(super) gate: Mutex<Option<Arc<Notify>>>,
    pub(super) presence: Mutex<Presence>,
    pub(super) joining: Mutex<Joining>,
    /// Shared with whoever has a disk open.
    held: Arc<()>,
}

/// Where a small file's new content waits until it is whole.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.with_file_name(format!(".{name}.new"))
}

fn off<T>() -> Result<T> {
    Err(Error::internal("the machine is off"))
}

impl Machine {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn revive(&self) {
        let mut state = self.state();
        (state.off, state.fuse, state.changes) = (false, None, 0);
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        let state = self.state();
        if state.off { off() } else { look(&state) }
    }

    fn mark(&self, volume: &NativeId, content: Content) -> Result<()> {
        let held = Arc::strong_count(&self.held) > 1;
        self.change(|state, _| {
            let unrecorded = state.unrecorded;
            let replacement = state.replacement.take_if(|_| content == Content::Formatting);
            let image =
                state.images.get_mut(volume.as_str()).ok_or_else(|| Error::not_found("no such volume"))?;
            match (replacement, image.device) {
                (Some(_), Some((number, _))) if held => drop(state.gone.insert(number)),
                (Some(disk), _) => image.disk = disk,
                (None, _) => {}
            }
            if unrecorded {
                return Ok(());
            }
            if (image.content, content) == (Content::Data, Content::Formatting) {
                return Err(Error::precondition("the record says that it holds data"));
            }
            image.content = content;
            Ok(())
        })
    }

    fn change<T>(&self, effect: impl FnOnce(&mut State, bool) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        if state.off {
            return off();
        }
        state.changes += 1;
        let cut = state.fuse.filter(|(at, _)| *at == state.changes).map(|(_, cut)| cut);
        state.off = cut.is_some();
        match cut {
            Some(Cut::Before) => off(),
            Some(cut) => effect(&mut state, cut == Cut::Half).and_then(|_| off()),
            None => effect(&mut state, false),
        }
    }
}

impl State {
    pub(super) fn device_path(number: u64) -> PathBuf {
        PathBuf::from(format!("/dev/disk{number}"))
    }

    fn image_of(&mut self, number: u64) -> Result<&mut Image> {
        self.images
            .values_mut()
            .find(|image| image.device.is_some_and(|(n, _)| n == number))
            .ok_or_else(|| Error::internal("no such device"))
    }

    fn disk(&self, number: u64) -> Option<&Image> {
        self.images.values().find(|image| image.device.is_some_and(|(n, _)| n == number))
    }

    fn in_use(&self, number: u64) -> bool {
        let source = Self::device_path(number).display().to_string();
        self.mounts.iter().any(|mount| mount.source == source)
    }

    /// A file's key: files below a mount are others than those that it hides.
    fn key(&self, path: &Path) -> PathBuf {
        let over = self.mounts.iter().rfind(|mount| path.parent() == Some(&mount.target));
        over.map_or_else(|| path.to_owned(), |mount| Path::new("/inside").join(mount.id.to_string()))
    }

    fn device(&self, native: &str) -> Option<Device> {
        let (number, size) = self.images.get(native)?.device?;
        Some(Device { path: Self::device_path(number), number, size })
    }

    fn kind(&self, path: &Path) -> PathKind {
        if let Some(mount) = self.mounts.iter().rev().find(|mount| mount.target == path) {
            if mount.fs_type == "devtmpfs" {
                let node = Path::new("/dev").join(mount.root.strip_prefix("/").unwrap());
                return self.kind(&node);
            }
            return if self.dead.contains(&mount.device) { PathKind::Dead } else { PathKind::Directory };
        }
        match self.paths.get(path) {
            None => PathKind::Missing,
            Some(Entry::Directory) => PathKind::Directory,
            Some(Entry::File(_)) => PathKind::File,
            Some(Entry::Node(number)) => PathKind::BlockDevice(*number),
            Some(Entry::Link) => PathKind::Link,
        }
    }

    fn make(&mut self, path: &Path, entry: Entry) -> Result<()> {
        let there = self.kind(path);
        let same = matches!(
            (&entry, there),
            (Entry::Directory, PathKind::Directory) | (Entry::File(_), PathKind::File)
        );
        match there {
            PathKind::Missing if self.kind(path.parent().unwrap()) == PathKind::Directory => {
                self.paths.insert(path.to_owned(), entry);
                Ok(())
            }
            _ if same => Ok(()),
            _ => Err(Error::precondition("something else is there")),
        }
    }
}

#[async_trait]
impl Host for Machine {
    fn missing_tools(&self, _file_systems: &[FsType]) -> Vec<String> {
        Vec::new()
    }

    async fn mounts(&self) -> Result<Vec<Mount>> {
        self.read(|state| Ok(state.mounts.clone()))
    }

    async fn path_kind(&self, path: &Path) -> Result<PathKind> {
        self.read(|state| Ok(state.kind(path)))
    }

    async fn resolve(&self, path: &Path) -> Result<PathBuf> {
        self.read(|_| Ok(path.to_owned()))
    }

    async fn make_directory(&self, path: &Path) -> Result<()> {
        self.change(|state, _| state.make(path, Entry::Directory))
    }

    async fn make_file(&self, path: &Path) -> Result<()> {
        self.change(|state, _| state.make(path, Entry::File(String::new())))
    }

    async fn remove_empty(&self, path: &Path) -> Result<()> {
        self.change(|state, _| {
            let children = state.paths.keys().any(|other| other.parent() == Some(path));
            let mounted = state.mounts.iter().any(|mount| mount.target == path);
            match state.paths.get(path) {
                None => Ok(()),
                Some(Entry::File(text)) if !text.is_empty() => Err(Error::precondition("not empty")),
                _ if children || mounted => Err(Error::precondition("not empty or mounted")),
                _ => {
                    state.paths.remove(path);
                    Ok(())
                }
            }
        })
    }

    async fn write_durable(&self, path: &Path, content: &str) -> Result<()> {
        self.change(|state, half| {
            let key = state.key(path);
            let beside = beside(&key);
            if half {
                state.paths.insert(beside, Entry::File(String::new()));
            } else {
                state.paths.remove(&beside);
                state.paths.insert(key, Entry::File(content.to_owned()));
            }
            Ok(())
        })
    }

    async fn read_small(&self, path: &Path) -> Result<Option<String>> {
        self.read(|state| match state.paths.get(&state.key(path)) {
            Some(Entry::File(text)) => Ok(Some(text.clone())),
            None => Ok(None),
            _ => Err(Error::internal("no file")),
        })
    }

    async fn remove_file(&self, path: &Path) -> Result<()> {
        self.change(|state, _| {
            let key = state.key(path);
            state.paths.remove(&key);
            Ok(())
        })
    }

    async fn remove_half_written(&self, path: &Path) -> Result<()> {
        self.change(|state, _| {
            let beside = beside(&state.key(path));
            state.paths.remove(&beside);
            Ok(())
        })
    }

    async fn mount(&self, device: &Path, target: &Path, fs: FsType, options: &[String]) -> Result<()> {
        self.change(|state, _| {
            let Some(Entry::Node(number)) = state.paths.get(device).cloned() else {
                return Err(Error::internal("no such device"));
            };
            let readonly = options.iter().any(|option| option == "ro");
            if state.sealed.contains(&number) && !readonly {
                return Err(Error::precondition("the device is read-only"));
            }
            match &mut state.image_of(number)?.disk {
                Disk::Fs { fs: found, written, .. } if *found == fs => *written |= !readonly,
                _ => return Err(Error::precondition("wrong fs type, bad superblock")),
            }
            state.next += 1;
            let word = if readonly { "ro" } else { "rw" };
            let mut shown = vec![word.to_owned()];
            shown.extend(options.iter().filter(|o| o.starts_with("no")).cloned());
            let mount = Mount {
                id: state.next,
                device: if fs == FsType::Btrfs { 1_000_000 + state.next } else { number },
                root: "/".into(),
                target: target.to_owned(),
                options: shown,
                fs_type: fs.to_string(),
                source: device.display().to_string(),
                super_options: vec![word.to_owned()],
                shared: false,
            };
            state.mounts.push(mount);
            Ok(())
        })
    }

    async fn bind(&self, source: &Path, target: &Path, readonly: bool, options: &[String]) -> Result<()> {
        self.change(|state, _| {
            state.next += 1;
            let id = state.next;
            let below = state.mounts.iter().rev().find(|mount| mount.target == source).cloned();
            let mut mount = match (below, state.kind(source)) {
                (Some(mount), _) => mount,
                (None, PathKind::BlockDevice(_)) => Mount {
                    id,
                    device: 5,
                    root: Path::new("/").join(source.file_name().unwrap()),
                    target: target.to_owned(),
                    options: vec!["rw".into()],
                    fs_type: "devtmpfs".into(),
                    source: "devtmpfs".into(),
                    super_options: vec!["rw".into()],
                    shared: false,
                },
                _ => return Err(Error::internal("nothing to bind")),
            };
            if state.kind(target) == PathKind::Missing {
                return Err(Error::internal("no target"));
            }
            (mount.id, mount.target) = (id, target.to_owned());
            if readonly {
                mount.options.retain(|option| option != "rw");
                mount.options.push("ro".into());
            }
            mount.options.extend(options.iter().filter(|o| o.starts_with("no")).cloned());
            state.mounts.push(mount);
            Ok(())
        })
    }

    async fn unmount(&self, target: &Path) -> Result<()> {
        self.change(|state, _| {
            if state.busy.contains(target) {
                return Err(Error::busy("in use"));
            }
            state.mounts.retain(|mount| mount.target != target);
            Ok(())
        })
    }

    async fn hold(&self, device: &Device) -> Result<Hold> {
        self.read(|state| match state.disk(device.number) {
            Some(_) => Ok(Box::new(Arc::clone(&self.held)) as Hold),
            None => Err(Error::unknown(Kind::Unavailable, "gone")),
        })
    }

    async fn signature(&self, device: &Device) -> Result<Signature> {
        self.read(|state| {
            if state.in_use(device.number) {
                return Err(Error::busy("mounted"));
            }
            Ok(match state.disk(device.number).map(|image| &image.disk) {
                Some(Disk::Blank | Disk::Garbage) => Signature::None,
                Some(Disk::Fs { fs, .. }) => Signature::Fs(*fs),
                Some(Disk::Other(words)) => Signature::Other((*words).into()),
                Some(Disk::Ambivalent) => Signature::Ambivalent,
                None => return Err(Error::internal("no such device")),
            })
        })
    }

    async fn prove_blank(&self, device: &Device) -> Result<()> {
        self.read(|state| match state.disk(device.number).map(|image| &image.disk) {
            Some(Disk::Blank) => Ok(()),
            _ => Err(Error::precondition("data at offset 4096")),
        })
    }

    async fn format(&self, device: &Device, fs: FsType) -> Result<()> {
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        self.change(|state, half| {
            if state.gone.contains(&device.number) {
                return Err(Error::unknown(Kind::Unavailable, "gone"));
            }
            let image = state.image_of(device.number)?;
            let harm = !matches!(image.disk, Disk::Blank | Disk::Garbage | Disk::Fs { written: false, .. });
            let size = image.size;
            image.disk = if half { Disk::Garbage } else { Disk::Fs { fs, size, written: false } };
            state.formats += 1;
            state.destroyed += usize::from(harm);
            Ok(())
        })
    }

    async fn format_marked(&self, device: &Device, fs: FsType, mark: Mark) -> Result<()> {
        self.format(device, fs).await?;
        self.state().marks.push(mark);
        Ok(())
    }

    async fn check(&self, device: &Device, _fs: FsType) -> Result<()> {
        self.read(|state| if state.in_use(device.number) { Err(Error::busy("mounted")) } else { Ok(()) })
    }

    async fn grow(&self, device: &Device, fs: FsType, mounted_at: &Path) -> Result<()> {
        self.change(|state, half| {
            let top = state.mounts.iter().rev().find(|mount| mount.target == mounted_at);
            let writable = top.is_some_and(|mount| mount.options.iter().any(|option| option == "rw"));
            if fs != FsType::Ext4 && !writable {
                return Err(Error::internal("not mounted for writing"));
            }
            if let Disk::Fs { size, .. } = &mut state.image_of(device.number)?.disk
                && !half
            {
                *size = device.size;
            }
            Ok(())
        })
    }

    async fn needs_growth(&self, device: &Device, _fs: FsType) -> Result<bool> {
        self.read(|state| match state.disk(device.number).map(|image| &image.disk) {
            Some(Disk::Fs { size, .. }) => Ok(*size < device.size),
            _ => Err(Error::internal("no file system")),
        })
    }

    async fn device(&self, path: &Path) -> Result<Device> {
        self.read(|state| {
            let found =
                state.images.keys().filter_map(|native| state.device(native)).find(|d| d.path == path);
            found.ok_or_else(|| Error::internal("no block device"))
        })
    }

    async fn set_readonly(&self, device: &Device, readonly: bool) -> Result<()> {
        self.change(|state, _| {
            if readonly {
                state.sealed.insert(device.number);
            } else {
                state.sealed.remove(&device.number);
            }
            Ok(())
        })
    }

    async fn usage(&self, path: &Path) -> Result<Usage> {
        self.read(|state| match state.kind(path) {
            PathKind::Directory => {
                Ok(Usage { total: 100, available: 60, used: 40, inodes: 10, inodes_free: 5 })
            }
            _ => Err(Error::unknown(Kind::Timeout, "no answer")),
        })
    }
}

/// The back end's side of the machine.
#[derive(Debug)]
pub(super) struct Cloud(pub(super) Arc<Machine>);

#[async_trait]
impl Connector for Cloud {
    async fn join(&self) -> Result<Presence> {
        loop {
            let joining = *self.0.joining.lock().unwrap();
            match joining {
                Joining::Joins => return Ok(self.0.presence.lock().unwrap().clone()),
                Joining::Fails => return Err(Error::unknown(Kind::Unavailable, "no such cloud")),
                Joining::Hangs => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    fn tells_identity(&self) -> bool {
        self.0.presence.lock().unwrap().identity.is_some()
    }

    async fn connect(&self, volume: &NativeId, attachment: &Attachment) -> Result<Device> {
        self.0.change(|state, _| {
            state.next += 1;
            let number = 700 + state.next;
            let Some(image) = state.images.get_mut(volume.as_str()) else {
                return Err(Error::not_found("no such volume"));
            };
            if attachment.nonce.is_empty() {
                return Err(Error::precondition("not attached any more"));
            }
            if image.device.is_none() {
                image.device = Some((number, image.size));
                state.paths.insert(State::device_path(number), Entry::Node(number));
            }
            state.device(volume.as_str()).ok_or_else(|| Error::internal("no device"))
        })
    }

    async fn find(&self, volume: &NativeId) -> Result<Option<Device>> {
        self.0.read(|state| Ok(state.device(volume.as_str())))
    }

    async fn refresh(&self, volume: &NativeId, size: Bytes) -> Result<Device> {
        self.0.change(|state, _| {
            let image =
                state.images.get_mut(volume.as_str()).ok_or_else(|| Error::not_found("no such volume"))?;
            if image.size < size {
                return Err(Error::unknown(Kind::Unavailable, "the size did not appear"));
            }
            let now = image.size;
            if let Some((_, size)) = &mut image.device {
                *size = now;
            }
            state.device(volume.as_str()).ok_or_else(|| Error::not_found("not connected"))
        })
    }

    async fn disconnect(&self, volume: &NativeId) -> Result<()> {
        self.0.change(|state, _| {
            let Some(device) = state.device(volume.as_str()) else { return Ok(()) };
            if state.in_use(device.number) {
                return Err(Error::busy("the device is open"));
            }
            state.paths.remove(&device.path);
            state.sealed.remove(&device.number);
            if let Some(image) = state.images.get_mut(volume.as_str()) {
                image.device = None;
            }
            Ok(())
        })
    }

    fn mark(&self, volume: &NativeId) -> Option<Mark> {
        self.0.state().nameless.then(|| Mark::of(volume))
    }

    async fn content(&self, volume: &NativeId) -> Result<Option<Content>> {
        self.0.read(|state| {
            let image =
                state.images.get(volume.as_str()).ok_or_else(|| Error::not_found("no such volume"))?;
            Ok((!state.unrecorded).then_some(image.content))
        })
    }

    async fn mark_formatting(&self, volume: &NativeId) -> Result<()> {
        self.0.mark(volume, Content::Formatting)
    }

    async fn mark_formatted(&self, volume: &NativeId) -> Result<()> {
        self.0.mark(volume, Content::Data)
    }

    async fn health(&self, volume: &NativeId) -> Result<Health> {
        self.0.read(|state| match state.images.get(volume.as_str()) {
            Some(_) => Ok(Vec::new()),
            None => Err(Error::not_found("no such volume")),
        })
    }
}
