//! What goes wrong with the cloud, at random, as long as there is a storm.

use std::sync::Arc;
use std::time::Duration;

use cloudsim::state::Server;
use cloudsim::{Fate, Fault, Leftover, Rule, Sim};
use fairlead::backend::cinder::dialect::{Dialect, Feature};
use tokio::time::{Instant, sleep};

use crate::dice::Dice;
use crate::kind::Kind;

/// Rules of a sort that wait for a request that fits.
const WAITING: usize = 2;

/// Paths of requests that change something, by their ends.
const VOLUMES: &str = "/volumes";
const ATTACH: &str = "/os-volume_attachments";
const DETACH: &str = "/os-volume_attachments/{id}";
const SNAPSHOTS: &str = "/snapshots";
const DELETE: &str = "/volumes/{id}";

#[derive(Debug)]
pub struct Weather {
    sim: Arc<Sim>,
    kind: &'static Kind,
    dice: Dice,
    servers: Vec<String>,
    /// How often something went wrong so far, or is to go wrong with the next request that fits.
    pub blows: u64,
    /// Rules that hold back a request, and may not have met one yet.
    holding: Vec<Rule>,
    /// When the last request will have been carried out that was held back.
    pub late: Instant,
}

/// The requests of a kind of cloud with which something goes wrong: methods and ends of paths, empty ones for any.
fn requests(kind: &Kind) -> &'static [(&'static str, &'static str)] {
    match kind.dialect.name {
        "rackspace" => &[
            ("", ""),
            ("", ""),
            ("GET", ""),
            ("POST", VOLUMES),
            ("POST", VOLUMES),
            ("POST", ATTACH),
            ("POST", ATTACH),
            ("DELETE", DETACH),
            ("DELETE", DELETE),
            ("POST", SNAPSHOTS),
            ("DELETE", "/snapshots/{id}"),
            ("PUT", "/volumes/{id}"),
        ],
        "cyclades" => &[
            ("", ""),
            ("", ""),
            ("GET", ""),
            ("POST", VOLUMES),
            ("POST", VOLUMES),
            ("POST", "/volumes/{id}/metadata"),
            ("POST", "/volumes/{id}/metadata"),
            ("POST", ATTACH),
            ("POST", ATTACH),
            ("DELETE", DETACH),
            ("DELETE", DETACH),
            ("DELETE", DELETE),
            ("GET", "/quotas"),
        ],
        _ => &[
            ("", ""),
            ("", ""),
            ("GET", ""),
            ("POST", VOLUMES),
            ("POST", VOLUMES),
            ("POST", ATTACH),
            ("POST", ATTACH),
            ("DELETE", DETACH),
            ("DELETE", DELETE),
            ("POST", SNAPSHOTS),
            ("DELETE", "/snapshots/{id}"),
            ("POST", "/volumes/{id}/action"),
        ],
    }
}

/// How long a rule holds a request back.
const fn time_of(rule: &Rule) -> Option<Duration> {
    match rule.fault {
        Fault::Late(time) | Fault::GatewayTimeout(time) => Some(Duration::from_millis(time)),
        _ => None,
    }
}

/// Nothing keeps it from what is asked of it.
fn idle(server: &mut Server) {
    server.task_state = None;
    "ACTIVE".clone_into(&mut server.status);
}

impl Weather {
    pub fn new(sim: &Arc<Sim>, kind: &'static Kind, dice: Dice, servers: Vec<String>) -> Self {
        Self {
            sim: Arc::clone(sim),
            kind,
            dice,
            servers,
            blows: 0,
            holding: Vec::new(),
            late: Instant::now(),
        }
    }

    /// The next thing that goes wrong.
    pub async fn blow(&mut self) {
        sleep(Duration::from_millis(self.dice.between(5, 25))).await;
        self.note_held_back();
        let (cyclades, rackspace) = (self.kind.is(Dialect::CYCLADES), self.kind.is(Dialect::RACKSPACE));
        match self.dice.below(400) {
            0..4 if !cyclades => self.compute_goes_down(),
            0..12 => self.a_server_is_busy(),
            // Where a token is all that there is, nothing goes on once it has expired.
            12 if !cyclades => self.sim.expire_tokens(),
            // A pause that is asked for holds all calls up.
            18..20 => self.sim.order(Rule::once("", "", Fault::TooMany(1))),
            20..22 => self.sim.order(Rule::once("", "", Fault::Throttle(1))),
            22..26 if rackspace => self.sim.order(Rule::once("", "", Fault::Throttle(1))),
            _ => {
                let rule = self.rule();
                let same = |other: &&Rule| other.method == rule.method && other.path == rule.path;
                if self.sim.orders().iter().filter(same).count() >= WAITING {
                    return;
                }
                self.holding.extend(time_of(&rule).map(|_| rule.clone()));
                self.sim.order(rule);
            }
        }
        self.blows += 1;
    }

    fn rule(&mut self) -> Rule {
        let (method, path) = *self.dice.one_of(requests(self.kind));
        if let Some(fault) = self.own_fault(path) {
            return Rule::once(method, path, fault);
        }
        let orders = [VOLUMES, ATTACH, SNAPSHOTS].contains(&path);
        let fault = match self.dice.below(if orders { 16 } else { 8 }) {
            // What was not carried out is waited for, for the longest.
            0 | 3 | 4 if path == ATTACH && !self.dice.one_in(4) => Fault::LoseReply,
            // A proxy gives up, or the process ends, and only then it is made.
            0 | 4 | 8 if path == VOLUMES => self.held_back(500, 2500, Fault::Late),
            0 => Fault::Drop,
            1 | 2 => Fault::LoseReply,
            3 => Fault::Html(*self.dice.one_of(&[502, 503, 504])),
            4 => Fault::Refuse(*self.dice.one_of(&[500, 503]), "The server has either erred".to_owned()),
            5 => Fault::Truncate,
            // A login that is refused is not repeated for a while, nor is one whose token is refused at once.
            6 if path.is_empty() || self.dice.one_in(2) => Fault::Garble,
            6 => Fault::Unauthorized,
            7 => Fault::SlowReply(self.dice.between(50, 400)),
            8 => Fault::LoseReply,
            9 => self.held_back(200, 1500, Fault::Late),
            10 => self.held_back(200, 1500, Fault::GatewayTimeout),
            // Later than it is looked for.
            11 if path == VOLUMES => self.held_back(10_500, 12_000, Fault::GatewayTimeout),
            _ => Fault::Fate(self.fate(path)),
        };
        Rule::once(
            method,
            path,
            if path == DETACH && self.dice.one_in(3) { self.rolled_back() } else { fault },
        )
    }

    /// What goes wrong in this kind of cloud alone.
    fn own_fault(&mut self, path: &str) -> Option<Fault> {
        if self.kind.is(Dialect::CYCLADES) && self.dice.one_in(4) {
            let loses = Fate { fails: Some(String::new()), vanishes: true, ..Fate::default() };
            let pending = "Cannot perform 'ATTACH_VOLUME' action while there is a pending 'REBOOT'.";
            return match path {
                DELETE => Some(Fault::Refuse(404, "No available helper server.".to_owned())),
                // Seldom enough that most volumes live on.
                ATTACH if self.dice.one_in(4) => Some(Fault::Fate(loses)),
                ATTACH | DETACH => Some(Fault::Refuse(400, pending.to_owned())),
                _ => None,
            };
        }
        if self.kind.is(Dialect::RACKSPACE) && [VOLUMES, SNAPSHOTS].contains(&path) && self.dice.one_in(4) {
            let text = "SnapshotConflict: Request conflicts with in-progress 'DELETE snapshot'";
            return Some(Fault::Refuse(409, text.to_owned()));
        }
        None
    }

    fn held_back(&mut self, least: u64, most: u64, fault: fn(u64) -> Fault) -> Fault {
        fault(self.dice.between(least, most))
    }

    /// A rule that is gone has met a request since it was last looked for.
    fn note_held_back(&mut self) {
        let waiting = self.sim.orders();
        for rule in self.holding.extract_if(.., |rule| !waiting.contains(rule)) {
            self.late = self.late.max(Instant::now() + time_of(&rule).unwrap_or_default());
        }
    }

    fn rolled_back(&self) -> Fault {
        Fault::Fate(Fate { fails: Some("the guest holds the disk".to_owned()), ..Fate::default() })
    }

    fn fate(&mut self, path: &str) -> Fate {
        let fails = self.dice.one_in(2).then(|| "No weighted backends available".to_owned());
        let takes = self.dice.one_in(2).then(|| self.dice.between(50, 800));
        match path {
            // What is only noted is there at once.
            VOLUMES if self.kind.is(Dialect::CYCLADES) => Fate { fails, ..Fate::default() },
            VOLUMES => Fate { fails, takes, registers: Some(self.dice.between(0, 400)), ..Fate::default() },
            // What is reserved and nobody's is to be ended by a call that only OpenStack has.
            ATTACH if self.kind.can(Feature::Attachments) && self.dice.one_in(4) => {
                Fate { leaves: Some(Leftover::Reserved), ..Fate::default() }
            }
            _ => Fate { fails, takes, ..Fate::default() },
        }
    }

    fn compute_goes_down(&mut self) {
        let (server, time) = (self.dice.one_of(&self.servers).clone(), self.dice.between(300, 1500));
        let sim = Arc::clone(&self.sim);
        sim.cloud().stop_compute(&server);
        tokio::spawn(async move {
            sleep(Duration::from_millis(time)).await;
            sim.cloud().start_compute(&server);
        });
    }

    fn a_server_is_busy(&mut self) {
        let (server, time) = (self.dice.one_of(&self.servers).clone(), self.dice.between(100, 900));
        let sim = Arc::clone(&self.sim);
        let cyclades = self.kind.is(Dialect::CYCLADES);
        match cyclades && self.dice.one_in(3) {
            true => sim.cloud().change_server(&server, |server| "BUILD".clone_into(&mut server.status)),
            false => {
                let task = if cyclades { "REBOOT" } else { "rebooting" };
                sim.cloud().change_server(&server, |server| server.task_state = Some(task.to_owned()));
            }
        }
        tokio::spawn(async move {
            sleep(Duration::from_millis(time)).await;
            sim.cloud().change_server(&server, idle);
        });
    }

    /// Nothing goes wrong any more, and an administrator removes the disks that Nova lists and Cinder knows nothing of,
    /// as only he can: how many.
    pub async fn clears_up(&mut self) -> usize {
        self.note_held_back();
        self.sim.clear_orders();
        sleep(Duration::from_millis(1600)).await;
        let mut removed = 0;
        let mut cloud = self.sim.cloud();
        for server in &self.servers {
            cloud.start_compute(server);
            cloud.change_server(server, |server| {
                idle(server);
                let before = server.disks.len();
                server.disks.retain(|disk| disk.attachment.is_some() || disk.with_server);
                removed += before - server.disks.len();
            });
        }
        removed
    }
}
