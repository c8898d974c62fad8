//! Rackspace's classic cloud: block storage of version 1 (or 2) without microversions, Nova of its time, Xen
//! (rackerlabs/docs-cloud-block-storage, rackerlabs/docs-cloud-servers; rackspace-how-to for the limits).

use crate::error::{Kind, Outcome};
use crate::volume::{Bytes, SizeRules};

use super::{
    Dialect, Feature, Hint, HintForm, Keeping, Notes, Paging, Quotas, Refusal, Servers, Telling, TypeRules,
    Words,
};

/// Of both types. Nothing can be grown, so a default that is larger would be no favour.
const fn sizes(least: u64) -> SizeRules {
    let min = Bytes::gib(least);
    SizeRules { min, max: Bytes::gib(1024), step: Bytes::gib(1), default: min }
}

/// Of a region and a type: 50 volumes or 10 TB.
const fn rules(name: &'static str, least: u64) -> TypeRules {
    TypeRules { name, sizes: sizes(least), volumes: Some(50), gib: Some(10 << 10) }
}

const fn refusal(status: u16, says: &'static str, kind: Kind) -> Refusal {
    Refusal { status, says, kind, outcome: Outcome::Refused }
}

pub(super) const DIALECT: Dialect = Dialect {
    name: "rackspace",
    cloud: "Rackspace's classic cloud",
    can: &[Feature::Snapshots, Feature::Clones, Feature::Images],
    microversions: false,
    // Version 2 takes these words, too.
    words: Words { name: "display_name", description: "display_description" },
    paging: Paging::Offset,
    filters: false,
    // A volume that exists can get another description, and nothing else. What is noted about a snapshot is dropped.
    notes: Notes { ordered: Keeping::Metadata, later: Keeping::Description, snapshot: Keeping::Description },
    most_notes: None,
    attachment_ids: false,
    hints: &[
        Hint { parameter: "differentNode", key: "different_node", form: HintForm::Note },
        Hint { parameter: "differentRack", key: "different_rack", form: HintForm::Note },
    ],
    sizes: sizes(75),
    types: &[rules("SATA", 75), rules("SSD", 50)],
    quotas: Quotas::Counted,
    per_server: Some(14),
    disks: Telling::Name,
    refusals: &[
        refusal(400, "'size' parameter must be between", Kind::OutOfRange),
        // 500 of one volume.
        refusal(429, "SnapshotQuotaExceeded", Kind::ResourceExhausted),
        refusal(412, "invalidImage", Kind::InvalidArgument),
    ],
    // SnapshotConflict, CloneConflict: one copy of a volume at a time.
    conflict: Some("Request conflicts with in-progress"),
    servers: Servers::NOVA,
};
