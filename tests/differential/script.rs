//! Calls, one after the other, with what they need of each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::cloud::{Answer, Cloud};

/// A call. In its path and body, `{x}` stands for what an earlier one saved as x, `{prefix}` for the beginning of the
/// names of all that is made.
#[derive(Clone, Debug)]
pub struct Step {
    pub method: &'static str,
    /// `volume`, `compute` or `identity`.
    pub service: &'static str,
    pub path: String,
    pub version: Option<&'static str>,
    pub body: Option<Value>,
    /// Under which name what is kept: a JSON pointer.
    pub save: Vec<(&'static str, &'static str)>,
    /// It is repeated until there is this at this JSON pointer, or anything, or this status.
    pub until: Option<Until>,
    /// What is known to differ, and is not compared: paths in the body.
    pub except: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub enum Until {
    Has(&'static str, Value),
    Filled(&'static str),
    Status(u16),
}

pub fn call(method: &'static str, service: &'static str, path: &str) -> Step {
    let (version, body, until) = (None, None, None);
    Step {
        method,
        service,
        path: path.to_owned(),
        version,
        body,
        save: Vec::new(),
        until,
        except: Vec::new(),
    }
}

impl Step {
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = Some(version);
        self
    }

    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub fn save(mut self, name: &'static str, pointer: &'static str) -> Self {
        self.save.push((name, pointer));
        self
    }

    pub fn until(mut self, pointer: &'static str, value: impl Into<Value>) -> Self {
        self.until = Some(Until::Has(pointer, value.into()));
        self
    }

    pub fn until_filled(mut self, pointer: &'static str) -> Self {
        self.until = Some(Until::Filled(pointer));
        self
    }

    pub fn until_status(mut self, status: u16) -> Self {
        self.until = Some(Until::Status(status));
        self
    }

    pub fn except(mut self, path: &'static str) -> Self {
        self.except.push(path);
        self
    }

    pub fn title(&self) -> String {
        let version = self.version.map(|version| format!(" ({version})")).unwrap_or_default();
        let body = self.body.as_ref().map(|body| format!(" {body}")).unwrap_or_default();
        format!("{} {}{}{version}{body}", self.method, self.service, self.path)
    }
}

/// Runs a script, and tells the answers.
pub async fn run(steps: &[Step], cloud: &Cloud, prefix: &str) -> Result<Vec<Answer>, Failed> {
    let mut saved = BTreeMap::from([("prefix".to_owned(), prefix.to_owned())]);
    let log_in = log_in(cloud).await;
    saved.insert("project".to_owned(), log_in.body["token"]["project"]["id"].as_str().unwrap().to_owned());
    let token = log_in.header("x-subject-token").unwrap().to_owned();
    let catalog = log_in.body["token"]["catalog"].clone();
    let mut answers = vec![log_in];
    for step in steps {
        let base = match step.service {
            "identity" => cloud.auth_url.clone(),
            "volume" => format!("{}/{}", endpoint(&catalog, "volumev3"), saved["project"]),
            "volume-root" => root(&endpoint(&catalog, "volumev3")),
            "compute-root" => root(&endpoint(&catalog, "compute")),
            service => endpoint(&catalog, service),
        };
        let url = format!("{base}{}", fill(&step.path, &saved));
        let body =
            step.body.as_ref().map(|body| serde_json::from_str(&fill(&body.to_string(), &saved)).unwrap());
        let mut headers = vec![("x-auth-token", token.clone())];
        if let Some(version) = step.version {
            let word = if step.service == "compute" { "compute" } else { "volume" };
            headers.push(("openstack-api-version", format!("{word} {version}")));
        }
        let started = Instant::now();
        let answer = loop {
            let answer = cloud.call(step.method, &url, &headers, body.as_ref()).await;
            let done = match &step.until {
                None => true,
                Some(Until::Status(status)) => answer.status == *status,
                Some(Until::Filled(pointer)) => {
                    answer.body.pointer(pointer).is_some_and(|found| !found.is_null())
                }
                Some(Until::Has(pointer, value)) => answer.body.pointer(pointer) == Some(value),
            };
            if done {
                break answer;
            }
            if started.elapsed() > Duration::from_secs(60) {
                return Err(Failed::from(format!("{}: {}: {answer:?}", cloud.auth_url, step.title())));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        for (name, pointer) in &step.save {
            let value = answer.body.pointer(pointer).and_then(Value::as_str);
            let value = value.ok_or_else(|| format!("{}: {}: {answer:?}", cloud.auth_url, step.title()))?;
            saved.insert((*name).to_owned(), value.to_owned());
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// Deletes what a script that broke off has left: all whose names begin like this. What is on its way is given a minute.
pub async fn clean(cloud: &Cloud, prefix: &str) {
    let log_in = log_in(cloud).await;
    let token = [("x-auth-token", log_in.header("x-subject-token").unwrap().to_owned())];
    let catalog = &log_in.body["token"]["catalog"];
    let (volume, compute) = (endpoint(catalog, "volumev3"), endpoint(catalog, "compute"));
    let project = log_in.body["token"]["project"]["id"].as_str().unwrap();
    let volume = format!("{volume}/{project}");
    for (base, kind) in [(&compute, "servers"), (&volume, "snapshots"), (&volume, "volumes")] {
        let started = Instant::now();
        loop {
            let list = cloud.call("GET", &format!("{base}/{kind}"), &token, None).await;
            let items = list.body[kind].as_array().unwrap().iter();
            let left: Vec<_> =
                items.filter(|one| one["name"].as_str().is_some_and(|n| n.starts_with(prefix))).collect();
            if left.is_empty() {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "left behind: {left:?}");
            for one in left {
                // What cannot be deleted yet can be in a moment.
                let url = format!("{base}/{kind}/{}", one["id"].as_str().unwrap());
                cloud.call("DELETE", &url, &token, None).await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn log_in(cloud: &Cloud) -> Answer {
    let domain = json!({"id": "default"});
    let user = json!({"name": cloud.user, "domain": domain, "password": cloud.password});
    let identity = json!({"methods": ["password"], "password": {"user": user}});
    let scope = json!({"project": {"name": cloud.project, "domain": domain}});
    let body = json!({"auth": {"identity": identity, "scope": scope}});
    cloud.call("POST", &format!("{}/auth/tokens", cloud.auth_url), &[], Some(&body)).await
}

fn endpoint(catalog: &Value, kind: &str) -> String {
    let service = catalog.as_array().unwrap().iter().find(|service| service["type"] == kind).unwrap();
    let endpoints = service["endpoints"].as_array().unwrap();
    let public = endpoints.iter().find(|endpoint| endpoint["interface"] == "public").unwrap();
    public["url"].as_str().unwrap().to_owned()
}

/// The URL without its version.
fn root(url: &str) -> String {
    url.rsplit_once('/').unwrap().0.to_owned()
}

fn fill(text: &str, saved: &BTreeMap<String, String>) -> String {
    saved.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}
