use cloudsim::{Config, PASSWORD, Sim};
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};

const VOLUMES: &str = "/volume/v1/100001/volumes";

async fn start() -> (Sim, Caller) {
    let sim = Sim::start(Config::rackspace()).await.unwrap();
    let mut caller = Caller::new(&sim);
    let key = json!({"username": "csi", "apiKey": PASSWORD});
    let body = json!({"auth": {"RAX-KSKEY:apiKeyCredentials": key}});
    let answer = caller.call("POST", "/identity/v2.0/tokens", body).await;
    assert_eq!((answer.status, answer.text("/access/token/tenant/id").as_str()), (200, "100001"));
    caller.token = answer.text("/access/token/id");
    (sim, caller)
}

async fn create(caller: &Caller, size: u64, kind: &str) -> Answer {
    let volume = json!({"display_name": "pvc-1", "size": size, "volume_type": kind});
    caller.call("POST", VOLUMES, json!({"volume": volume})).await
}

async fn available(caller: &Caller, size: u64) -> String {
    let answer = create(caller, size, "SATA").await;
    assert_eq!((answer.status, answer.text("/volume/status").as_str()), (200, "creating"));
    let id = answer.text("/volume/id");
    caller.until(&format!("{VOLUMES}/{id}"), "/volume/status", "available").await;
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    id
}

#[tokio::test]
async fn log_ins_are_proven() {
    let (_sim, mut caller) = start().await;
    let key = |key: &str| json!({"RAX-KSKEY:apiKeyCredentials": {"username": "csi", "apiKey": key}});
    let answer = caller.call("POST", "/identity/v2.0/tokens", json!({"auth": key("wrong")})).await;
    assert_eq!((answer.status, answer.fault().0), (401, "unauthorized"));
    let mut both = key(PASSWORD);
    both["tenantId"] = json!("100001");
    both["tenantName"] = json!("csi");
    let answer = caller.call("POST", "/identity/v2.0/tokens", json!({"auth": both})).await;
    assert_eq!(answer.status, 400);
    caller.token = "none".to_owned();
    assert_eq!(caller.get(VOLUMES).await.status, 401);
}

#[tokio::test]
async fn sizes_and_quotas_are_those_of_the_region() {
    let (sim, caller) = start().await;
    for (size, kind, status) in
        [(74, "SATA", 400), (1025, "SATA", 400), (49, "SSD", 400), (50, "2", 200), (75, "SATA", 200)]
    {
        let answer = create(&caller, size, kind).await;
        assert_eq!(answer.status, status, "{size} {kind}: {answer:?}");
        if status == 400 {
            assert!(answer.fault().1.contains("'size' parameter must be between"), "{answer:?}");
        }
    }
    // 75 of 10240 are there.
    for _ in 0..9 {
        assert_eq!(create(&caller, 1024, "SATA").await.status, 200);
    }
    let answer = create(&caller, 1000, "SATA").await;
    assert_eq!((answer.status, answer.fault().0), (413, "overLimit"));
    assert!(answer.fault().1.contains("gigabytes_SATA"), "{answer:?}");
    assert_eq!(create(&caller, 1000, "SSD").await.status, 200);
    sim.cloud().config.projects[0].quotas.insert("volumes".to_owned(), 12);
    let answer = create(&caller, 50, "SSD").await;
    assert!(answer.fault().1.starts_with("VolumeLimitExceeded"), "{answer:?}");
}

#[tokio::test]
async fn a_volume_lives_and_dies_and_never_grows() {
    let (sim, caller) = start().await;
    let server = sim.add_server("csi", "one");
    let id = available(&caller, 75).await;
    let path = format!("{VOLUMES}/{id}");
    let volume = caller.get(&path).await.body["volume"].take();
    assert!(
        volume.get("name").is_none()
            && volume["display_name"] == "pvc-1"
            && volume["availability_zone"] == "nova"
    );
    let attachments = format!("/compute/v2/100001/servers/{server}/os-volume_attachments");
    let body = json!({"volumeAttachment": {"volumeId": id}});
    let answer = caller.call("POST", &attachments, body).await;
    assert_eq!((answer.status, answer.text("/volumeAttachment/device").as_str()), (202, "/dev/xvdb"));
    caller.until(&path, "/volume/status", "in-use").await;
    let answer = caller.call("POST", &format!("{path}/action"), json!({"os-extend": {"new_size": 80}})).await;
    assert_eq!(answer.status, 400);
    assert_eq!(caller.call("DELETE", &path, Value::Null).await.status, 400);
    assert_eq!(caller.call("DELETE", &format!("{attachments}/{id}"), Value::Null).await.status, 202);
    caller.until(&path, "/volume/status", "available").await;
    assert_eq!(caller.call("DELETE", &path, Value::Null).await.status, 202);
    caller.until(&path, "/item_not_found/message", &format!("Volume {id} could not be found.")).await;
}

#[tokio::test]
async fn a_server_has_fourteen_volumes() {
    let (sim, caller) = start().await;
    sim.cloud().config.timings.attach = std::time::Duration::ZERO;
    let server = sim.add_server("csi", "one");
    let attachments = format!("/compute/v2/100001/servers/{server}/os-volume_attachments");
    for number in 1..=15 {
        let id = available(&caller, 75).await;
        let answer = caller.call("POST", &attachments, json!({"volumeAttachment": {"volumeId": id}})).await;
        assert_eq!(answer.status, if number <= 14 { 202 } else { 403 }, "{number}: {answer:?}");
    }
    assert_eq!(caller.get(&attachments).await.body["volumeAttachments"].as_array().unwrap().len(), 14);
}

#[tokio::test]
async fn lists_have_offsets_and_no_filters() {
    let (sim, caller) = start().await;
    for _ in 0..5 {
        create(&caller, 75, "SATA").await;
    }
    let count = async |query: &str| {
        let answer = caller.get(&format!("{VOLUMES}/detail?{query}")).await;
        assert!(answer.body.get("volumes_links").is_none());
        answer.body["volumes"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 5);
    assert_eq!((count("limit=2").await, count("limit=3&offset=3").await, count("offset=5").await), (2, 2, 0));
    assert_eq!((count("marker=x").await, count("name=none").await), (5, 5), "they are passed over");
    sim.cloud().config.page = 4;
    assert_eq!((count("").await, count("limit=100").await), (4, 4));
}

#[tokio::test]
async fn one_copy_of_a_volume_is_made_at_a_time() {
    let (sim, caller) = start().await;
    let id = available(&caller, 75).await;
    let snapshots = "/volume/v1/100001/snapshots";
    let body = json!({"snapshot": {"volume_id": id, "display_name": "s"}});
    sim.cloud().config.timings.snapshot = std::time::Duration::from_millis(300);
    let answer = caller.call("POST", snapshots, body.clone()).await;
    assert_eq!(answer.status, 201);
    let snapshot = answer.text("/snapshot/id");
    let answer = caller.call("POST", snapshots, body).await;
    assert_eq!(answer.status, 409);
    assert!(
        answer.fault().1.starts_with("SnapshotConflict: Request conflicts with in-progress 'POST"),
        "{answer:?}"
    );
    let clone = json!({"volume": {"display_name": "c", "size": 75, "source_volid": id}});
    let answer = caller.call("POST", VOLUMES, clone.clone()).await;
    assert_eq!((answer.status, answer.fault().1.starts_with("CloneConflict")), (409, true));
    caller.until(&format!("{snapshots}/{snapshot}"), "/snapshot/status", "available").await;
    assert_eq!(caller.call("POST", VOLUMES, clone).await.status, 200);
    let answer = caller.call("DELETE", &format!("{VOLUMES}/{id}"), Value::Null).await;
    assert_eq!(answer.status, 400, "it has a snapshot");
}
