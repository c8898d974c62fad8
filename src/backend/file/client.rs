//! The directory: its layout, its locks, and how an object comes to be and goes away in a way that a crash cannot spoil.
//!
//! - An object exists exactly if its `<id>.json` does; its content is `<id>.img` beside it.
//! - `<id>.part` says that the image beside it is half-made or half-deleted. It is written before the image and renamed
//!   to `.json` when the image is whole; deleting renames it back first. An image with neither is not ours to touch.
//! - Whoever works on an object holds its lock, so what has a `.part` and nobody's lock is left over and is removed:
//!   a second controller that starts never removes what the first is making right now.

mod account;
mod attachments;
mod groups;
mod images;
mod snapshots;
mod volumes;

pub(super) use volumes::{SIZES, missing};

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::FileConfig;
use super::model::{self, Format};
use crate::error::{Error, Kind, Outcome, Result};
use crate::failpoint;
use crate::host::files;
use crate::host::lock::{self, Guard, Mode};
use crate::volume::NativeId;

/// How long an operation waits for another's lock.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// What `format.json` says.
const FORMAT: &str = "fairlead-file";
/// What a directory may hold that is to become ours.
const HARMLESS: [&str; 3] = ["lost+found", "lock", "format.json.tmp"];

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Volume,
    Snapshot,
    Group,
}

impl Class {
    const fn directory(self) -> &'static str {
        match self {
            Self::Volume => "volumes",
            Self::Snapshot => "snapshots",
            Self::Group => "groups",
        }
    }

    /// The name of the lock of one object.
    fn key(self, id: &NativeId) -> String {
        format!("{}/{id}", self.directory())
    }
}

/// The directory of one back end. Every call blocks the thread.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) config: FileConfig,
    directory: PathBuf,
}

impl Client {
    /// Makes the layout where it is missing. The directory itself must be there: making it could put volumes beside
    /// storage that is not mounted yet.
    ///
    /// # Errors
    /// `FailedPrecondition` where the directory is missing, is not empty and not ours, or has another version.
    pub(super) fn open(config: FileConfig) -> Result<Self> {
        let client = Self { directory: resolve(&config.directory)?, config };
        let names = files::names(&client.directory)?;
        if !names.iter().any(|name| name == "format.json" || name == "lock") {
            client.refuse_foreign(&names)?;
        }
        let _guard = client.lock(&[("layout".to_owned(), Mode::Exclusive)])?;
        let format = client.directory.join("format.json");
        if client.read::<Format>(&format)?.is_none() {
            client.refuse_foreign(&files::names(&client.directory)?)?;
            client.write(&format, &Format { format: FORMAT.to_owned() })?;
        }
        client.check_format()?;
        for name in ["volumes", "snapshots", "groups", "servers", "attachments", "holds"] {
            files::make_directory(&client.directory.join(name))?;
        }
        Ok(client)
    }

    /// For a node: the directory as it is. Makes nothing, so that a mount point whose storage is missing stays empty.
    ///
    /// # Errors
    /// `FailedPrecondition` where it is not ours.
    pub(super) fn existing(config: FileConfig) -> Result<Self> {
        let client = Self { directory: resolve(&config.directory)?, config };
        client.check_format()?;
        Ok(client)
    }

    fn refuse_foreign(&self, names: &[String]) -> Result<()> {
        match names.iter().find(|name| !HARMLESS.contains(&name.as_str())) {
            Some(name) => Err(Error::precondition(format!(
                "{} has no format.json and is not empty (there is {name:?}): name an empty directory",
                self.directory.display()
            ))),
            None => Ok(()),
        }
    }

    fn check_format(&self) -> Result<()> {
        let path = self.directory.join("format.json");
        match self.read::<Format>(&path)? {
            Some(Format { format }) if format == FORMAT => Ok(()),
            Some(Format { format }) => Err(Error::precondition(format!(
                "{} says {format:?} where {FORMAT:?} is expected: name another directory",
                path.display()
            ))),
            None => Err(Error::precondition(format!(
                "{} is missing: is the storage mounted at {}?",
                path.display(),
                self.directory.display()
            ))),
        }
    }

    /// Whether the directory is there, ours and writable, and its locks work.
    pub(super) fn ready(&self) -> Result<()> {
        self.check_format()?;
        let _guard = self.lock(&[("ready".to_owned(), Mode::Exclusive)])?;
        let probe = self.directory.join("ready.tmp");
        files::write_synced(&probe, b"")?;
        files::remove(&probe).map(drop)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn lock(&self, keys: &[(String, Mode)]) -> Result<Guard> {
        lock::acquire(&self.directory.join("lock"), keys, LOCK_WAIT)
    }

    fn try_lock(&self, key: &str) -> Result<Option<Guard>> {
        lock::try_acquire(&self.directory.join("lock"), key, Mode::Exclusive)
    }

    /// Locks one volume against every other operation on it.
    pub(super) fn lock_volume(&self, id: &NativeId) -> Result<Guard> {
        self.lock(&[(Class::Volume.key(id), Mode::Exclusive)])
    }

    fn path(&self, class: Class, id: &NativeId, suffix: &str) -> PathBuf {
        self.directory.join(class.directory()).join(format!("{id}.{suffix}"))
    }

    /// The image of a volume.
    pub(super) fn image(&self, id: &NativeId) -> PathBuf {
        self.path(Class::Volume, id, "img")
    }

    pub(super) fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>> {
        files::read(path)?.map(|content| model::decode(path, &content)).transpose()
    }

    pub(super) fn write<T: Serialize>(&self, path: &Path, record: &T) -> Result<()> {
        files::replace(path, &model::encode(record)?)
    }

    fn record<T: DeserializeOwned>(&self, class: Class, id: &NativeId) -> Result<Option<T>> {
        self.read(&self.path(class, id, "json"))
    }

    /// The ids of all objects of a class, sorted. A member of a group counts also where its group is not cut yet.
    fn ids(&self, class: Class) -> Result<Vec<NativeId>> {
        self.with_suffix(class, ".json")
    }

    fn with_suffix(&self, class: Class, suffix: &str) -> Result<Vec<NativeId>> {
        let names = files::names(&self.directory.join(class.directory()))?;
        let mut ids: Vec<NativeId> =
            names.iter().filter_map(|name| name.strip_suffix(suffix)?.parse().ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Begins an object: from here on what lies beside its `.part` is half-made. The caller holds its lock.
    fn begin<T: Serialize>(&self, class: Class, id: &NativeId, record: &T) -> Result<()> {
        let part = self.path(class, id, "part");
        if files::read(&part)?.is_some() {
            self.discard(class, id)?;
        } else if files::extent(&self.path(class, id, "img"))?.is_some() {
            return Err(Error::precondition(format!(
                "{} lies there without a record: it may be somebody's data, so move it away or restore {id}.json",
                self.path(class, id, "img").display()
            )));
        }
        // The name must last too, or an image could outlive what tells that it is half-made.
        let begun = files::write_synced(&part, &model::encode(record)?)
            .and_then(|()| files::sync_directory(&self.directory.join(class.directory())));
        if begun.is_err() {
            files::remove(&part)?;
        }
        failpoint::step("file.begun");
        begun
    }

    /// The object is whole: makes it exist.
    fn commit(&self, class: Class, id: &NativeId) -> Result<()> {
        let directory = self.directory.join(class.directory());
        files::sync_directory(&directory)?;
        failpoint::step("file.image-synced");
        files::rename(&self.path(class, id, "part"), &self.path(class, id, "json"))?;
        failpoint::step("file.renamed");
        files::sync_directory(&directory)?;
        failpoint::step("file.committed");
        Ok(())
    }

    /// Makes the object not exist, durably, and then removes what it was made of. Whatever of that is missing is fine,
    /// so it also goes on with what an earlier try left. The caller holds its lock.
    fn discard(&self, class: Class, id: &NativeId) -> Result<()> {
        let directory = self.directory.join(class.directory());
        let (json, part) = (self.path(class, id, "json"), self.path(class, id, "part"));
        let exists = files::extent(&json)?.is_some();
        if exists {
            files::rename(&json, &part)?;
            files::sync_directory(&directory)?;
            failpoint::step("file.unlisted");
        }
        if exists || files::extent(&part)?.is_some() {
            files::remove(&self.path(class, id, "img"))?;
            failpoint::step("file.image-removed");
            files::remove(&files::temporary(&json))?;
            files::remove(&part)?;
            files::sync_directory(&directory)?;
            failpoint::step("file.discarded");
        }
        Ok(())
    }

    /// Cleans up after a step that failed with `error`, so that nothing is left, and then tells it as a refusal where
    /// the cause is known to be final (no room, a state that forbids it).
    fn undo<T>(&self, class: Class, id: &NativeId, error: Error) -> Result<T> {
        if let Err(failed) = self.discard(class, id) {
            tracing::warn!(
                error = failed.chain(),
                object = class.key(id),
                "what was half-made stays until the next start"
            );
            return Err(error.with_outcome(Outcome::Unknown));
        }
        match error.kind() {
            Kind::ResourceExhausted => Err(error.with_outcome(Outcome::Refused)),
            _ => Err(error),
        }
    }

    /// Removes what is half-made or half-deleted and has nobody at work on it any more.
    pub(super) fn sweep(&self) -> Result<()> {
        for id in self.with_suffix(Class::Group, ".part")? {
            if let Some(_guard) = self.try_lock(&Class::Group.key(&id))?
                && files::extent(&self.path(Class::Group, &id, "part"))?.is_some()
            {
                // A member that is still being copied from goes at the next start.
                match self.discard_group(&id) {
                    Err(error) if error.kind() == Kind::Busy => {
                        tracing::info!(group = %id, error = error.chain(), "a half-made group stays for now");
                    }
                    done => done?,
                }
            }
        }
        self.sweep_class(Class::Snapshot)?;
        self.sweep_class(Class::Volume)?;
        self.sweep_attachments()
    }

    fn sweep_class(&self, class: Class) -> Result<()> {
        for id in self.with_suffix(class, ".part")? {
            if let Some(_guard) = self.try_lock(&class.key(&id))?
                && files::extent(&self.path(class, &id, "json"))?.is_none()
            {
                tracing::info!(object = class.key(&id), "removes what an earlier process left half-made");
                self.discard(class, &id)?;
            }
        }
        for id in self.with_suffix(class, ".json.tmp")? {
            if let Some(_guard) = self.try_lock(&class.key(&id))? {
                files::remove(&self.path(class, &id, "json.tmp"))?;
            }
        }
        Ok(())
    }
}

/// The directory as the kernel spells it in what it tells of loop devices.
fn resolve(directory: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(directory).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::precondition(format!(
            "the directory {} does not exist: mount its storage, or make it",
            directory.display()
        )),
        _ => Error::io(format!("resolve {}", directory.display()), error),
    })
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Seconds since 1970 as a time.
fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
