//! Random calls, as many sidecars make them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tonic::Code;

use crate::NODES;
use crate::calls::{Caller, From};
use crate::dice::Dice;
use crate::seat::Answer;

/// How many names there are of volumes, of those that several clients write to, of copies of volumes and of snapshots, of
/// snapshots of each volume, and of groups.
pub const NAMES: u64 = 24;
pub const SHARED: u64 = 2;
pub const COPIES: u64 = 6;
pub const SNAPSHOTS: u64 = 2;
pub const GROUPS: u64 = 4;

pub fn volume(number: u64) -> String {
    format!("csi--v{number}")
}

pub fn shared(number: u64) -> String {
    format!("csi--m{number}")
}

/// A snapshot's name, and the volume that it is of.
pub fn snapshot(volume: u64, number: u64) -> (String, String) {
    (format!("csi--snap--s{number}-v{volume}"), self::volume(volume))
}

/// A group's name, and the volumes that it is of.
pub fn group(number: u64) -> (String, Vec<String>) {
    let volumes = (0..=number).map(|place| volume((number * 5 + place) % NAMES)).collect();
    (format!("csi--group--g{number}"), volumes)
}

/// A copy's name, and what it is made from: every other one is made from a snapshot.
pub fn copy(number: u64) -> (String, From) {
    let from = match number % 2 {
        0 => From::Volume(volume(number)),
        _ => From::Snapshot(snapshot(number, 0).0),
    };
    (format!("csi--c{number}"), from)
}

/// Someone who calls.
pub struct Worker {
    pub caller: Caller,
    pub dice: Dice,
    pub calm: Arc<AtomicBool>,
    pub done: Arc<AtomicU64>,
}

impl Worker {
    /// Calls until it is calm.
    pub async fn work(mut self) {
        let patience = self.caller.patience;
        while !self.calm.load(Ordering::Relaxed) {
            // Some give up at once, and what they ordered goes on.
            self.caller.patience = match self.dice.one_in(25) {
                true => Duration::from_millis(self.dice.between(10, 300)),
                false => patience,
            };
            match self.one().await {
                Some(Ok(())) => {}
                // It was not begun.
                Some(Err(status))
                    if status.code() == Code::Aborted && status.message().contains("is under way") =>
                {
                    sleep(Duration::from_millis(self.dice.between(5, 40))).await;
                    continue;
                }
                _ => sleep(Duration::from_millis(self.dice.between(20, 200))).await,
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One call.
    async fn one(&mut self) -> Answer<()> {
        let dice = &mut self.dice;
        let number = dice.below(NAMES);
        let name = volume(number);
        let node = *dice.one_of(&NODES);
        let caller = &self.caller;
        if !caller.world.has(&name) {
            return caller.create(&name, None).await;
        }
        match dice.below(42) {
            0..3 => caller.create(&name, None).await,
            3..7 => caller.delete(&name).await,
            7..16 => caller.publish(&name, node).await,
            16..25 => {
                let from = caller.world.holder(&name).filter(|_| dice.one_in(2)).unwrap_or(node);
                // The usual order. Without it, who is logged in stays so until the weather changes.
                if dice.one_in(2) {
                    caller.world.log_out(&name);
                }
                caller.unpublish(&name, (!dice.one_in(9)).then_some(from)).await
            }
            25..27 => caller.expand(&name, dice.between(1, 20) << 30).await,
            27..29 => {
                let iops = dice.between(100, 5000).to_string();
                let (key, value) = *dice.one_of(&[
                    ("iops", iops.as_str()),
                    ("template", "hybrid"),
                    ("tier", "gold"),
                    ("bw", "-"),
                ]);
                caller.modify(&name, key, value).await
            }
            29..32 => {
                let (copy, from) = copy(dice.below(COPIES));
                match dice.one_in(3) && caller.world.has(&copy) {
                    true => caller.delete(&copy).await,
                    false => caller.create(&copy, Some(&from)).await,
                }
            }
            32..36 => {
                let (snapshot, of) = snapshot(number, dice.below(SNAPSHOTS));
                match dice.one_in(2) && caller.world.has(&snapshot) {
                    true => caller.delete_snapshot(&snapshot).await,
                    false => caller.snapshot(&snapshot, &of).await,
                }
            }
            36..38 => {
                let (group, of) = group(dice.below(GROUPS));
                match dice.one_in(2) && caller.world.has(&group) {
                    true => caller.delete_group(&group).await,
                    false => caller.group(&group, &of).await,
                }
            }
            38 => caller.list().await,
            _ => {
                let name = shared(dice.below(SHARED));
                match dice.below(6) {
                    _ if !caller.world.has(&name) => caller.create(&name, None).await,
                    0 => caller.delete(&name).await,
                    1 | 2 => {
                        caller.world.log_out(&name);
                        caller.unpublish(&name, Some(node)).await
                    }
                    _ => caller.publish(&name, node).await,
                }
            }
        }
    }
}
