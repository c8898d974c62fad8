use cloudsim::{Config, Fate, PASSWORD, Rule, Sim};
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};

const VOLUMES: &str = "/volume/v2.0/volumes";

async fn start() -> (Sim, Caller, String) {
    let sim = Sim::start(Config::cyclades()).await.unwrap();
    let mut caller = Caller::new(&sim);
    // Nobody has to log in.
    caller.token = format!("{PASSWORD}-csi");
    let server = sim.add_server("csi", "one");
    (sim, caller, server)
}

async fn create(caller: &Caller, body: Value) -> Answer {
    caller.call("POST", VOLUMES, json!({"volume": body})).await
}

async fn volume(caller: &Caller) -> String {
    let body = json!({"display_name": "pvc-1", "size": 10, "volume_type": 1, "metadata": {"k": "v"}});
    let answer = create(caller, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let keys: Vec<_> = answer.body["volume"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["display_name", "id", "links"]);
    answer.text("/volume/id")
}

async fn attach(caller: &Caller, server: &str, volume: &str) -> Answer {
    let path = format!("/compute/v2.0/servers/{server}/os-volume_attachments");
    caller.call("POST", &path, json!({"volumeAttachment": {"volumeId": volume}})).await
}

async fn in_use(caller: &Caller, volume: &str) -> Answer {
    caller.until(&format!("{VOLUMES}/{volume}"), "/volume/status", "in_use").await
}

#[tokio::test]
async fn astakos_gives_back_the_token_and_the_catalog() {
    let (sim, mut caller, _) = start().await;
    let body = json!({"auth": {"token": {"id": caller.token}}});
    let answer = caller.call("POST", "/identity/v2.0/tokens", body).await;
    assert_eq!((answer.status, answer.text("/access/token/id")), (200, caller.token.clone()));
    let catalog = answer.body["access"]["serviceCatalog"].as_array().unwrap();
    assert!(
        catalog.iter().any(|one| one["type"] == "volume")
            && catalog.iter().any(|one| one["type"] == "account")
    );
    sim.expire_tokens();
    assert_eq!(caller.get(VOLUMES).await.status, 401);
    let body = json!({"auth": {"token": {"id": caller.token}}});
    assert_eq!(caller.call("POST", "/identity/v2.0/tokens", body).await.status, 401, "it cannot be renewed");
    caller.token.clear();
    assert_eq!(caller.get(VOLUMES).await.status, 401);
}

#[tokio::test]
async fn a_volume_is_there_at_once_without_its_notes_and_is_shown_after_its_end() {
    let (_sim, caller, _) = start().await;
    let id = volume(&caller).await;
    let path = format!("{VOLUMES}/{id}");
    let shown = caller.get(&path).await.body["volume"].take();
    assert_eq!(
        (&shown["status"], &shown["metadata"], &shown["id"]),
        (&json!("available"), &json!({}), &json!(id))
    );
    assert!(shown.get("name").is_none() && shown.get("availability_zone").is_none());
    let noted = caller.call("POST", &format!("{path}/metadata"), json!({"metadata": {"k": "v"}})).await;
    assert_eq!((noted.status, &noted.body["metadata"]), (200, &json!({"k": "v"})));
    let many: serde_json::Map<_, _> = (0..10).map(|n| (n.to_string(), json!("x"))).collect();
    assert_eq!(caller.call("POST", &format!("{path}/metadata"), json!({"metadata": many})).await.status, 400);
    assert_eq!(caller.call("DELETE", &path, Value::Null).await.status, 202);
    let gone = caller.get(&path).await;
    assert_eq!((gone.status, &gone.body["volume"]["status"]), (200, &json!("deleted")));
    assert_eq!(gone.body["volume"]["deleted"], true);
    let again = caller.call("DELETE", &path, Value::Null).await;
    assert_eq!(again.fault(), ("badRequest", format!("Volume '{id}' has been deleted.").as_str()));
    assert!(caller.get(VOLUMES).await.body["volumes"].as_array().unwrap().is_empty());
    let changed = caller.get(&format!("{VOLUMES}/detail?changes-since=2000-01-01T00:00:00")).await;
    assert_eq!(changed.body["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(caller.get(&format!("{VOLUMES}?changes-since=2999-01-01T00:00:00")).await.status, 304);
    assert_eq!(caller.get(&format!("{VOLUMES}/999")).await.fault().0, "itemNotFound");
    assert_eq!(caller.get(&format!("{VOLUMES}/x")).await.fault().0, "badRequest");
    assert_eq!(caller.get("/volume/v2.0/limits").await.fault(), ("badRequest", "API endpoint not found"));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let (_sim, caller, _) = start().await;
    let cases = [
        (json!({"size": 1, "volume_type": 1}), "name is required"),
        (json!({"display_name": "a", "volume_type": 1}), "size is required"),
        (json!({"display_name": "a", "size": 1}), "type is required"),
        (json!({"display_name": "a", "size": 201, "volume_type": 1}), "Maximum volume size is 200GB"),
        (json!({"display_name": "a", "size": 1, "volume_type": 2}), "without a server"),
        (json!({"display_name": "a", "size": 1, "volume_type": 9}), "not found"),
        (json!({"display_name": "a", "size": 1, "volume_type": 1, "source_volid": 1}), "Cloning"),
        (json!({"display_name": "a", "size": 1, "server_id": 999}), "Server not found"),
    ];
    for (body, text) in cases {
        let answer = create(&caller, body.clone()).await;
        assert!(answer.fault().0 == "badRequest" && answer.fault().1.contains(text), "{body}: {answer:?}");
    }
    let answer = create(&caller, json!({"display_name": "a", "size": 101, "volume_type": 1})).await;
    assert_eq!((answer.status, answer.fault().0), (413, "overLimit"));
}

#[tokio::test]
async fn a_server_does_one_thing_at_a_time() {
    let (sim, caller, server) = start().await;
    let (one, two) = (volume(&caller).await, volume(&caller).await);
    let answer = attach(&caller, &server, &one).await;
    assert_eq!((answer.status, &answer.body["volumeAttachment"]["device"]), (202, &json!("")));
    assert!(answer.body["volumeAttachment"]["serverId"].is_u64());
    let shown = caller.get(&format!("{VOLUMES}/{one}")).await.body["volume"].take();
    assert_eq!(shown["status"], "attaching");
    let attachments = json!([{"server_id": server.parse::<u64>().unwrap(), "volume_id": one.parse::<u64>().unwrap(), "device_index": 1}]);
    assert_eq!(shown["attachments"], attachments, "from the moment in which attaching begins");
    let busy = attach(&caller, &server, &two).await;
    assert_eq!(
        busy.fault(),
        ("badRequest", "Cannot perform 'ATTACH_VOLUME' action while there is a pending 'ATTACH_VOLUME'.")
    );
    in_use(&caller, &one).await;
    let path = format!("/compute/v2.0/servers/{server}/os-volume_attachments");
    assert_eq!(
        caller.call("DELETE", &format!("{path}/{two}"), Value::Null).await.status,
        400,
        "it is not there"
    );
    assert_eq!(attach(&caller, &server, "999").await.status, 400, "and not 404");
    assert_eq!(caller.call("DELETE", &format!("{path}/{one}"), Value::Null).await.status, 202);
    caller.until(&format!("{VOLUMES}/{one}"), "/volume/status", "detaching").await;
    caller.until(&format!("{VOLUMES}/{one}"), "/volume/status", "available").await;
    sim.cloud().change_server(&server, |server| server.status = "BUILD".to_owned());
    let building = attach(&caller, &server, &one).await;
    assert_eq!((building.status, building.fault().0), (409, "buildInProgress"));
}

#[tokio::test]
async fn a_server_has_eight_disks_with_its_own() {
    let (sim, caller, server) = start().await;
    sim.cloud().config.timings.attach = std::time::Duration::ZERO;
    for number in 1..=8 {
        let id = volume(&caller).await;
        let answer = attach(&caller, &server, &id).await;
        assert_eq!(answer.status, if number <= 7 { 202 } else { 400 }, "{number}: {answer:?}");
        if number == 8 {
            assert_eq!(answer.fault().1, "Maximum volumes per server limit reached");
        }
    }
    let shown = caller.get(&format!("/compute/v2.0/servers/{server}")).await;
    assert_eq!(shown.body["server"]["volumes"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn a_volume_that_cannot_move_is_made_on_its_server() {
    let (sim, caller, server) = start().await;
    let body = json!({"display_name": "pvc-1", "size": 1, "volume_type": 2, "server_id": server});
    let answer = create(&caller, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.text("/volume/id");
    assert_eq!(caller.get(&format!("{VOLUMES}/{id}")).await.body["volume"]["status"], "creating");
    in_use(&caller, &id).await;
    let path = format!("/compute/v2.0/servers/{server}/os-volume_attachments/{id}");
    assert_eq!(caller.call("DELETE", &path, Value::Null).await.status, 400);
    assert_eq!(caller.call("DELETE", &format!("{VOLUMES}/{id}"), Value::Null).await.status, 202);
    caller.until(&format!("{VOLUMES}/{id}"), "/volume/status", "deleted").await;
    assert!(sim.cloud().ledger.holders(&id).is_empty());
    let listed = caller.get(&format!("/compute/v2.0/servers/{server}/os-volume_attachments")).await;
    assert!(listed.body["volumeAttachments"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn an_attach_that_fails_may_lose_the_volume() {
    let (sim, caller, server) = start().await;
    let id = volume(&caller).await;
    let fate = Fate { fails: Some(String::new()), vanishes: true, ..Fate::default() };
    sim.order(Rule::fate("POST", "/os-volume_attachments", fate));
    assert_eq!(attach(&caller, &server, &id).await.status, 202);
    caller.until(&format!("{VOLUMES}/{id}"), "/volume/status", "deleted").await;
}

#[tokio::test]
async fn quotas_and_snapshots_are_told_in_their_own_way() {
    let (sim, caller, server) = start().await;
    let id = volume(&caller).await;
    let quotas = caller.get("/account/v1.0/quotas").await.body;
    let disk = &quotas.as_object().unwrap().values().next().unwrap()["cyclades.disk"];
    assert_eq!((disk["usage"].as_u64(), disk["limit"].as_u64()), (Some(10 << 30), Some(100 << 30)));
    let body = json!({"snapshot": {"volume_id": id, "display_name": "s"}});
    assert_eq!(
        caller.call("POST", "/volume/v2.0/snapshots", body.clone()).await.status,
        400,
        "no server has it"
    );
    attach(&caller, &server, &id).await;
    in_use(&caller, &id).await;
    let answer = caller.call("POST", "/volume/v2.0/snapshots", body).await;
    assert_eq!((answer.status, answer.text("/snapshot/status").as_str()), (202, "CREATING"));
    let path = format!("/volume/v2.0/snapshots/{}", answer.text("/snapshot/id"));
    let done = caller.until(&path, "/snapshot/status", "AVAILABLE").await;
    assert_eq!(done.body["snapshot"]["os-extended-snapshot-attribute:progress"], "100%");
    let quotas = caller.get("/account/v1.0/quotas").await.body;
    let disk = &quotas.as_object().unwrap().values().next().unwrap()["cyclades.disk"];
    assert_eq!(disk["usage"].as_u64(), Some(10 << 30), "a snapshot is no disk");
    sim.cloud().config.snapshots = false;
    assert_eq!(caller.get("/volume/v2.0/snapshots").await.fault().0, "notImplemented");
}

#[tokio::test]
async fn a_project_may_have_less_than_its_member() {
    let (sim, caller, _) = start().await;
    sim.cloud().config.projects[0].quotas.insert("project cyclades.disk".to_owned(), 15 << 30);
    volume(&caller).await;
    let quotas = caller.get("/account/v1.0/quotas").await.body;
    let disk = &quotas.as_object().unwrap().values().next().unwrap()["cyclades.disk"];
    assert_eq!((disk["limit"].as_u64(), disk["project_limit"].as_u64()), (Some(100 << 30), Some(15 << 30)));
    let answer = create(&caller, json!({"display_name": "a", "size": 6, "volume_type": 1})).await;
    assert_eq!((answer.status, answer.fault().0), (413, "overLimit"));
}
