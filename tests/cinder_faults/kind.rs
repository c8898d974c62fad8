//! What the campaign depends on of each kind of cloud: what it can do, what goes wrong there, and how one logs in.

use std::time::Duration;

use cloudsim::{Config, NameFilter};
use fairlead::backend::cinder::dialect::{Dialect, Feature};

use crate::dice::Dice;

pub const APP_SECRET: &str = "sim-app-secret";

/// A kind of cloud.
#[derive(Debug)]
pub struct Kind {
    pub dialect: &'static Dialect,
    /// The clouds of `clouds.yaml`, by which one process after the other logs in.
    pub logins: &'static [&'static str],
    /// How many servers there are: enough for most of the volumes.
    pub servers: usize,
    /// How many calls are made where nobody says otherwise.
    pub calls: u64,
    /// Milliseconds from one kill of the process to the next.
    pub life: (u64, u64),
    /// The type of volumes that are made on a server and stay there, where there is one.
    pub bound: Option<&'static str>,
    base: fn() -> Config,
}

pub const OPENSTACK: Kind = Kind {
    dialect: Dialect::OPENSTACK,
    logins: &["csi", "csi-app"],
    servers: 4,
    calls: 2000,
    life: (700, 3000),
    bound: None,
    base: Config::openstack,
};

pub const RACKSPACE: Kind = Kind {
    dialect: Dialect::RACKSPACE,
    logins: &["csi"],
    servers: 4,
    calls: 1200,
    // Each name is looked for in whole lists, and whoever throttles holds all calls up.
    life: (1500, 6000),
    bound: None,
    base: Config::rackspace,
};

pub const CYCLADES: Kind = Kind {
    dialect: Dialect::CYCLADES,
    logins: &["csi"],
    servers: 6,
    calls: 1200,
    life: (1500, 6000),
    bound: Some("drbd"),
    base: Config::cyclades,
};

impl Kind {
    pub fn can(&self, feature: Feature) -> bool {
        self.dialect.can(feature)
    }

    pub fn is(&self, dialect: &Dialect) -> bool {
        self.dialect == dialect
    }

    /// A cloud that is quick, and one of several sorts.
    pub fn cloud(&self, dice: &mut Dice) -> Config {
        let mut config = (self.base)();
        if self.is(Dialect::OPENSTACK) {
            // Lists may have more than was asked for.
            let filters = [NameFilter::Honoured, NameFilter::Ignored, NameFilter::NotAllowed];
            config.name_filter = *dice.one_of(&filters);
            APP_SECRET.clone_into(&mut config.users[0].credential.2);
        }
        // Or come in many pages.
        config.page = *dice.one_of(&[1000, 7]);
        eprintln!("names as filters are {:?}, a page has {} items", config.name_filter, config.page);
        let ms = Duration::from_millis;
        let times = &mut config.timings;
        (times.create, times.register, times.delete, times.extend) = (ms(20), ms(5), ms(20), ms(20));
        (times.snapshot, times.delete_snapshot) = (ms(20), ms(20));
        (times.attach, times.detach, times.rpc) = (ms(40), ms(40), ms(300));
        config
    }

    /// The server on which the volumes of a name are made and stay, where they are such.
    pub fn home<'s>(&self, servers: &'s [String], name: &str) -> Option<&'s str> {
        let number: usize = name.strip_prefix('v')?.parse().ok()?;
        let every = 4;
        let bound = self.bound.is_some() && number.is_multiple_of(every);
        bound.then(|| servers[number / every % servers.len()].as_str())
    }
}
