//! The vocabulary that every room may use: ids, sizes, access modes, topology, volumes and snapshots.
//!
//! Each type is parsed once, at the edge, and is valid from then on.

mod access;
mod attachment;
mod bytes;
mod id;
mod mark;
mod name;
mod node_id;
mod object;
mod parameters;
mod topology;

pub use access::{Access, AccessKind, AccessMode, FsType, MountFlags, Use};
pub use attachment::{Attachment, Connection, Content};
pub use bytes::{Bytes, SizeRange, SizeRules};
pub use id::{BackendName, GroupSnapshotId, NativeId, SnapshotId, VolumeId};
pub use mark::Mark;
pub use name::{Owner, native_name};
pub use node_id::NodeId;
pub use object::{GroupSnapshot, Health, HealthFault, HealthStatus, Snapshot, Source, Volume};
pub use parameters::{ParameterReader, Parameters, nearest};
pub use topology::{Topology, TopologyRequirement};
