//! This host's iSCSI sessions: open-iscsi makes and ends them (iscsiadm(8)), the kernel shows them in sysfs
//! (`/sys/class/iscsi_session`), and links in `/dev` note which target is whose.

mod admin;
#[cfg(test)]
pub(crate) mod fake;
mod notes;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use nix::libc;

use super::linux::blocking;
use super::rooted::Rooted;
use super::{disks, files};
use crate::error::{Error, Result};

pub use notes::Unit;

/// Where open-iscsi keeps the name of this host's initiator.
const INITIATOR_FILE: &str = "/etc/iscsi/initiatorname.iscsi";

/// A host that can log in to targets.
#[derive(Clone, Debug)]
pub struct Iscsi {
    sys: PathBuf,
    dev: PathBuf,
    tools: Rooted,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The kernel's name, such as `session3`.
    pub name: String,
    /// The portal that was logged in at; it may have sent the session on to another one. `None` while the connection is
    /// being made or ended.
    pub portal: Option<SocketAddr>,
    /// The logical units that the kernel has found: their numbers and the kernel's names of their disks.
    pub units: Vec<(u32, String)>,
}

impl Iscsi {
    /// This machine, whose root directory is seen there.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self::at(Path::new("/sys"), Path::new("/dev"), Rooted::at(root))
    }

    /// The machine that is shown at these places.
    #[must_use]
    pub fn at(sys: &Path, dev: &Path, tools: Rooted) -> Self {
        Self { sys: sys.to_owned(), dev: dev.to_owned(), tools }
    }

    /// The name of this host's initiator; `None` where open-iscsi is not here, or has not made one yet.
    ///
    /// # Errors
    /// Where its file cannot be read.
    pub async fn initiator(&self) -> Result<Option<String>> {
        let file = self.initiator_file();
        blocking(move || {
            let text = match std::fs::read_to_string(&file) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io(format!("read {}", file.display()), error)),
            };
            let name = text.lines().find_map(|line| line.trim().strip_prefix("InitiatorName="));
            Ok(name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()))
        })
        .await
    }

    /// Where the name of this host's initiator is looked for.
    #[must_use]
    pub fn initiator_file(&self) -> PathBuf {
        self.tools.path(INITIATOR_FILE)
    }

    /// The sessions with a target, by name.
    ///
    /// # Errors
    /// Where sysfs cannot be read.
    pub async fn sessions(&self, target: &str) -> Result<Vec<Session>> {
        let (class, target) = (self.sys.join("class"), target.to_owned());
        blocking(move || {
            let directory = class.join("iscsi_session");
            let mut found = Vec::new();
            for name in files::names(&directory)? {
                let at = directory.join(&name);
                if text(&at.join("targetname"))?.as_deref() == Some(target.as_str()) {
                    let portal = portal(&class, &name)?;
                    found.push(Session { units: units(&at.join("device"))?, portal, name });
                }
            }
            found.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(found)
        })
        .await
    }
}

/// The portal that a session was made with. What the connection itself calls its address is where it was sent on to.
fn portal(class: &Path, session: &str) -> Result<Option<SocketAddr>> {
    let number = session.strip_prefix("session").unwrap_or_default();
    let at = class.join("iscsi_connection").join(format!("connection{number}:0"));
    let (address, port) = (text(&at.join("persistent_address"))?, text(&at.join("persistent_port"))?);
    let address = address.and_then(|address| address.parse::<IpAddr>().ok());
    let port = port.and_then(|port| port.parse::<u16>().ok());
    Ok(address.zip(port).map(|(address, port)| SocketAddr::new(address, port)))
}

/// The disks of a session: `target<host>:<channel>:<id>/<host>:<channel>:<id>:<unit>/block/<name>`.
fn units(device: &Path) -> Result<Vec<(u32, String)>> {
    let mut found = Vec::new();
    for target in names(device)?.into_iter().filter(|name| name.starts_with("target")) {
        let target = device.join(target);
        for address in names(&target)? {
            let unit = address.rsplit_once(':').and_then(|(_, unit)| unit.parse::<u32>().ok());
            let Some(unit) = unit else { continue };
            found.extend(names(&target.join(&address).join("block"))?.into_iter().map(|disk| (unit, disk)));
        }
    }
    found.sort();
    Ok(found)
}

/// The names in a directory that may be going away.
fn names(directory: &Path) -> Result<Vec<String>> {
    match directory.is_dir() {
        true => files::names(directory),
        false => Ok(Vec::new()),
    }
}

/// The text of a sysfs file; `None` where it is not there, or the kernel knows nothing to say.
fn text(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let text = text.trim();
            // As sysfs writes a text that is not there.
            Ok((!text.is_empty() && text != "(null)" && text != "<NULL>").then(|| text.to_owned()))
        }
        // The session goes away, or has no connection now.
        Err(error) if disks::gone(&error) || error.raw_os_error() == Some(libc::ENOTCONN) => Ok(None),
        Err(error) => Err(Error::io(format!("read {}", file.display()), error)),
    }
}
