//! What the clusters of a location do with each other: a volume is in one of them, and moves when a client of another one
//! gets it.

use crate::config::Status;
use crate::state::{Cluster, Detach, Entry, Kind, Refusal, Result};

/// What becomes of a volume that is attached in the cluster from which it is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnAttached {
    /// The call is refused.
    Fail,
    /// It is detached there, unless it is open.
    Detach,
    /// It is detached there.
    DetachForce,
}

impl OnAttached {
    /// From its word. Exporting, which is what is done where nothing is said, is not simulated.
    pub(crate) fn parse(word: Option<&str>) -> Result<Self> {
        match word {
            Some("fail") => Ok(Self::Fail),
            Some("detach") => Ok(Self::Detach),
            Some("detachForce") => Ok(Self::DetachForce),
            Some("export") | None => Err(Refusal::invalid("Exporting a volume is not simulated")),
            Some(other) => Err(Refusal::invalid(format!("Invalid onRemoteAttached '{other}'"))),
        }
    }
}

/// An entry of a call, and what it says of other clusters.
#[derive(Debug)]
pub(crate) struct Moving {
    pub(crate) entry: Entry,
    pub(crate) on_attached: Option<String>,
}

/// Refuses what needs clusters that cannot be reached from the one that carries a call out.
pub(crate) fn check_reached(all: &[&mut Cluster], at: usize) -> Result<()> {
    let lost = all.iter().enumerate().find(|(place, one)| {
        *place != at && (one.config.status == Status::CutOff || all[at].config.status == Status::CutOff)
    });
    match lost {
        Some((_, one)) => {
            Err(Refusal::multi_cluster(format!("Cluster '{}' cannot be reached", one.config.cluster_name)))
        }
        None => Ok(()),
    }
}

/// The cluster that has the volume or snapshot of this name; the one that was asked comes first.
///
/// # Errors
/// `objectDoesNotExist`.
pub(crate) fn find(all: &[&mut Cluster], at: usize, name: &str, kind: Kind) -> Result<usize> {
    let here = all[at].find(name, kind);
    if here.is_ok() {
        return Ok(at);
    }
    let found = all.iter().position(|cluster| cluster.find(name, kind).is_ok());
    found.map_or_else(|| here.map(|_| at), Ok)
}

/// Reassigns in one cluster, after what is elsewhere has moved there: all of it or nothing.
///
/// # Errors
/// Why nothing is done.
pub(crate) fn reassign(all: &mut [&mut Cluster], at: usize, entries: Vec<Moving>) -> Result<(u64, Vec<u16>)> {
    let mut moved = Vec::new();
    let done = bring(all, at, entries, &mut moved).and_then(|here| all[at].reassign(&here));
    if done.is_err() {
        for (from, name, kind) in moved {
            let object = all[at].give_away(&name, kind)?;
            all[from].take_in(object)?;
        }
    }
    done
}

/// Brings what is to be attached here. What is only to be detached and is elsewhere is at none of this cluster's clients.
fn bring(
    all: &mut [&mut Cluster],
    at: usize,
    entries: Vec<Moving>,
    moved: &mut Vec<(usize, String, Kind)>,
) -> Result<Vec<Entry>> {
    let mut here = Vec::new();
    for Moving { entry, on_attached } in entries {
        let from = find(all, at, &entry.name, entry.kind)?;
        if from != at {
            if entry.rw.is_empty() && entry.ro.is_empty() {
                continue;
            }
            free(all[from], &entry, on_attached.as_deref())?;
            let object = all[from].give_away(&entry.name, entry.kind)?;
            let back = object.clone();
            if let Err(refusal) = all[at].take_in(object) {
                all[from].take_in(back)?;
                return Err(refusal);
            }
            moved.push((from, entry.name.clone(), entry.kind));
        }
        here.push(entry);
    }
    Ok(here)
}

/// Takes what is to move off the clients of its cluster, where that is allowed.
fn free(from: &mut Cluster, entry: &Entry, on_attached: Option<&str>) -> Result<()> {
    let clients = from.holders(&entry.name, entry.kind)?;
    let Some(client) = clients.first() else { return Ok(()) };
    let force = match OnAttached::parse(on_attached)? {
        OnAttached::Fail => {
            let (name, cluster) = (&entry.name, &from.config.cluster_name);
            return Err(Refusal::busy(format!(
                "'{name}' is attached to client {client} of cluster '{cluster}'"
            )));
        }
        OnAttached::Detach => false,
        OnAttached::DetachForce => true,
    };
    let off = Entry { rw: Vec::new(), ro: Vec::new(), detach: Detach::All, force, ..entry.clone() };
    from.reassign(&[off]).map(drop)
}
