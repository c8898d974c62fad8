//! The management API over HTTP.

mod fields;
mod read;
mod route;
mod view;
mod write;

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use cloudsim::{Caller, Counts, Fault, Faults, Reply, Request, Service};
use serde_json::{Value, json};

use crate::Shared;
use crate::config::Late;
use crate::journal::Told;
use crate::state::{Cluster, Refusal};

/// How often a client that is behind is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// What comes of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// This.
    Now(Value),
    /// `ok`, once clients have taken over this configuration, for which is waited so long; `None`: as long as it takes.
    Confirmed {
        /// The configuration.
        generation: u64,
        /// The clients.
        clients: Vec<u16>,
        /// How long.
        wait: Option<Duration>,
        /// What is answered.
        data: Value,
    },
}

impl Service for Shared {
    fn caller(&self) -> Caller {
        Caller::default()
    }

    fn pattern(&self, path: &[String]) -> String {
        route::pattern(path)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.rules()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counted()
    }

    fn instead(&self, fault: &Fault, _: &Request) -> Option<Reply> {
        match fault {
            // The text is the error itself.
            Fault::Refuse(status, text) => {
                let error = serde_json::from_str(text).unwrap_or_else(|_| json!({"name": text}));
                Some(reply(*status, &json!({ "error": error })))
            }
            Fault::Unauthorized => Some(self.cluster().refuse_token()),
            other => other.proxy(),
        }
    }

    async fn work(self: Arc<Self>, request: Request) -> Reply {
        let wait = self.cluster().config.timings.answer;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let told = Told::new(&request);
        let (at, answer) = {
            let mut guards = self.location();
            let mut all: Vec<&mut Cluster> = guards.iter_mut().map(|guard| &mut **guard).collect();
            let shown = format!("Storpool v1:{}", all[0].config.token);
            if request.header("authorization") != Some(&shown) {
                return all[0].refuse_token();
            }
            self.look_at_devices(all[0]);
            route::answer(&mut all, &request)
        };
        let answer = match answer {
            Ok(Answer::Now(data)) => Ok(data),
            Ok(Answer::Confirmed { generation, clients, wait, data }) => {
                self.confirmed(at, generation, &clients, wait).await.map(|()| data)
            }
            Err(refusal) => Err(refusal),
        };
        self.note(told, answer.as_ref().err());
        let cluster = self.cluster();
        match answer {
            Ok(data) => reply(200, &json!({"generation": cluster.generation, "data": data})),
            Err(refusal) => reply(cluster.config.error_status, &error(&refusal)),
        }
    }
}

impl Shared {
    /// Waits until clients of one of the clusters have taken over a configuration.
    async fn confirmed(
        &self,
        at: usize,
        generation: u64,
        clients: &[u16],
        wait: Option<Duration>,
    ) -> Result<(), Refusal> {
        let begun = tokio::time::Instant::now();
        loop {
            let (behind, late) = {
                let cluster = &mut self.location()[at];
                (cluster.behind(generation, clients), cluster.config.late.clone())
            };
            let Some(client) = behind else { return Ok(()) };
            match wait {
                Some(wait) if wait.is_zero() => return Ok(()),
                Some(wait) if begun.elapsed() >= wait => match late {
                    Late::Fine => return Ok(()),
                    Late::Forgotten => {
                        self.location()[at].forget(generation);
                        return Ok(());
                    }
                    Late::Error(name) => {
                        return Err(Refusal::new(name, format!("Timed out waiting for client {client}")));
                    }
                },
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

impl Cluster {
    fn refuse_token(&self) -> Reply {
        let (status, name) = self.config.unauthorized;
        reply(status, &error(&Refusal::new(name, "Invalid authentication token")))
    }
}

fn error(refusal: &Refusal) -> Value {
    json!({"error": {"name": refusal.name, "descr": refusal.text, "transient": refusal.transient}})
}

/// An answer; after each of them the server closes the connection.
fn reply(status: u16, body: &Value) -> Reply {
    let mut reply = Reply::json(status, body);
    reply.headers.push(("connection", "close".to_owned()));
    reply.headers.push(("cache-control", "private".to_owned()));
    reply
}
