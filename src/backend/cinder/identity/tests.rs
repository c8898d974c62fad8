use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::watch::Look;
use super::*;
use crate::backend::cinder::credentials::{Interface, Source};
use crate::error::Outcome;
use crate::http::fake::{Fake, Reply, Seen};

/// A body of a token for the server itself, which lives so long.
pub(crate) fn token_body(host: &str, life: Duration, project: &str) -> Value {
    let stamp = |time: SystemTime| {
        let date = httpdate::fmt_http_date(time);
        // "Sun, 06 Nov 1994 08:49:37 GMT"
        let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let month = months.find(&date[8..11]).unwrap() / 3 + 1;
        let millis = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_millis();
        format!("{}-{month:02}-{}T{}.{millis:03}Z", &date[12..16], &date[5..7], &date[17..25])
    };
    let issued = SystemTime::now() + Duration::from_secs(12_345); // the cloud's clock is another one
    let endpoint = |url: &str| {
        json!([{"interface": "public", "region": "one", "region_id": "one", "url": format!("http://{host}{url}")},
               {"interface": "internal", "region": "two", "region_id": "two", "url": format!("http://{host}/far")}])
    };
    json!({"token": {"issued_at": stamp(issued), "expires_at": stamp(issued + life), "project": {"id": project},
        "catalog": [{"type": "compute", "endpoints": endpoint("/compute/v2.1")},
                    {"type": "volumev2", "endpoints": endpoint("/volume/v2/p1")},
                    {"type": "block-storage", "endpoints": endpoint("/volume/v3/p1")}]}})
}

pub(crate) fn versions() -> Value {
    json!({"versions": [{"id": "v2.0", "status": "DEPRECATED", "version": ""},
                        {"id": "v3.0", "status": "CURRENT", "version": "3.71", "min_version": "3.0"}]})
}

/// A cloud that counts log-ins and gives the tokens t1, t2, ...; what it does not know goes to `rest`.
pub(crate) async fn cloud(life: Duration, rest: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Fake {
    let logins = AtomicUsize::new(0);
    Fake::start(move |seen| match seen.line().as_str() {
        "POST /v3/auth/tokens" => {
            let turn = logins.fetch_add(1, Ordering::SeqCst) + 1;
            let project = if seen.body.contains("other") { "p2" } else { "p1" };
            match seen.body.contains("wrong") {
                true => Reply::json(401, json!({"error": {"code": 401, "message": "no such password"}})),
                false => Reply::json(201, token_body(seen.header("host").unwrap(), life, project))
                    .header("x-subject-token", format!("t{turn}")),
            }
        }
        "GET /volume/v3/" => Reply::json(200, versions()),
        "GET /compute/v2.1/" => {
            Reply::json(200, json!({"version": {"id": "v2.1", "version": "2.104", "min_version": "2.1"}}))
        }
        _ => rest(seen),
    })
    .await
}

/// A `clouds.yaml` for a server.
pub(crate) struct Secret(TempDir);

impl Secret {
    pub(crate) fn new(server: &Fake, password: &str) -> Self {
        let secret = Self(tempfile::tempdir().unwrap());
        secret.write(server, password);
        secret
    }

    fn write(&self, server: &Fake, password: &str) {
        let url = server.url("");
        self.write_text(&format!(
            "clouds: {{east: {{auth: {{auth_url: '{url}', username: csi, password: {password}, project_id: p1}}}}}}"
        ));
    }

    fn write_text(&self, text: &str) {
        // As the kubelet does it: another file takes the place of the old one.
        let new = self.0.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.path().join("clouds.yaml")
    }

    pub(crate) fn session(&self) -> Arc<Session> {
        self.session_with(Arc::default())
    }

    fn session_with(&self, metrics: Arc<Metrics>) -> Arc<Session> {
        let config = CinderConfig::new(Source::Clouds { file: self.file(), cloud: None });
        Arc::new(Session::open("east", config, metrics).unwrap())
    }
}

const HOUR: Duration = Duration::from_secs(3600);

async fn plain() -> (Fake, Secret) {
    let server = cloud(HOUR, |_| Reply::json(500, "")).await;
    let secret = Secret::new(&server, "geheim");
    (server, secret)
}

#[tokio::test]
async fn however_many_ask_one_logs_in() {
    let (server, secret) = plain().await;
    let access = secret.session().access();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let access = Arc::clone(&access);
            tokio::spawn(async move { access.token().await.unwrap() })
        })
        .collect();
    let mut tokens = Vec::new();
    for task in tasks {
        tokens.push(task.await.unwrap());
    }
    assert!(tokens.iter().all(|token| Arc::ptr_eq(token, &tokens[0])));
    assert_eq!(server.count("POST /v3/auth/tokens"), 1);
    assert_eq!(tokens[0].project.as_deref(), Some("p1"));
    let body = server.seen()[0].json();
    let expected = json!({"auth": {"identity": {"methods": ["password"], "password": {"user":
        {"name": "csi", "domain": {"id": "default"}, "password": "geheim"}}}, "scope": {"project": {"id": "p1"}}}});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_refused_log_in_is_one_request_and_stays_refused_for_a_while() {
    let (server, secret) = plain().await;
    secret.write(&server, "wrong");
    let access = secret.session().access();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let access = Arc::clone(&access);
            tokio::spawn(async move { access.token().await.unwrap_err() })
        })
        .collect();
    for task in tasks {
        let error = task.await.unwrap();
        assert_eq!((error.kind(), error.outcome()), (Kind::Unauthenticated, Outcome::Unknown));
        assert!(error.to_string().contains("refuses these credentials: no such password"), "{error}");
    }
    access.token().await.unwrap_err();
    assert_eq!(server.count("POST /v3/auth/tokens"), 1, "many refusals lock an account");
}

#[tokio::test]
async fn a_token_is_renewed_by_one_before_it_ends() {
    // Long enough that a busy machine does not sleep through the last tenth of it.
    let server = cloud(Duration::from_secs(12), |_| Reply::json(500, "")).await;
    let secret = Secret::new(&server, "geheim");
    let access = secret.session().access();
    let first = access.token().await.unwrap();
    assert!(Arc::ptr_eq(&first, &access.token().await.unwrap()));
    tokio::time::sleep(Duration::from_millis(10_900)).await;
    assert!(!first.is_fresh() && first.is_good());
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let access = Arc::clone(&access);
            tokio::spawn(async move { access.token().await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(server.count("POST /v3/auth/tokens"), 2);
    assert!(!Arc::ptr_eq(&first, &access.token().await.unwrap()));
}

#[tokio::test]
async fn a_token_that_a_service_refuses_is_replaced_once_for_all() {
    let (server, secret) = plain().await;
    let access = secret.session().access();
    let old = access.token().await.unwrap();
    let young = access.token_after(&old).await.unwrap();
    assert!(Arc::ptr_eq(&old, &young), "it was got just now: another one would be refused as well");
    tokio::time::sleep(Duration::from_millis(5100)).await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (access, old) = (Arc::clone(&access), Arc::clone(&old));
            tokio::spawn(async move { access.token_after(&old).await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert!(!Arc::ptr_eq(&old, &task.await.unwrap()));
    }
    assert_eq!(server.count("POST /v3/auth/tokens"), 2);
}

#[tokio::test]
async fn endpoints_are_found_by_type_region_and_interface_and_asked_once() {
    let (server, secret) = plain().await;
    let access = secret.session().access();
    let token = access.token().await.unwrap();
    for _ in 0..3 {
        let volume = access.endpoint(Service::Volume, &token).await.unwrap();
        assert_eq!((volume.base.path(), volume.major), ("/volume/v3/p1", 3));
        assert!(volume.has(Microversion(3, 71)) && !volume.has(Microversion(3, 72)));
        let compute = access.endpoint(Service::Compute, &token).await.unwrap();
        assert_eq!((compute.base.path(), compute.max), ("/compute/v2.1", Some(Microversion(2, 104))));
    }
    assert_eq!(server.count("GET /volume/v3/"), 1);
    assert_eq!(server.count("GET /compute/v2.1/"), 1);
    let find = |region, interface| token.catalog.find(Service::Volume, region, interface);
    assert_eq!(find(Some("two"), Interface::Internal).unwrap().path(), "/far");
    let text = find(Some("three"), Interface::Public).unwrap_err().to_string();
    assert!(
        text.contains(
            "no public endpoint in region three: there are regions one, two and interfaces internal, public"
        ),
        "{text}"
    );
    let text = Catalog::default().find(Service::Compute, None, Interface::Public).unwrap_err().to_string();
    assert!(text.contains("no compute service for this project: it has none"), "{text}");
}

#[test]
fn an_endpoint_without_a_region_is_passed_over_where_others_have_one() {
    let services: Vec<catalog::ServiceV2> = serde_json::from_value(json!([
        {"type": "compute", "endpoints": [{"publicURL": "http://first/v1.0/827"}]},
        {"type": "compute", "endpoints": [{"region": "ORD", "publicURL": "http://ord/v2/827"},
            {"region": "DFW", "publicURL": "http://dfw/v2/827"}]}]))
    .unwrap();
    let catalog = Catalog::from(services);
    let find = |region| catalog.find(Service::Compute, region, Interface::Public);
    assert_eq!(find(Some("DFW")).unwrap().as_str(), "http://dfw/v2/827");
    assert_eq!(find(None).unwrap().as_str(), "http://ord/v2/827");
    let error = find(Some("IAD")).unwrap_err();
    assert!(error.to_string().contains("there are regions DFW, ORD"), "{error}");
}

#[tokio::test]
async fn roots_without_a_version_and_services_without_microversions_are_understood() {
    let server = Fake::start(|seen| match seen.line().as_str() {
        "GET /block/" => Reply::json(300, versions()),
        "GET /v1/" | "GET /away/v3/" => Reply::text(404, "text/html", "nothing here"),
        "GET /closed/v3/" => Reply::json(403, json!({"forbidden": {"code": 403}})),
        "GET /plain/v3/" => Reply::json(404, json!({"itemNotFound": {"code": 404}})),
        _ => Reply::json(503, ""),
    })
    .await;
    let http = crate::http::Http::new("east", Default::default(), Arc::default(), Arc::default()).unwrap();
    let life = token::Life::new(SystemTime::now(), None);
    let token = Token::new("t".into(), Some("p1".to_owned()), Catalog::default(), life);
    let ask = async |path: &str| {
        versions::find_out(&http, Dialect::OPENSTACK, Service::Volume, &server.url(path), &token).await
    };
    let found = ask("/block").await.unwrap();
    assert_eq!((found.base.path(), found.max), ("/block/v3/p1", Some(Microversion(3, 71))));
    let found = ask("/v1/123").await.unwrap();
    assert_eq!((found.base.path(), found.major, found.max), ("/v1/123", 1, None));
    let found = ask("/plain/v3/123").await.unwrap();
    assert_eq!((found.major, found.max), (3, None));
    // What answers for a service says nothing of its microversions.
    for down in ["/v3/down", "/away/v3/123", "/closed/v3/123"] {
        let error = ask(down).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown), "{down}");
    }
    // A kind of cloud that has no microversions is not asked for them.
    let asked = server.seen().len();
    let (url, dialect) = (server.url("/v1/827"), Dialect::RACKSPACE);
    let found = versions::find_out(&http, dialect, Service::Volume, &url, &token).await.unwrap();
    assert_eq!((found.base.path(), found.major, found.max), ("/v1/827", 1, None));
    assert_eq!(server.seen().len(), asked);
}

#[tokio::test]
async fn changed_credentials_are_tried_and_bad_ones_keep_the_old() {
    let (server, secret) = plain().await;
    let metrics = Arc::new(Metrics::default());
    let session = secret.session_with(Arc::clone(&metrics));
    let failed = |state: u8| {
        let page = metrics.encode();
        let line = format!("fairlead_credentials_reload_failed{{backend=\"east\"}} {state}");
        assert!(page.contains(&line), "{page}");
        assert_eq!(session.warning().is_some(), state == 1);
    };
    let first = session.access().token().await.unwrap();
    let mut watch = session.begin_watch();
    assert_eq!(session.look(&mut watch).await, Look::Same);
    failed(0);
    for bad in ["clouds: {east: {auth: {}}}", "{"] {
        secret.write_text(bad);
        assert_eq!(session.look(&mut watch).await, Look::Kept);
        failed(1);
    }
    secret.write(&server, "wrong");
    assert_eq!(session.look(&mut watch).await, Look::Kept);
    let warning = session.warning().unwrap();
    assert_eq!(warning.reason, "CredentialsReloadFailed");
    assert!(
        warning.text.contains("those before them stay: ") && !warning.text.contains("wrong"),
        "{warning:?}"
    );
    assert_eq!(session.look(&mut watch).await, Look::Same, "it is not tried again and again");
    secret.write(&server, "other");
    assert_eq!(session.look(&mut watch).await, Look::Kept, "the volumes are in the old project");
    failed(1);
    assert!(Arc::ptr_eq(&first, &session.access().token().await.unwrap()));
    secret.write(&server, "new");
    assert_eq!(session.look(&mut watch).await, Look::Swapped);
    failed(0);
    let second = session.access().token().await.unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(session.look(&mut watch).await, Look::Same);
}

#[tokio::test]
async fn bad_credentials_at_start_say_all_that_is_wrong() {
    let (_server, secret) = plain().await;
    secret.write_text("clouds: {east: {verify: perhaps, auth: {password: geheim}}}");
    let config = CinderConfig::new(Source::Clouds { file: secret.file(), cloud: None });
    let error = Session::open("east", config, Arc::default()).unwrap_err();
    let text = error.to_string();
    for part in ["\"verify\" is neither", "\"auth_url\" is missing", "\"username\" or", "backend=east"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("geheim"), "{text}");
    assert_eq!(error.outcome(), Outcome::Unknown, "it may be mended, and volumes may exist");
}

#[tokio::test]
async fn old_identity_services_are_understood() {
    let server = Fake::start(|seen| {
        let host = seen.header("host").unwrap();
        Reply::json(200, json!({"access": {"token": {"id": "T", "expires": "2999-01-01T00:00:00.000Z",
            "tenant": {"id": "827", "name": "827"}}, "serviceCatalog": [
            {"type": "volume", "endpoints": [{"region": "DFW", "publicURL": format!("http://{host}/v1/827"), "tenantId": "827"}]},
            {"type": "compute", "endpoints": [{"publicURL": format!("http://{host}/v2/827")}]}], "user": {"id": "1"}}}))
    })
    .await;
    let open = |auth: &str| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clouds.yaml");
        let url = server.url("/v2.0");
        std::fs::write(
            &file,
            format!("clouds: {{r: {{region_name: DFW, auth: {{auth_url: '{url}', {auth}}}}}}}"),
        )
        .unwrap();
        Session::open("r", CinderConfig::new(Source::Clouds { file, cloud: None }), Arc::default())
            .unwrap()
            .access()
    };
    let access = open("username: u, api_key: k, project_id: '827'");
    let token = access.token().await.unwrap();
    assert_eq!((token.project.as_deref(), token.is_fresh()), (Some("827"), true));
    let find = |service| token.catalog.find(service, Some("DFW"), Interface::Public).unwrap();
    assert_eq!(find(Service::Volume).path(), "/v1/827");
    assert_eq!(find(Service::Compute).path(), "/v2/827", "a catalog without regions has one");
    open("token: A").token().await.unwrap();
    open("username: u, password: p, project_name: n").token().await.unwrap();
    let bodies: Vec<_> = server.seen().iter().map(Seen::json).collect();
    assert_eq!(
        bodies[0],
        json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": "u", "apiKey": "k"}, "tenantId": "827"}})
    );
    assert_eq!(bodies[1], json!({"auth": {"token": {"id": "A"}}}));
    assert_eq!(
        bodies[2],
        json!({"auth": {"passwordCredentials": {"username": "u", "password": "p"}, "tenantName": "n"}})
    );
    assert_eq!(server.count("POST /v2.0/tokens"), 3);
}
