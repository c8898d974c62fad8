//! What a simulated cloud has and how fast it is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A microversion, such as 3.48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Which cloud it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Keystone, Cinder and Nova.
    Openstack,
    /// Rackspace's classic cloud.
    Rackspace,
    /// Synnefo's Astakos and Cyclades.
    Cyclades,
}

/// How long the work takes that goes on after an answer.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Making a volume.
    pub create: Duration,
    /// From `available` until the volume's service is noted, before which it cannot be attached.
    pub register: Duration,
    /// Filling a volume from an image, on top of making it.
    pub image: Duration,
    /// Deleting a volume.
    pub delete: Duration,
    /// Growing a volume.
    pub extend: Duration,
    /// From a volume in use that has grown until its server sees it.
    pub grow_disk: Duration,
    /// Changing a volume's type.
    pub retype: Duration,
    /// Making a snapshot, a group or a group snapshot.
    pub snapshot: Duration,
    /// Deleting one of these.
    pub delete_snapshot: Duration,
    /// Making or restoring a backup.
    pub backup: Duration,
    /// Attaching.
    pub attach: Duration,
    /// Detaching.
    pub detach: Duration,
    /// After which Nova's API gives up asking a compute service that does not answer.
    pub rpc: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            create: ms(50),
            register: ms(5),
            image: ms(100),
            delete: ms(50),
            extend: ms(50),
            grow_disk: ms(30),
            retype: ms(50),
            snapshot: ms(50),
            delete_snapshot: ms(50),
            backup: ms(100),
            attach: ms(100),
            detach: ms(100),
            rpc: Duration::from_secs(60),
        }
    }
}

/// Somebody who can log in.
#[derive(Clone, Debug)]
pub struct User {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its password; with Rackspace its API key, with Cyclades its token.
    pub password: String,
    /// The name of its project.
    pub project: String,
    /// The id, name and secret of its application credential.
    pub credential: (String, String, String),
}

/// A project.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it may have, by Cinder's names (`volumes`, `gigabytes`, `gigabytes_SSD`, ...); what is not here is unlimited.
    pub quotas: BTreeMap<String, i64>,
}

/// A type of volumes or of groups.
#[derive(Clone, Debug)]
pub struct Type {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Its properties.
    pub specs: BTreeMap<String, String>,
}

impl Type {
    pub(crate) fn new(id: &str, name: &str, specs: &[(&str, &str)]) -> Self {
        let specs = specs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { id: id.to_owned(), name: name.to_owned(), description: None, specs }
    }

    fn described(self, text: &str) -> Self {
        Self { description: Some(text.to_owned()), ..self }
    }

    pub(crate) fn is(&self, spec: &str) -> bool {
        self.specs.get(spec).is_some_and(|value| value == "<is> True")
    }
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The smallest volume that it fits into, in GiB.
    pub min_disk: u64,
}

/// What becomes of a filter by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameFilter {
    /// It holds.
    Honoured,
    /// The operator has not allowed it: it is refused from 3.31 on, and passed over before.
    NotAllowed,
    /// It is passed over.
    Ignored,
}

/// What a simulated cloud has. All of it can be changed while it runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which cloud it is.
    pub dialect: Dialect,
    /// From which ids are made.
    pub seed: u64,
    /// How fast it is.
    pub timings: Timings,
    /// The highest microversion of Cinder.
    pub volume_max: Version,
    /// The highest microversion of Nova.
    pub compute_max: Version,
    /// The region.
    pub region: String,
    /// The users.
    pub users: Vec<User>,
    /// The projects.
    pub projects: Vec<Project>,
    /// The zones; the first is the default.
    pub zones: Vec<String>,
    /// Whether a zone that is none becomes the default one, instead of being refused.
    pub zone_fallback: bool,
    /// Whether a server can have a volume of another zone.
    pub cross_zone_attach: bool,
    /// The types of volumes; the first is the default.
    pub types: Vec<Type>,
    /// The types of groups.
    pub group_types: Vec<Type>,
    /// The images.
    pub images: Vec<Image>,
    /// Whether there is a service for backups.
    pub backups: bool,
    /// Whether Cyclades makes snapshots (CYCLADES_SNAPSHOTS_ENABLED).
    pub snapshots: bool,
    /// Items of a list's page at most.
    pub page: usize,
    /// Whether lists are filtered by name.
    pub name_filter: NameFilter,
    /// Disks of a server at most, its own among them; `None`: as many as one likes.
    pub server_disks: Option<usize>,
    /// How long a token is good.
    pub token_life: Duration,
    /// GiB that a volume can have at most.
    pub largest: u64,
}

/// The password of all users.
pub const PASSWORD: &str = "sim-password";

fn user(name: &str, number: u32) -> User {
    User {
        id: format!("{number:08x}111111111111111111111111"),
        name: name.to_owned(),
        password: PASSWORD.to_owned(),
        project: name.to_owned(),
        credential: (
            format!("{number:08x}222222222222222222222222"),
            format!("{name}-app"),
            PASSWORD.to_owned(),
        ),
    }
}

fn project(name: &str, number: u32, quotas: &[(&str, i64)]) -> Project {
    Project {
        id: format!("{number:08x}333333333333333333333333"),
        name: name.to_owned(),
        quotas: quotas.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect(),
    }
}

impl Config {
    /// A cloud of the newest OpenStack with the projects csi (roomy) and csi2 (3 volumes, 2 snapshots, 10 GiB).
    #[must_use]
    pub fn openstack() -> Self {
        Self {
            dialect: Dialect::Openstack,
            seed: 1,
            timings: Timings::default(),
            volume_max: Version(3, 71),
            compute_max: Version(2, 104),
            region: "RegionOne".to_owned(),
            users: vec![user("csi", 1), user("csi2", 2)],
            projects: vec![
                project("csi", 1, &[]),
                project("csi2", 2, &[("volumes", 3), ("snapshots", 2), ("gigabytes", 10), ("backups", 2)]),
            ],
            zones: vec!["nova".to_owned()],
            zone_fallback: false,
            cross_zone_attach: true,
            types: vec![
                Type::new("0d6e5f7a-7e0c-4f5e-9d5f-000000000001", "standard", &[]),
                Type::new(
                    "0d6e5f7a-7e0c-4f5e-9d5f-000000000002",
                    "multiattach",
                    &[("multiattach", "<is> True")],
                ),
                Type::new("0d6e5f7a-7e0c-4f5e-9d5f-000000000003", "__DEFAULT__", &[])
                    .described("Default Volume Type"),
            ],
            group_types: vec![
                Type::new("0d6e5f7a-7e0c-4f5e-9d5f-000000000011", "default-group", &[]),
                Type::new("0d6e5f7a-7e0c-4f5e-9d5f-000000000012", "default_cgsnapshot_type", &[])
                    .described("Default group type for migrating cgsnapshot"),
            ],
            images: vec![Image {
                id: "0d6e5f7a-7e0c-4f5e-9d5f-000000000021".to_owned(),
                name: "blank".to_owned(),
                min_disk: 1,
            }],
            backups: true,
            snapshots: true,
            page: 1000,
            name_filter: NameFilter::Honoured,
            server_disks: None,
            token_life: Duration::from_secs(3600),
            largest: 100_000,
        }
    }

    /// Rackspace's classic cloud as its pages tell it: 14 volumes a server, 10 TB of each of two types or 50 volumes a
    /// region.
    #[must_use]
    pub fn rackspace() -> Self {
        let sizes = |least: &'static str| {
            [("provisioning:min_vol_size", least), ("provisioning:max_vol_size", "1024")]
        };
        let quotas = [("volumes", 50), ("gigabytes_SATA", 10_240), ("gigabytes_SSD", 10_240)];
        Self {
            dialect: Dialect::Rackspace,
            region: "DFW".to_owned(),
            projects: vec![
                Project { id: "100001".to_owned(), ..project("csi", 1, &quotas) },
                Project { id: "100002".to_owned(), ..project("csi2", 2, &[("volumes", 3)]) },
            ],
            types: vec![Type::new("1", "SATA", &sizes("75")), Type::new("2", "SSD", &sizes("50"))],
            group_types: Vec::new(),
            name_filter: NameFilter::Ignored,
            backups: false,
            // With the server's own.
            server_disks: Some(15),
            token_life: Duration::from_secs(86_400),
            ..Self::openstack()
        }
    }

    /// A cloud of Synnefo. Volumes of the first type can move between servers, those of the second cannot.
    #[must_use]
    pub fn cyclades() -> Self {
        let quotas = [("cyclades.disk", 100 << 30)];
        let template = |name: &'static str| [("SNF:disk_template", name)];
        Self {
            dialect: Dialect::Cyclades,
            region: "default".to_owned(),
            // A token proves its user alone, so each needs its own.
            users: [user("csi", 1), user("csi2", 2)]
                .map(|user| User { password: format!("{PASSWORD}-{}", user.name), ..user })
                .into(),
            projects: vec![project("csi", 1, &quotas), project("csi2", 2, &[("cyclades.disk", 10 << 30)])],
            types: vec![
                Type::new("1", "archipelago", &template("ext_archipelago")),
                Type::new("2", "drbd", &template("drbd")),
            ],
            group_types: Vec::new(),
            name_filter: NameFilter::Ignored,
            backups: false,
            // With the server's own.
            server_disks: Some(8),
            token_life: Duration::from_secs(30 * 86_400),
            largest: 200,
            ..Self::openstack()
        }
    }

    /// The project of this name.
    #[must_use]
    pub fn project(&self, name: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.name == name)
    }

    /// The type of volumes with this id or name.
    #[must_use]
    pub fn volume_type(&self, wanted: &str) -> Option<&Type> {
        self.types.iter().find(|kind| kind.id == wanted || kind.name == wanted)
    }
}
