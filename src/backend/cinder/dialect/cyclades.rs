//! Synnefo's Cyclades, with Astakos as its identity service (snf-cyclades-app: synnefo/volume, synnefo/api/servers.py).

use crate::error::{Kind, Outcome};
use crate::volume::{Bytes, SizeRules};

use super::{Dialect, Feature, Keeping, Notes, Paging, Quotas, Refusal, Servers, Telling, Words};

const GIB: Bytes = Bytes::gib(1);

pub(super) const DIALECT: Dialect = Dialect {
    name: "cyclades",
    cloud: "Cyclades",
    // Snapshots and images are left out although the cloud may have them: a volume from one bears its source's file system,
    // and nothing else on a disk says whose it is.
    can: &[Feature::Notes, Feature::Limits],
    microversions: false,
    words: Words { name: "display_name", description: "display_description" },
    paging: Paging::Whole,
    filters: false,
    // A create drops its metadata, and keeps its description: that says whose the volume is until the rest is noted.
    notes: Notes { ordered: Keeping::Description, later: Keeping::Metadata, snapshot: Keeping::Metadata },
    most_notes: Some(10),
    attachment_ids: false,
    hints: &[],
    // CYCLADES_VOLUME_MAX_SIZE, as it is by default.
    sizes: SizeRules { min: GIB, max: Bytes::gib(200), step: GIB, default: GIB },
    types: &[],
    // The server's own disk may or may not be on its list, so the cloud's refusal tells.
    per_server: None,
    disks: Telling::Nothing,
    refusals: &[
        Refusal {
            status: 400,
            says: "while there is a pending",
            kind: Kind::Busy,
            outcome: Outcome::Unknown,
        },
        Refusal {
            status: 400,
            says: "API endpoint not found",
            kind: Kind::Unsupported,
            outcome: Outcome::Refused,
        },
        // Nothing has an id that is no number.
        Refusal { status: 400, says: "Invalid ID", kind: Kind::NotFound, outcome: Outcome::Refused },
        Refusal { status: 400, says: "Invalid volume ID", kind: Kind::NotFound, outcome: Outcome::Refused },
        Refusal { status: 400, says: "Invalid server ID", kind: Kind::NotFound, outcome: Outcome::Refused },
        Refusal { status: 400, says: "has been deleted", kind: Kind::NotFound, outcome: Outcome::Refused },
        Refusal {
            status: 400,
            says: "is not attached to server",
            kind: Kind::NotFound,
            outcome: Outcome::Refused,
        },
        Refusal {
            status: 400,
            says: "volume while volume is in",
            kind: Kind::FailedPrecondition,
            outcome: Outcome::Refused,
        },
    ],
    quotas: Quotas::Astakos,
    conflict: None,
    servers: Servers { numbered: true, one_task: true, binding: true, lose_deleted: true },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_mean_what_they_say() {
        let busy = "Cannot perform 'ATTACH_VOLUME' action while there is a pending 'REBOOT'.";
        assert_eq!(DIALECT.meaning(400, busy), Some((Kind::Busy, Outcome::Unknown)));
        for (text, kind) in [
            ("API endpoint not found", Kind::Unsupported),
            ("Invalid volume ID 'x'", Kind::NotFound),
            ("Volume '44' has been deleted.", Kind::NotFound),
            ("Volume '44' is not attached to server '42'", Kind::NotFound),
            ("Cannot attach volume while volume is in 'DETACHING' status", Kind::FailedPrecondition),
        ] {
            assert_eq!(DIALECT.meaning(400, text), Some((kind, Outcome::Refused)), "{text}");
            assert_eq!(DIALECT.meaning(503, text), None, "{text}");
        }
        assert_eq!(DIALECT.meaning(400, "Volume size is required."), None);
    }

    #[test]
    fn ids_are_numbers() {
        assert_eq!(DIALECT.id("44"), serde_json::json!(44));
        assert_eq!(DIALECT.id("x"), serde_json::json!("x"));
        assert_eq!(Dialect::OPENSTACK.id("44"), serde_json::json!("44"));
    }
}
