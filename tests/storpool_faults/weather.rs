//! What goes wrong with the cluster, at random, as long as there is a storm.

use std::sync::Arc;
use std::time::Duration;

use storpoolsim::{Fault, Rule, Sim, refuse};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::{CLIENTS, TOKEN};

/// Rules of a sort that wait for a request that fits.
const WAITING: usize = 2;
const REASSIGN: &str = "/VolumesReassignWait";
const ISCSI: &str = "/iSCSIConfig";
/// What is known of errors that pass: nothing but that they say so.
const PASSING: [&str; 4] = ["busy", "internal", "notReady", "preconditionViolation"];

pub struct Weather {
    sim: Arc<Sim>,
    dice: Dice,
    /// What will be right again.
    passing: JoinSet<()>,
    /// How often something went wrong so far, or is to go wrong with the next request that fits.
    pub blows: u64,
}

impl Weather {
    pub fn new(sim: &Arc<Sim>, dice: Dice) -> Self {
        Self { sim: Arc::clone(sim), dice, passing: JoinSet::new(), blows: 0 }
    }

    /// The next thing that goes wrong.
    pub async fn blow(&mut self) {
        sleep(Duration::from_millis(self.dice.between(5, 25))).await;
        while self.passing.try_join_next().is_some() {}
        match self.dice.below(400) {
            0..5 => self.a_client_goes_down(),
            5..25 => self.a_device_is_open(),
            25..27 => self.the_token_is_refused(),
            27..31 => self.an_address_goes_down(),
            31..33 => self.clients_are_slow(),
            33..37 => self.the_controller_is_silent(),
            37..45 => self.a_node_logs_out(),
            _ => {
                let rule = self.rule();
                let same = |other: &&Rule| other.method == rule.method && other.path == rule.path;
                if self.sim.orders().iter().filter(same).count() >= WAITING {
                    return;
                }
                self.sim.order(rule);
            }
        }
        self.blows += 1;
    }

    fn rule(&mut self) -> Rule {
        let dice = &mut self.dice;
        let (method, path) = *dice.one_of(&[
            ("", ""),
            ("GET", ""),
            ("GET", "/AttachmentsList"),
            ("POST", "/VolumeCreate"),
            ("POST", "/VolumeCreate"),
            ("POST", REASSIGN),
            ("POST", REASSIGN),
            ("POST", REASSIGN),
            ("GET", ISCSI),
            ("GET", "/iSCSISessionsInfo"),
            ("POST", ISCSI),
            ("POST", ISCSI),
            ("POST", "/VolumeUpdate/{id}"),
            ("POST", "/VolumeDelete/{id}"),
            ("POST", "/VolumeDelete/{id}"),
            ("POST", "/VolumeSnapshot/{id}"),
            ("POST", "/VolumesGroupSnapshot"),
            ("POST", "/SnapshotDelete/{id}"),
        ]);
        let passing = *dice.one_of(&PASSING);
        // An order that is carried out late must be so before it is repeated: the API cannot tell the two apart, and
        // another order may follow. What makes or deletes something may come whenever it likes.
        let once = path.contains("Create") || path.contains("Delete") || path.contains("Snapshot");
        let late = if once { dice.between(20, 1500) } else { dice.between(20, 150) };
        let fault = match dice.below(14) {
            0 | 1 => Fault::Drop,
            2..5 => Fault::LoseReply,
            5 => Fault::Html(*dice.one_of(&[502, 503, 504])),
            6 | 7 => refuse(500, passing, "try later", true),
            8 => Fault::Truncate,
            9 => Fault::Garble,
            10 => Fault::SlowReply(dice.between(50, 400)),
            11 if path.contains("Create") => refuse(500, "insufficientResources", "no room", false),
            11 | 12 => Fault::GatewayTimeout(late),
            _ => Fault::Late(late.min(400)),
        };
        Rule::once(method, path, fault)
    }

    /// Does something after a while.
    fn later(&mut self, least: u64, most: u64, work: impl FnOnce(&Sim) + Send + 'static) {
        let (sim, time) = (Arc::clone(&self.sim), self.dice.between(least, most));
        self.passing.spawn(async move {
            sleep(Duration::from_millis(time)).await;
            work(&sim);
        });
    }

    /// For less or for longer than it is waited for.
    fn a_client_goes_down(&mut self) {
        let client = *self.dice.one_of(&CLIENTS);
        self.sim.cluster().run_client(client, false);
        self.later(200, 2500, move |sim| sim.cluster().run_client(client, true));
    }

    fn a_device_is_open(&mut self) {
        let attached: Vec<_> = {
            let cluster = self.sim.cluster();
            cluster.attachments().map(|(volume, client, _)| (volume.called(), client)).collect()
        };
        if attached.is_empty() {
            return;
        }
        let (volume, client) = self.dice.one_of(&attached).clone();
        // It may be detached by now.
        drop(self.sim.cluster().set_open(&volume, client, 1));
        self.later(50, 2500, move |sim| drop(sim.cluster().set_open(&volume, client, 0)));
    }

    /// Then nobody knows who is logged in.
    fn the_controller_is_silent(&mut self) {
        self.sim.cluster().silence_controller(1, true);
        self.later(50, 2500, |sim| sim.cluster().silence_controller(1, false));
    }

    fn a_node_logs_out(&mut self) {
        let mut cluster = self.sim.cluster();
        let exported: Vec<_> =
            cluster.exports().map(|(volume, initiator)| (volume.called(), initiator.to_owned())).collect();
        if !exported.is_empty() {
            let (volume, initiator) = self.dice.one_of(&exported);
            cluster.log_out(initiator, volume).unwrap();
        }
    }

    fn the_token_is_refused(&mut self) {
        "1".clone_into(&mut self.sim.cluster().config.token);
        self.later(20, 500, |sim| TOKEN.clone_into(&mut sim.cluster().config.token));
    }

    /// One of the two, seldom both.
    fn an_address_goes_down(&mut self) {
        let both = self.dice.one_in(4);
        let which = if self.dice.one_in(2) { 0 } else { 1 };
        for at in [which, 1 - which].into_iter().take(if both { 2 } else { 1 }) {
            let (sim, time) = (Arc::clone(&self.sim), self.dice.between(100, 1500));
            self.passing.spawn(async move {
                sim.reach(at, false).await.unwrap();
                sleep(Duration::from_millis(time)).await;
                sim.reach(at, true).await.unwrap();
            });
        }
    }

    fn clients_are_slow(&mut self) {
        let usual = self.sim.cluster().config.timings.confirm;
        if usual > Duration::from_millis(50) {
            return;
        }
        self.sim.cluster().config.timings.confirm = Duration::from_millis(self.dice.between(100, 700));
        self.later(200, 1500, move |sim| sim.cluster().config.timings.confirm = usual);
    }

    /// Nothing goes wrong any more.
    pub async fn clears_up(&mut self) {
        self.sim.clear_orders();
        while self.passing.join_next().await.transpose().unwrap().is_some() {}
        let mut cluster = self.sim.cluster();
        assert_eq!(cluster.config.token, TOKEN);
        CLIENTS.iter().for_each(|client| cluster.run_client(*client, true));
    }
}
