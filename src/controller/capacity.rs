//! The room that is left.

use crate::backend::Capacity;
use crate::controller::{Controller, access, parameters};
use crate::error::Result;
use crate::volume::{Access, Bytes, Parameters, Topology};

/// GetCapacity, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// How the volumes would be used.
    pub access: Vec<Access>,
    /// As the StorageClass has them.
    pub parameters: Parameters,
    /// From where they would have to be reachable.
    pub place: Option<Topology>,
}

impl Controller {
    /// The room for volumes of this sort: in the back end that the parameters pick, or in all together where they
    /// name none. A back end that cannot make volumes of this sort has none.
    ///
    /// # Errors
    /// `InvalidArgument` for a parameter.
    pub async fn capacity(&self, room: Room) -> Result<Capacity> {
        let (given, _) = parameters::split(room.parameters);
        let (candidates, rest) = self.backends.candidates(&given)?;
        let mut total: Option<Capacity> = None;
        for (name, backend) in candidates {
            if access::check(name, backend.capabilities(), &room.access).is_err() {
                continue;
            }
            let one = backend.capacity(&rest, room.place.as_ref()).await?;
            total = Some(total.map_or(one, |sum| Capacity {
                available: sum.available.saturating_add(one.available),
                largest: sum.largest.max(one.largest),
                smallest: sum.smallest.min(one.smallest),
            }));
        }
        let none = Capacity { available: Bytes::ZERO, largest: Bytes::ZERO, smallest: Bytes::ZERO };
        Ok(total.unwrap_or(none))
    }
}
