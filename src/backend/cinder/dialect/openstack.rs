//! OpenStack: Cinder from version 2 of its API on, and Nova. What a single cloud has depends on its microversions.

use crate::volume::{Bytes, SizeRules};

use super::{Dialect, Feature, Hint, HintForm, Keeping, Notes, Paging, Quotas, Servers, Telling, Words};

const GIB: Bytes = Bytes::gib(1);

pub(super) const DIALECT: Dialect = Dialect {
    name: "openstack",
    cloud: "this cloud",
    can: &[
        Feature::Snapshots,
        Feature::Clones,
        Feature::Images,
        Feature::Growing,
        Feature::Retyping,
        Feature::Notes,
        Feature::Backups,
        Feature::Groups,
        Feature::Sharing,
        Feature::Attachments,
        Feature::Messages,
        Feature::Zones,
        Feature::Limits,
    ],
    microversions: true,
    words: Words { name: "name", description: "description" },
    paging: Paging::Marker,
    filters: true,
    notes: Notes { ordered: Keeping::Metadata, later: Keeping::Metadata, snapshot: Keeping::Metadata },
    most_notes: None,
    attachment_ids: true,
    hints: &[
        Hint { parameter: "sameHost", key: "same_host", form: HintForm::List },
        Hint { parameter: "differentHost", key: "different_host", form: HintForm::List },
        Hint { parameter: "localToInstance", key: "local_to_instance", form: HintForm::Text },
        Hint { parameter: "schedulerQuery", key: "query", form: HintForm::Text },
    ],
    sizes: SizeRules { min: GIB, max: Bytes::gib(1 << 20), step: GIB, default: GIB },
    types: &[],
    quotas: Quotas::Told,
    per_server: None,
    disks: Telling::Serial,
    refusals: &[],
    conflict: None,
    servers: Servers::NOVA,
};
