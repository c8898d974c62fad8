//! Somebody who calls.

use std::time::{Duration, Instant};

use cloudsim::Sim;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

pub struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    root: String,
    pub token: String,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub length: usize,
}

impl Caller {
    pub fn new(sim: &Sim) -> Self {
        Self::at(&format!("http://{}", sim.address()))
    }

    pub fn at(root: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self { client, root: root.to_owned(), token: String::new() }
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.root))
            .header("x-auth-token", &self.token);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.client.request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { status, body, length: bytes.len() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Value::Null).await
    }

    /// Asks until there is this.
    pub async fn until(&self, path: &str, pointer: &str, wanted: &str) -> Answer {
        let started = Instant::now();
        loop {
            let answer = self.get(path).await;
            if answer.body.pointer(pointer).is_some_and(|found| found == wanted) {
                return answer;
            }
            assert!(started.elapsed() < Duration::from_secs(5), "{wanted} did not come: {answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Answer {
    /// What a fault says: its name and its text.
    pub fn fault(&self) -> (&str, &str) {
        let (name, fault) = self.body.as_object().unwrap().iter().next().unwrap();
        assert_eq!(fault["code"], self.status, "{self:?}");
        (name, fault["message"].as_str().unwrap())
    }

    pub fn text(&self, pointer: &str) -> String {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer}: {self:?}"))
            .to_owned()
    }
}
