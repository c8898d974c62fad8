//! Volumes.

use super::images::Original;
use super::{Class, Client, now};
use crate::backend::file::model::{AttachmentRecord, VolumeRecord};
use crate::backend::{Expanded, Listing, Page, VolumeOrder, paging};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::host::files;
use crate::host::lock::Mode;
use crate::volume::{
    Bytes, Content, Health, HealthFault, HealthStatus, NativeId, SizeRange, SizeRules, Source, Volume,
    native_name,
};

/// What images are made in: sizes that every file system below and above can handle.
pub(in super::super) const SIZES: SizeRules = SizeRules {
    min: Bytes::mib(1),
    // What ext4 can have as one file.
    max: Bytes::new((16 << 40) - 4096),
    step: Bytes::new(4096),
    default: Bytes::gib(1),
};

impl Client {
    pub(in super::super) fn create(&self, order: &VolumeOrder) -> Result<Volume> {
        let id = native_name(&order.name)?;
        let mut keys = vec![(Class::Volume.key(&id), Mode::Exclusive)];
        keys.extend(order.source.as_ref().map(|source| match source {
            Source::Volume(id) => (Class::Volume.key(id), Mode::Shared),
            Source::Snapshot(id) => (Class::Snapshot.key(id), Mode::Shared),
        }));
        let _guard = self.lock(&keys)?;
        if let Some(volume) = self.volume(&id)? {
            order.check(&volume)?;
            return Ok(volume);
        }
        if !order.topology.met_by(&self.config.reach) {
            return Err(Error::refused(
                Kind::ResourceExhausted,
                format!(
                    "volumes here can be reached from {:?} alone, which the order excludes",
                    self.config.reach.0
                ),
            ));
        }
        let source = order.source.as_ref().map(|source| self.source(source)).transpose()?;
        let size = order.size.choose(SIZES, source)?;
        let content = if source.is_some() { Content::Data } else { Content::New };
        let record = VolumeRecord {
            name: order.name.clone(),
            size,
            source: order.source.clone(),
            content,
            created: now(),
        };
        let begun = self.begin(Class::Volume, &id, &record);
        let made = begun.and_then(|()| self.reserve_new(&id, size)).and_then(|image| match &order.source {
            None => image.sync_all().map_err(|error| Error::io("sync the new image", error)),
            Some(source) => {
                let (path, writers) = match source {
                    Source::Volume(id) => (self.image(id), self.writers(id)?),
                    Source::Snapshot(id) => (self.path(Class::Snapshot, id, "img"), Vec::new()),
                };
                self.fill(&Original { path: &path, writers }, &image, size)
            }
        });
        if let Err(error) = made.and_then(|()| self.commit(Class::Volume, &id)) {
            return self.undo(Class::Volume, &id, error);
        }
        self.get(&id)
    }

    /// The size of a source that is there and whole.
    fn source(&self, source: &Source) -> Result<Bytes> {
        match source {
            Source::Volume(id) => {
                let volume = self
                    .volume(id)?
                    .ok_or_else(|| Error::not_found("the source volume does not exist").with("volume", id))?;
                self.whole(id)?;
                Ok(volume.size)
            }
            Source::Snapshot(id) => Ok(self.get_snapshot(id)?.size),
        }
    }

    pub(in super::super) fn delete(&self, id: &NativeId) -> Result<()> {
        let _guard = self.lock_volume(id)?;
        let (attached, held) = (self.attached(id)?, self.holders(id)?);
        let mut nodes: Vec<_> = attached.iter().map(|record| record.node.name().to_owned()).collect();
        nodes.extend(held.into_iter().map(|(node, _)| node));
        nodes.sort_unstable();
        nodes.dedup();
        if !nodes.is_empty() {
            return Err(Error::precondition(format!("{} still has it: detach it first", nodes.join(", ")))
                .with("volume", id));
        }
        self.discard(Class::Volume, id)
    }

    pub(in super::super) fn get(&self, id: &NativeId) -> Result<Volume> {
        self.volume(id)?.ok_or_else(|| missing(id))
    }

    /// The volume, or `None`.
    pub(super) fn volume(&self, id: &NativeId) -> Result<Option<Volume>> {
        let Some(record) = self.record::<VolumeRecord>(Class::Volume, id)? else { return Ok(None) };
        self.describe(id, record, self.attached(id)?).map(Some)
    }

    fn describe(
        &self,
        id: &NativeId,
        record: VolumeRecord,
        attached: Vec<AttachmentRecord>,
    ) -> Result<Volume> {
        // An image that is longer than recorded is a volume that grew.
        let length = files::extent(&self.image(id))?.map_or(0, |(length, _)| length);
        Ok(Volume {
            id: id.clone(),
            name: record.name,
            size: record.size.max(Bytes::new(length)),
            source: record.source,
            content: record.content,
            reach: self.config.reach.clone(),
            attached: attached.into_iter().map(|record| record.node).collect(),
        })
    }

    /// The length of a volume's image, if that is all there.
    ///
    /// # Errors
    /// `Internal` where the image is missing or too short: nothing may be made from it, and it must not be covered up.
    pub(super) fn whole(&self, id: &NativeId) -> Result<Bytes> {
        let record: VolumeRecord = self.record(Class::Volume, id)?.ok_or_else(|| missing(id))?;
        files::extent(&self.image(id))?
            .map(|(length, _)| Bytes::new(length))
            .filter(|length| *length >= record.size)
            .ok_or_else(|| {
                Error::internal(format!("{} is missing or too short: data is lost", self.image(id).display()))
                    .with("volume", id)
            })
    }

    /// A damaged record fails the whole list: who reads it takes what is missing there for deleted.
    pub(in super::super) fn list(&self, page: &Page) -> Result<Listing<Volume>> {
        let nodes = self.attached_by_volume()?;
        let ids = self.ids(Class::Volume)?.into_iter().map(|id| (id, ()));
        paging::page(ids, page, |id, ()| {
            let Some(record) = self.record::<VolumeRecord>(Class::Volume, id)? else { return Ok(None) };
            let attached = self.attached_to(id, nodes.get(id).map_or(&[], Vec::as_slice))?;
            self.describe(id, record, attached).map(Some)
        })
    }

    pub(in super::super) fn expand(&self, id: &NativeId, size: SizeRange) -> Result<Expanded> {
        let _guard = self.lock_volume(id)?;
        let record: VolumeRecord = self.record(Class::Volume, id)?.ok_or_else(|| missing(id))?;
        let image = self.whole(id)?;
        let mut now = image;
        if size.required() > image {
            now = size.choose(SIZES, None)?;
            self.reserve_more(id, image, now).map_err(|error| match error.kind() {
                // A file that the kernel refused to make longer is as it was.
                Kind::ResourceExhausted => error.with_outcome(crate::error::Outcome::Refused),
                _ => error,
            })?;
        } else if size.limit().is_some_and(|limit| image > limit) {
            return Err(Error::refused(
                Kind::OutOfRange,
                format!("it has {image} already and cannot shrink to the limit"),
            )
            .with("volume", id));
        }
        if now > record.size {
            self.write(&self.path(Class::Volume, id, "json"), &VolumeRecord { size: now, ..record })?;
            failpoint::step("file.grown");
        }
        Ok(Expanded { size: now, node_expansion: true })
    }

    /// What the record says of the content, made to last.
    pub(in super::super) fn content(&self, id: &NativeId) -> Result<Content> {
        let record: VolumeRecord = self.record(Class::Volume, id)?.ok_or_else(|| missing(id))?;
        self.keep_mark(record.content)?;
        Ok(record.content)
    }

    /// Who wrote a mark may have been killed before it was durable. A mark that is built upon and lost again could say
    /// of data that only mkfs wrote it.
    fn keep_mark(&self, content: Content) -> Result<()> {
        match content {
            Content::New => Ok(()),
            Content::Formatting | Content::Data => {
                files::sync_directory(&self.directory().join(Class::Volume.directory()))
            }
        }
    }

    /// Records that the volume was proven blank and mkfs is about to begin.
    pub(in super::super) fn mark_formatting(&self, id: &NativeId) -> Result<()> {
        let _guard = self.lock_volume(id)?;
        let record: VolumeRecord = self.record(Class::Volume, id)?.ok_or_else(|| missing(id))?;
        match record.content {
            Content::New => {
                self.write_content(id, record, Content::Formatting)?;
                failpoint::step("file.formatting-marked");
                Ok(())
            }
            Content::Formatting => self.keep_mark(record.content),
            Content::Data => Err(Error::precondition(
                "its record says that it holds data: it was formatted or used meanwhile, and is not formatted again",
            )
            .with("volume", id)),
        }
    }

    /// Records for good that the volume holds data.
    pub(in super::super) fn mark_formatted(&self, id: &NativeId) -> Result<()> {
        let _guard = self.lock_volume(id)?;
        let record: VolumeRecord = self.record(Class::Volume, id)?.ok_or_else(|| missing(id))?;
        match record.content {
            Content::New | Content::Formatting => {
                self.write_content(id, record, Content::Data)?;
                failpoint::step("file.marked");
                Ok(())
            }
            Content::Data => self.keep_mark(record.content),
        }
    }

    fn write_content(&self, id: &NativeId, record: VolumeRecord, content: Content) -> Result<()> {
        self.write(&self.path(Class::Volume, id, "json"), &VolumeRecord { content, ..record })
    }

    pub(in super::super) fn health(&self, id: &NativeId) -> Result<Health> {
        let fault = |status, reason, message: String| Ok(vec![HealthFault { status, reason, message }]);
        let record = match self.record::<VolumeRecord>(Class::Volume, id) {
            Ok(record) => record.ok_or_else(|| missing(id))?,
            Err(error) => return fault(HealthStatus::Inaccessible, "RecordUnreadable", error.to_string()),
        };
        let image = self.image(id);
        match files::extent(&image) {
            Ok(Some((length, _))) if length >= record.size.get() => Ok(Vec::new()),
            Ok(Some((length, _))) => fault(
                HealthStatus::DataLoss,
                "ImageTruncated",
                format!("{} has {length} bytes of {}", image.display(), record.size.get()),
            ),
            // Deleted between the two looks.
            Ok(None) if files::extent(&self.path(Class::Volume, id, "json"))?.is_none() => Err(missing(id)),
            Ok(None) => {
                fault(HealthStatus::DataLoss, "ImageMissing", format!("{} is missing", image.display()))
            }
            Err(error) => fault(HealthStatus::Inaccessible, "ImageUnreadable", error.to_string()),
        }
    }
}

pub(in super::super) fn missing(id: &NativeId) -> Error {
    Error::not_found("the volume does not exist").with("volume", id)
}
