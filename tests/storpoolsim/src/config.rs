//! What a simulated cluster has and how fast it is.

use std::time::Duration;

/// A template for volumes.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// Copies of each object.
    pub replication: u64,
    /// The placement group of all copies.
    pub place: String,
    /// Client data that fits, in bytes.
    pub capacity: u64,
}

impl Template {
    /// Of this name, for so many bytes.
    #[must_use]
    pub fn new(name: &str, capacity: u64) -> Self {
        Self { name: name.to_owned(), replication: 3, place: name.to_owned(), capacity }
    }
}

/// How long what goes on after an answer takes, or before it.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Until a client that runs has taken over a new configuration, for which `VolumesReassignWait` waits.
    pub confirm: Duration,
    /// Until a client shows a volume's new size.
    pub resize: Duration,
    /// Until a deleted snapshot is gone.
    pub reclaim: Duration,
    /// Every request takes so long before anything is done.
    pub answer: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { confirm: ms(2), resize: ms(20), reclaim: ms(50), answer: Duration::ZERO }
    }
}

/// What comes of `VolumesReassignWait` where a client has not answered in time. No source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Late {
    /// An error of this name.
    Error(&'static str),
    /// `ok`, as with a timeout of 0.
    Fine,
    /// `ok`, and what the client would have got by it is taken from it again.
    Forgotten,
}

/// How a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Running,
    /// It says that it waits, and does nothing else: its servers are not agreed, as in maintenance of all of them.
    Waiting,
    /// It has no quorum, and answers every call with an error.
    Down,
    /// Other clusters of the location cannot reach it.
    CutOff,
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its id: the location and the cluster in it.
    pub cluster_id: String,
    /// Its name.
    pub cluster_name: String,
    /// What callers must show.
    pub token: String,
    /// The status of an answer that is an error. No source tells; the body is what counts.
    pub error_status: u16,
    /// The status and error of a caller without a good token. No source tells.
    pub unauthorized: (u16, &'static str),
    /// How it is.
    pub status: Status,
    /// The error of a cluster that does nothing. No source tells.
    pub idle: &'static str,
    /// Bytes that a name may have together with its tags; `None`: any number. The vendor's page on volumes says 200, and no
    /// source whether that is checked.
    pub room: Option<usize>,
    /// What comes of waiting in vain.
    pub late: Late,
    /// Its templates.
    pub templates: Vec<Template>,
    /// How fast it is.
    pub timings: Timings,
}

impl Config {
    /// Another cluster of the same location.
    #[must_use]
    pub fn neighbour(&self, cluster_id: &str, name: &str) -> Self {
        Self { cluster_id: cluster_id.to_owned(), cluster_name: name.to_owned(), ..self.clone() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster_id: "d.n".to_owned(),
            cluster_name: "sim".to_owned(),
            token: "1556129910218014736".to_owned(),
            error_status: 500,
            unauthorized: (401, "invalidAuth"),
            status: Status::Running,
            idle: "notOperational",
            room: None,
            late: Late::Error("timeout"),
            templates: vec![Template::new("nvme", 1 << 44), Template::new("hybrid", 1 << 46)],
            timings: Timings::default(),
        }
    }
}
