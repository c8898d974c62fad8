use std::sync::Arc;

use cloudsim::{Config, Sim};
use serde_json::{Value, json};

use crate::caller::Caller;

#[tokio::test]
async fn orders_are_taken_from_outside() {
    let sim = Arc::new(Sim::start(Config::openstack()).await.unwrap());
    let (address, task) = sim.control(([127, 0, 0, 1], 0).into()).await.unwrap();
    let control = Caller::at(&format!("http://{address}"));
    let cloud = Caller::new(&sim);
    assert_eq!(cloud.get("/orders").await.status, 404, "the cloud itself knows of none");

    let order = json!({"method": "GET", "path": "/volume", "fault": {"refuse": [503, "not now"]}});
    assert_eq!(control.call("POST", "/orders", order).await.status, 204);
    assert_eq!(control.get("/orders").await.body.as_array().unwrap().len(), 1);
    assert_eq!(cloud.get("/volume").await.status, 503);
    assert_eq!(cloud.get("/volume").await.status, 300, "once");
    let fate = json!({"method": "POST", "path": "/volumes", "times": 2, "fault": {"fate": {"fails": "x"}}});
    assert_eq!(control.call("POST", "/orders", fate).await.status, 204);
    assert_eq!(control.call("DELETE", "/orders", Value::Null).await.status, 204);
    assert!(sim.orders().is_empty());
    for bad in [json!({"fault": "none"}), json!({}), json!({"fault": {"fate": {"unknown": 1}}})] {
        assert_eq!(control.call("POST", "/orders", bad).await.status, 400);
    }
    let made = control.call("POST", "/servers", json!({"project": "csi", "name": "one"})).await;
    let server = made.text("/id");
    let path = format!("/servers/{server}");
    let change = json!({"task_state": "rebooting", "compute": false});
    assert_eq!(control.call("PATCH", &path, change).await.status, 204);
    {
        let cloud = sim.cloud();
        let server = cloud.servers.get(&server).unwrap();
        assert!(server.task_state.as_deref() == Some("rebooting") && !server.compute);
    }
    assert_eq!(control.call("POST", "/hold", json!({"phase": "attach"})).await.status, 204);
    assert_eq!(control.call("POST", "/release", json!({"phase": "nothing"})).await.status, 400);
    assert_eq!(control.get("/counts").await.body["GET /volume"]["requests"], 2);
    assert_eq!(control.get("/ledger").await.body["violations"], json!([]));
    assert_eq!(control.call("DELETE", &path, Value::Null).await.status, 204);
    assert!(sim.cloud().servers.is_empty());
    task.abort();
}
