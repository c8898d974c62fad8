//! Of which type and on which server a volume is made, where the cloud knows types by numbers and keeps volumes of some types
//! on one server.

use std::collections::BTreeSet;

use crate::backend::VolumeOrder;
use crate::error::{Error, Kind, Result};

use super::Cloud;
use super::notes::Notes;

/// Notes that the driver may have to add later: the act of attaching, and how a server uses it.
const LATER: usize = 2;
/// The longest key and value of a note where there are not as many as one likes.
const LONGEST_KEY: usize = 64;
const LONGEST_VALUE: usize = 255;

impl Cloud {
    /// The type to order: as it was asked for, or by its id where the cloud knows none by name.
    ///
    /// # Errors
    /// `InvalidArgument` naming the types that there are.
    pub(super) async fn kind(&self, asked: Option<String>) -> Result<Option<String>> {
        if !self.dialect().servers.numbered {
            return Ok(asked);
        }
        let Some(asked) = asked else { return self.only_kind().map(Some) };
        if !self.types.has(&asked) {
            // It may be new.
            self.types.set(self.client.volume_types().await?);
        }
        let found = self.types.find(&asked).map(|known| known.id);
        found.map(Some).ok_or_else(|| {
            let names = self.types.all_names();
            Error::invalid(format!("parameter \"type\" has the value {asked:?}: the types are {names}"))
        })
    }

    /// The only type whose volumes any server can have.
    fn only_kind(&self) -> Result<String> {
        let mut moving = self.types.all().into_iter().filter(|known| known.detachable == Some(true));
        match (moving.next(), moving.next()) {
            (Some(one), None) => Ok(one.id),
            _ => Err(Error::invalid(format!(
                "this cloud has no type of its own choice: name one in the parameter \"type\", or in \"type\" of the back end; \
                 the types are {}",
                self.types.all_names()
            ))),
        }
    }

    /// The server to make a volume of this type on; `None`: on none.
    ///
    /// # Errors
    /// `InvalidArgument` where the order does not say on which.
    pub(super) fn server(&self, order: &VolumeOrder, kind: Option<&str>) -> Result<Option<String>> {
        let Some(kind) = kind.filter(|kind| self.dialect().servers.binding && self.types.binds(kind)) else {
            return Ok(None);
        };
        let refuse = |why: String| {
            Err(Error::invalid(format!(
                "volumes of the type {} are made on a server and stay there, and {why}",
                self.types.name_of(kind)
            )))
        };
        let Some(key) = &self.config.server_key else {
            return refuse("nodes do not tell here on which server they are".to_owned());
        };
        let places = match order.topology.requisite.as_slice() {
            [] => &order.topology.preferred,
            requisite => requisite,
        };
        let servers: BTreeSet<_> = places.iter().filter_map(|place| place.0.get(key)).collect();
        let advice = "the StorageClass must have \"volumeBindingMode: WaitForFirstConsumer\", and csi-provisioner must run \
                      with --strict-topology";
        match servers.iter().collect::<Vec<_>>().as_slice() {
            [server] => Ok(Some((**server).clone())),
            [] => refuse(format!("the order names no segment {key:?} of a server: {advice}")),
            several => {
                refuse(format!("the order names {} servers, not the one of the pod: {advice}", several.len()))
            }
        }
    }

    /// Refuses more notes than a volume can have.
    ///
    /// # Errors
    /// `InvalidArgument` with how many there can be.
    pub(super) fn fit(&self, notes: &Notes) -> Result<()> {
        let Some(most) = self.dialect().most_notes else { return Ok(()) };
        let long = notes
            .iter()
            .find(|(key, value)| key.len() > LONGEST_KEY || value.chars().count() > LONGEST_VALUE);
        if let Some((key, _)) = long {
            return Err(Error::invalid(format!(
                "the note {key:?} is too long: keys have at most {LONGEST_KEY} characters here, values {LONGEST_VALUE}"
            )));
        }
        match notes.len() + LATER {
            count if count <= most => Ok(()),
            count => Err(Error::refused(
                Kind::InvalidArgument,
                format!(
                    "{count} notes would be on the volume, {LATER} of them later, and it can have {most}: leave out some of \
                     \"metadata\""
                ),
            )),
        }
    }
}
