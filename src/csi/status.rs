//! The one place where an error becomes a gRPC status.
//!
//! Callers take every code but CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE and ABORTED for final: nothing is running
//! and nothing was left behind. So a call that changes something gets a final code only for
//! [`Outcome::Refused`]. Codes are those of the CSI specification's tables of each RPC.

use tonic::{Code, Status};

use crate::error::{Error, Kind, Outcome};

/// The longest status message, in bytes: it travels in an HTTP/2 header.
const MAX_MESSAGE: usize = 2048;

macro_rules! rpcs {
    ($($name:ident),* $(,)?) => {
        /// Every RPC that is served.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are those of the CSI specification")]
        pub enum Rpc { $($name),* }

        impl Rpc {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in the specification.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

rpcs! {
    GetPluginInfo, GetPluginCapabilities, Probe,
    CreateVolume, DeleteVolume, ControllerPublishVolume, ControllerUnpublishVolume, ValidateVolumeCapabilities,
    ListVolumes, ControllerListVolumeHealth, ControllerGetVolumeHealth, GetCapacity, ControllerGetCapabilities,
    CreateSnapshot, DeleteSnapshot, ListSnapshots, GetSnapshot, ControllerExpandVolume, ControllerGetVolume,
    ControllerModifyVolume,
    GroupControllerGetCapabilities, CreateVolumeGroupSnapshot, DeleteVolumeGroupSnapshot, GetVolumeGroupSnapshot,
    NodeStageVolume, NodeUnstageVolume, NodePublishVolume, NodeUnpublishVolume, NodeGetVolumeStats,
    NodeGetVolumeHealth, NodeGetStorageHealth, NodeExpandVolume, NodeGetCapabilities, NodeGetInfo,
}

impl Rpc {
    /// Whether the call may leave something behind.
    #[must_use]
    pub const fn changes(self) -> bool {
        match self {
            Self::CreateVolume
            | Self::DeleteVolume
            | Self::ControllerPublishVolume
            | Self::ControllerUnpublishVolume
            | Self::CreateSnapshot
            | Self::DeleteSnapshot
            | Self::ControllerExpandVolume
            | Self::ControllerModifyVolume
            | Self::CreateVolumeGroupSnapshot
            | Self::DeleteVolumeGroupSnapshot
            | Self::NodeStageVolume
            | Self::NodeUnstageVolume
            | Self::NodePublishVolume
            | Self::NodeUnpublishVolume
            | Self::NodeExpandVolume => true,
            Self::GetPluginInfo
            | Self::GetPluginCapabilities
            | Self::Probe
            | Self::ValidateVolumeCapabilities
            | Self::ListVolumes
            | Self::ControllerListVolumeHealth
            | Self::ControllerGetVolumeHealth
            | Self::GetCapacity
            | Self::ControllerGetCapabilities
            | Self::ListSnapshots
            | Self::GetSnapshot
            | Self::ControllerGetVolume
            | Self::GroupControllerGetCapabilities
            | Self::GetVolumeGroupSnapshot
            | Self::NodeGetVolumeStats
            | Self::NodeGetVolumeHealth
            | Self::NodeGetStorageHealth
            | Self::NodeGetCapabilities
            | Self::NodeGetInfo => false,
        }
    }

    /// Asked so often, and answered from constants, that a line for each would drown the log.
    pub(super) const fn chatty(self) -> bool {
        matches!(
            self,
            Self::GetPluginInfo
                | Self::GetPluginCapabilities
                | Self::Probe
                | Self::ControllerGetCapabilities
                | Self::GroupControllerGetCapabilities
                | Self::NodeGetCapabilities
        )
    }
}

/// The table: (kind, outcome, rpc) to code.
#[must_use]
pub fn code(kind: Kind, outcome: Outcome, rpc: Rpc) -> Code {
    match (kind, outcome) {
        // Never final, whatever became of the call.
        (Kind::Busy | Kind::BadToken, _) => Code::Aborted,
        (Kind::Timeout, _) => Code::DeadlineExceeded,
        (Kind::Unavailable, _) => Code::Unavailable,
        // "The operation may be going on: repeat the call" is what ABORTED says.
        (_, Outcome::Unknown) if rpc.changes() => Code::Aborted,
        // Nothing was changed, but neither is it known that the object does not exist.
        (Kind::NotFound, Outcome::Unknown) => Code::Unavailable,
        (Kind::InvalidArgument, _) => Code::InvalidArgument,
        (Kind::NotFound, Outcome::Refused) => Code::NotFound,
        (Kind::AlreadyExists, _) => Code::AlreadyExists,
        (Kind::FailedPrecondition, _) => Code::FailedPrecondition,
        (Kind::ResourceExhausted, _) => Code::ResourceExhausted,
        (Kind::OutOfRange, _) => Code::OutOfRange,
        (Kind::PermissionDenied, _) => Code::PermissionDenied,
        (Kind::Unauthenticated, _) => Code::Unauthenticated,
        (Kind::Internal, _) => Code::Internal,
        (Kind::Unsupported, _) => unsupported(rpc),
    }
}

/// What is lacking for this one volume or class although the RPC is served: each RPC's own code for
/// "exceeds capabilities".
const fn unsupported(rpc: Rpc) -> Code {
    match rpc {
        Rpc::CreateVolume
        | Rpc::ControllerPublishVolume
        | Rpc::ControllerExpandVolume
        | Rpc::ControllerModifyVolume
        | Rpc::NodeExpandVolume => Code::InvalidArgument,
        Rpc::CreateVolumeGroupSnapshot | Rpc::NodeStageVolume | Rpc::NodePublishVolume => {
            Code::FailedPrecondition
        }
        _ => Code::Unimplemented,
    }
}

/// An error as the answer of an RPC: its one-line form without the causes, and no details.
#[must_use]
pub fn status(error: &Error, rpc: Rpc) -> Status {
    let mut message = error.to_string();
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    Status::new(code(error.kind(), error.outcome(), rpc), message)
}

/// A code's name as gRPC writes it.
#[must_use]
pub const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const OUTCOMES: [Outcome; 2] = [Outcome::Refused, Outcome::Unknown];

    fn is_final(code: Code) -> bool {
        !matches!(code, Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Aborted)
    }

    #[test]
    fn every_cell_keeps_the_rules() {
        assert_eq!(Rpc::ALL.len(), 34, "CSI 1.13 has 36 RPCs; the two of SnapshotMetadata are not served");
        for rpc in Rpc::ALL.iter().copied() {
            for (kind, outcome) in Kind::ALL.into_iter().flat_map(|kind| OUTCOMES.map(|o| (kind, o))) {
                let cell = code(kind, outcome, rpc);
                assert!(!matches!(cell, Code::Ok | Code::Unknown | Code::DataLoss), "{kind:?} {rpc:?}");
                if outcome == Outcome::Unknown && rpc.changes() {
                    assert!(!is_final(cell), "{kind:?} {rpc:?}: {cell:?} says that nothing was left behind");
                }
                if cell == Code::NotFound {
                    assert_eq!((kind, outcome), (Kind::NotFound, Outcome::Refused), "{rpc:?}");
                }
                if matches!(kind, Kind::Busy | Kind::BadToken) {
                    assert_eq!(cell, Code::Aborted, "{kind:?} {rpc:?}");
                }
            }
        }
    }

    fn names(rpcs: impl Iterator<Item = Rpc>) -> String {
        rpcs.map(Rpc::as_str).collect::<Vec<_>>().join(" ")
    }

    /// The table written out: for each kind and outcome, the codes and the RPCs that get them.
    fn table() -> String {
        let all = || Rpc::ALL.iter().copied();
        let (changing, reading) =
            (names(all().filter(|rpc| rpc.changes())), names(all().filter(|rpc| !rpc.changes())));
        let mut text = format!("changing = {changing}\nreading = {reading}\n");
        for (kind, outcome) in Kind::ALL.into_iter().flat_map(|kind| OUTCOMES.map(|o| (kind, o))) {
            writeln!(text, "{kind:?} {outcome:?}").unwrap();
            let mut codes: Vec<Code> = all().map(|rpc| code(kind, outcome, rpc)).collect();
            codes.sort_by_key(|code| *code as i32);
            codes.dedup();
            for cell in &codes {
                let rpcs = match names(all().filter(|rpc| code(kind, outcome, *rpc) == *cell)) {
                    _ if codes.len() == 1 => "all".to_owned(),
                    rpcs if rpcs == changing => "changing".to_owned(),
                    rpcs if rpcs == reading => "reading".to_owned(),
                    rpcs => rpcs,
                };
                writeln!(text, "  {}: {rpcs}", name(*cell)).unwrap();
            }
        }
        text
    }

    #[test]
    fn the_table_is_the_one_that_was_agreed_on() {
        let table = table();
        assert_eq!(table, include_str!("status/table.txt"), "the table is now:\n{table}");
    }

    #[test]
    fn a_status_has_one_bounded_line_and_no_details() {
        let error = Error::invalid("é".repeat(5000)).caused_by(std::io::Error::other("the cause"));
        let status = status(&error, Rpc::CreateVolume);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().len() < MAX_MESSAGE + 8);
        assert!(status.details().is_empty());
        assert!(!status.message().contains("the cause"));
    }
}
