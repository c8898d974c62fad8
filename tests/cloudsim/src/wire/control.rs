//! Orders from outside, for those who run the cloud as a program: on an address of its own, so that the cloud's own
//! services have nothing that real ones do not have.
//!
//! | method | path | body, answer |
//! |---|---|---|
//! | POST | `/orders` | a [`Rule`], such as `{"method": "POST", "path": "/volumes", "fault": "lose_reply"}` |
//! | GET, DELETE | `/orders` | what is left of them; all end |
//! | POST | `/hold`, `/release` | `{"phase": "attach"}` |
//! | POST | `/go_on` | `{"object": "<id>"}` |
//! | POST | `/servers` | `{"project": "csi", "name": "worker-1"}`; its id |
//! | PATCH | `/servers/<id>` | any of `task_state`, `vm_state`, `status`, `compute` (whether its compute service works) |
//! | DELETE | `/servers/<id>` | |
//! | POST | `/expire_tokens` | |
//! | GET, DELETE | `/counts` | requests since the start; forgets them |
//! | GET | `/ledger` | what must never have happened, twins by name, how much was made and attached |
//! | GET | `/clouds.yaml` | with which one logs in |

use serde_json::{Value, json};

use crate::Sim;
use crate::state::{Phase, Violation};

use super::faults::Rule;
use super::reply::Reply;
use super::request::Request;

/// Does what somebody orders from outside.
pub(crate) fn answer(sim: &Sim, request: &Request) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.rest(0);
    let method = request.method.as_str();
    match (method, path.as_slice()) {
        ("POST", ["orders"]) => match serde_json::from_value::<Rule>(body) {
            Ok(rule) => {
                sim.order(rule);
                done()
            }
            Err(error) => bad(&error.to_string()),
        },
        ("GET", ["orders"]) => Reply::json(200, &json!(sim.orders())),
        ("DELETE", ["orders"]) => {
            sim.clear_orders();
            done()
        }
        ("POST", ["hold" | "release"]) => match serde_json::from_value::<Phase>(body["phase"].clone()) {
            Ok(phase) if path == ["hold"] => {
                sim.cloud().hold(phase);
                done()
            }
            Ok(phase) => {
                sim.cloud().release(phase);
                done()
            }
            Err(error) => bad(&error.to_string()),
        },
        ("POST", ["go_on"]) => {
            let count = sim.cloud().go_on(body["object"].as_str().unwrap_or_default());
            Reply::json(200, &json!({"steps": count}))
        }
        ("POST", ["servers"]) => {
            let (project, name) = (body["project"].as_str(), body["name"].as_str());
            let known = project.filter(|name| sim.cloud().config.project(name).is_some());
            match known.zip(name) {
                Some((project, name)) => Reply::json(200, &json!({"id": sim.add_server(project, name)})),
                None => bad("a project that there is and a name are needed"),
            }
        }
        ("PATCH", ["servers", id]) => change_server(sim, id, &body),
        ("DELETE", ["servers", id]) => {
            sim.cloud().drop_server(id);
            done()
        }
        ("POST", ["expire_tokens"]) => {
            sim.expire_tokens();
            done()
        }
        ("GET", ["counts"]) => Reply::json(200, &json!(sim.counts())),
        ("DELETE", ["counts"]) => {
            sim.forget_counts();
            done()
        }
        ("GET", ["ledger"]) => ledger(sim),
        ("GET", ["clouds.yaml"]) => Reply::text(200, "application/yaml", sim.clouds_yaml()),
        _ => Reply::no_route(),
    }
}

fn done() -> Reply {
    Reply::empty(204)
}

fn bad(why: &str) -> Reply {
    Reply::json(400, &json!({"error": why}))
}

fn change_server(sim: &Sim, id: &str, body: &Value) -> Reply {
    let mut cloud = sim.cloud();
    if cloud.servers.get(id).is_none() {
        return Reply::no_route();
    }
    cloud.change_server(id, |server| {
        if let Some(state) = body.get("task_state") {
            server.task_state = state.as_str().map(str::to_owned);
        }
        for (key, field) in [("vm_state", &mut server.vm_state), ("status", &mut server.status)] {
            if let Some(state) = body[key].as_str() {
                state.clone_into(field);
            }
        }
    });
    match body["compute"].as_bool() {
        Some(true) => cloud.start_compute(id),
        Some(false) => cloud.stop_compute(id),
        None => {}
    }
    done()
}

fn ledger(sim: &Sim) -> Reply {
    let cloud = sim.cloud();
    let violation = |one: &Violation| match one {
        Violation::TwoServers { volume, servers, .. } => {
            json!({"kind": "two_servers", "volume": volume, "servers": servers})
        }
        Violation::DeletedInUse { volume, servers, .. } => {
            json!({"kind": "deleted_in_use", "volume": volume, "servers": servers})
        }
    };
    let violations: Vec<_> = cloud.ledger.violations().iter().map(violation).collect();
    Reply::json(
        200,
        &json!({"violations": violations, "twins": cloud.twins(), "attaches": cloud.ledger.attaches,
            "made": cloud.ledger.made, "gone": cloud.ledger.gone, "there": cloud.leaks(&[])}),
    )
}
