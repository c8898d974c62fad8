use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use secrecy::SecretString;

use super::fake::{Fake, Reply, Seen, self_signed};
use super::*;
use crate::error::Outcome;

fn http(trust: Trust) -> Http {
    Http::new("east", trust, Arc::default(), Arc::default()).unwrap()
}

fn plain() -> Http {
    http(Trust::default())
}

fn get(url: Url) -> Request {
    Request::new(Method::GET, url, "volume", "get volume").within(Duration::from_secs(20))
}

fn post(url: Url) -> Request {
    let request = Request::new(Method::POST, url, "volume", "create volume");
    request.within(Duration::from_secs(20)).json(&serde_json::json!({"size": 1}))
}

/// A script that answers by the number of the request, from 0.
fn by_turn(replies: impl Fn(usize) -> Reply + Send + Sync) -> impl Fn(&Seen) -> Reply + Send + Sync {
    let turn = AtomicUsize::new(0);
    move |_: &Seen| replies(turn.fetch_add(1, Ordering::SeqCst))
}

/// An address at which nobody listens.
async fn nobody() -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    format!("http://{address}/v3").parse().unwrap()
}

#[tokio::test]
async fn a_secret_is_in_no_text_and_the_request_id_is_in_every_error() {
    let token = SecretString::from("gAAAA-token-of-mine");
    let server = Fake::start(|seen| {
        let token = seen.header("x-auth-token").unwrap().to_owned();
        Reply::text(500, "text/html", format!("<h1>oops</h1>\n your token {token} was"))
            .header("x-compute-request-id", "req-7")
    })
    .await;
    let request = post(server.url("/v3/volumes?x=1")).secret_header("x-auth-token", &token).unwrap();
    let answer = plain().send(&request).await.unwrap();
    assert_eq!((answer.status(), answer.request_id(), answer.class()), (500, Some("req-7"), "5xx"));
    let error = answer.json::<serde_json::Value>().unwrap_err();
    let text = format!("{error} {error:?} {answer:?} {request:?} {}", answer.excerpt());
    assert!(!text.contains("gAAAA"), "{text}");
    assert!(text.contains("<redacted>") && text.contains("request=req-7"), "{text}");
    assert!(text.contains("text/html") && text.contains("oops"), "{text}");
    assert!(error.to_string().contains("create volume"), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn an_answer_to_a_secret_body_is_never_quoted() {
    let password = SecretString::from("geheim\"42");
    let server = Fake::start(|seen| Reply::text(200, "text/plain", &seen.body)).await;
    let body = serde_json::json!({"password": "geheim\"42"});
    let request = post(server.url("/")).secret_json(&body, &[&password]);
    let answer = plain().send(&request).await.unwrap();
    let error = answer.json::<serde_json::Value>().unwrap_err();
    assert!(!format!("{error:?} {request:?}").contains("geheim"), "{error:?}");
}

#[tokio::test]
async fn a_read_is_repeated_and_a_write_whose_answer_is_lost_is_not() {
    let server = Fake::start(by_turn(|turn| match turn {
        0 => Reply::hang_up(),
        1 => Reply::text(502, "text/html", "bad gateway"),
        _ => Reply::json(200, "{}"),
    }))
    .await;
    assert_eq!(plain().send(&get(server.url("/a"))).await.unwrap().status(), 200);
    assert_eq!(server.count("GET /a"), 3);

    let server = Fake::start(|_| Reply::hang_up()).await;
    let error = plain().send(&post(server.url("/a"))).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown));
    assert!(error.to_string().contains("broke before the answer was complete"), "{error}");
    assert_eq!(server.count("POST /a"), 1);
    plain().send(&post(server.url("/a")).repeatable()).await.unwrap_err();
    assert_eq!(server.count("POST /a"), 4);

    let server = Fake::start(|_| Reply::json(504, "{}")).await;
    assert_eq!(plain().send(&post(server.url("/a"))).await.unwrap().status(), 504);
    assert_eq!(server.count("POST /a"), 1);
}

#[tokio::test]
async fn a_call_that_is_sent_once_tells_whether_it_was_sent() {
    let lost = plain().send_once(&get(nobody().await)).await.unwrap_err();
    assert!(!lost.sent && !lost.hopeless, "{lost:?}");
    assert!(lost.error.to_string().contains("get volume"), "{lost:?}");
    let server = Fake::start(by_turn(|turn| match turn {
        0 => Reply::hang_up(),
        _ => Reply::json(503, "{}"),
    }))
    .await;
    let lost = plain().send_once(&get(server.url("/v3"))).await.unwrap_err();
    assert!(lost.sent && !lost.hopeless, "{lost:?}");
    assert_eq!(plain().send_once(&get(server.url("/v3"))).await.unwrap().status(), 503);
    assert_eq!(server.seen().len(), 2, "nothing is repeated");
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_for_any_call_and_names_the_host() {
    let url = nobody().await;
    let started = Instant::now();
    let error = plain().send(&post(url.clone())).await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(700), "three tries");
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown));
    let text = error.to_string();
    assert!(text.contains(&format!("cannot connect to 127.0.0.1:{}", url.port().unwrap())), "{text}");
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_by_every_call_and_a_quota_is_not() {
    for status in [429, 413, 503] {
        let server = Fake::start(by_turn(move |turn| match turn {
            0 => Reply::json(status, "{}").header("retry-after", 1),
            _ => Reply::json(202, "{}"),
        }))
        .await;
        let started = Instant::now();
        let request = post(server.url("/a"));
        let request = if status == 503 { request.repeatable() } else { request };
        assert_eq!(plain().send(&request).await.unwrap().status(), 202);
        assert!(started.elapsed() >= Duration::from_secs(1), "{status}");
    }
    // The same client's other calls wait as well.
    let server = Fake::start(by_turn(|turn| match turn {
        0 => Reply::json(503, "{}").header("retry-after", 1),
        _ => Reply::json(202, "{}"),
    }))
    .await;
    let http = plain();
    assert_eq!(http.send(&post(server.url("/a"))).await.unwrap().status(), 503, "it may have been done");
    let error = http.send(&post(server.url("/a")).within(Duration::from_millis(500))).await.unwrap_err();
    assert!(error.to_string().contains("the cloud asked for a pause"), "{error}");
    assert_eq!(http.send(&post(server.url("/a"))).await.unwrap().status(), 202);
    assert_eq!(server.count("POST /a"), 2);
    for quota in [Reply::json(413, "{}"), Reply::json(413, "{}").header("retry-after", 0)] {
        let server = Fake::start(move |_| quota.clone()).await;
        assert_eq!(plain().send(&get(server.url("/a"))).await.unwrap().status(), 413);
        assert_eq!(server.count("GET /a"), 1);
    }
}

#[tokio::test]
async fn words_that_settle_it_end_the_repetitions_of_a_rate_limit() {
    let server =
        Fake::start(|_| Reply::json(429, r#"{"overLimit": {"message": "QuotaExceeded: 500"}}"#)).await;
    let started = Instant::now();
    let request = post(server.url("/a")).settled_by("QuotaExceeded");
    assert_eq!(plain().send(&request).await.unwrap().status(), 429);
    assert_eq!(server.count("POST /a"), 1);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_pause_longer_than_the_deadline_is_told_at_once() {
    let server = Fake::start(|_| Reply::json(429, "{}").header("retry-after", 3600)).await;
    let started = Instant::now();
    let answer = plain().send(&get(server.url("/a"))).await.unwrap();
    assert_eq!((answer.status(), answer.retry_after()), (429, Some(Duration::from_secs(60))));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_deadline_holds_also_where_the_answer_drips() {
    let late = Reply::json(200, "{}").late(Duration::from_secs(30));
    let dripping = Reply::json(200, " ").endless(Duration::from_millis(50));
    for reply in [late, dripping] {
        let server = Fake::start(move |_| reply.clone()).await;
        let started = Instant::now();
        let request = get(server.url("/slow")).within(Duration::from_millis(300));
        let error = plain().send(&request).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::Timeout, Outcome::Unknown));
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        assert!(error.to_string().contains("no answer within 0.3 s"), "{error}");
    }
}

#[tokio::test]
async fn a_huge_answer_is_given_up() {
    let huge = 100 * 1024 * 1024;
    let server = Fake::start(move |_| Reply::json(200, "x".repeat(64 * 1024)).claiming(huge)).await;
    let error = plain().send(&get(server.url("/huge"))).await.unwrap_err();
    assert!(error.to_string().contains("larger than 8 MiB"), "{error}");
    assert_eq!(server.count("GET /huge"), 1, "it would be as large again");
    let server = Fake::start(|_| Reply::json(200, "x".repeat(64 * 1024)).endless(Duration::ZERO)).await;
    let error = plain().send(&get(server.url("/endless"))).await.unwrap_err();
    assert!(error.to_string().contains("larger than 8 MiB"), "{error}");
    assert_eq!(server.count("GET /endless"), 1);
}

#[tokio::test]
async fn answers_that_are_no_json_are_told_apart() {
    let cases = [
        (Reply::json(200, r#"{"id": "5"#), "was cut short"),
        (Reply::json(200, "<html>login</html>"), "is no JSON"),
        (Reply::json(200, r#"{"id": 5}"#), "another form"),
        (Reply::text(200, "text/html; charset=utf-8", "<html>\nmaintenance"), "instead of JSON"),
    ];
    for (reply, expected) in cases {
        let server = Fake::start(move |_| reply.clone()).await;
        let answer = plain().send(&get(server.url("/"))).await.unwrap();
        let error = answer.json::<std::collections::BTreeMap<String, String>>().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
    let server = Fake::start(|_| Reply::json(200, r#"{"volume": "#).claiming(5000)).await;
    let error = plain().send(&get(server.url("/"))).await.unwrap_err();
    assert!(error.to_string().contains("broke before the answer was complete"), "{error}");
}

#[tokio::test]
async fn only_reads_are_redirected_and_never_to_another_host() {
    let server = Fake::start(|seen| match seen.target.as_str() {
        "/moved" => Reply::json(301, "").header("location", "/here?a=1"),
        "/here?a=1" => Reply::json(200, r#"{"ok":true}"#),
        "/away" => Reply::json(302, "").header("location", "http://evil.example/x"),
        "/nowhere" => Reply::json(302, ""),
        _ => Reply::json(302, "").header("location", "/loop"),
    })
    .await;
    let http = plain();
    assert_eq!(http.send(&get(server.url("/moved"))).await.unwrap().status(), 200);
    let fault = async |request: Request| http.send(&request).await.unwrap_err().to_string();
    let text = fault(get(server.url("/away"))).await;
    assert!(text.contains("another host, http://evil.example/x"), "{text}");
    let text = fault(get(server.url("/loop"))).await;
    assert!(text.contains("more than 4 redirects"), "{text}");
    assert_eq!(server.count("GET /loop"), 5);
    let text = fault(post(server.url("/moved"))).await;
    assert!(text.contains("only reads are"), "{text}");
    let text = fault(get(server.url("/nowhere"))).await;
    assert!(text.contains("without a place"), "{text}");
}

#[tokio::test]
async fn tls_is_trusted_by_the_ca_file_alone_and_faults_name_host_and_file() {
    let (pem, acceptor) = self_signed();
    let server = Fake::start_tls(acceptor, |_| Reply::json(200, "{}")).await;
    let file = |pem: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(pem.as_bytes()).unwrap();
        file
    };
    let (own, other) = (file(&pem), file(&self_signed().0));
    let trust =
        |file: &tempfile::NamedTempFile| Trust { ca_file: Some(file.path().to_owned()), ..Trust::default() };
    let request = get(server.url("/"));
    assert_eq!(http(trust(&own)).send(&request).await.unwrap().status(), 200);
    let insecure = Trust { insecure: true, ..Trust::default() };
    assert_eq!(http(insecure).send(&request).await.unwrap().status(), 200);

    let started = Instant::now();
    for (trust, authorities) in [
        (trust(&other), other.path().display().to_string()),
        (Trust::default(), "this system's store".to_owned()),
    ] {
        let error = http(trust).send(&request).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(text.contains(&format!("127.0.0.1:{}", request.url.port().unwrap())), "{text}");
        assert!(text.contains(&format!("no authority in {authorities}")), "{text}");
    }
    assert!(started.elapsed() < Duration::from_millis(700), "asking again would not help");

    let wrong_name = get(server.url("/").as_str().replace("127.0.0.1", "localhost").parse().unwrap());
    let text = http(trust(&own)).send(&wrong_name).await.unwrap_err().to_string();
    assert!(text.contains("the certificate of localhost") && text.contains("refused"), "{text}");
}

#[test]
fn bad_certificate_files_are_named() {
    let mut empty = tempfile::NamedTempFile::new().unwrap();
    let new = |trust| Http::new("east", trust, Arc::default(), Arc::default()).unwrap_err();
    let error = new(Trust { ca_file: Some("/no/such.pem".into()), ..Trust::default() });
    assert!(error.to_string().contains("/no/such.pem"), "{error}");
    let error = new(Trust { ca_file: Some(empty.path().to_owned()), ..Trust::default() });
    assert!(error.to_string().contains("no certificate"), "{error}");
    empty.write_all(self_signed().0.as_bytes()).unwrap();
    let identity = Identity { certificate: empty.path().to_owned(), key: empty.path().to_owned() };
    let error = new(Trust { identity: Some(identity), ..Trust::default() });
    assert!(error.to_string().contains("no private key"), "{error}");
}

#[tokio::test]
async fn every_request_on_the_wire_is_counted() {
    let server = Fake::start(by_turn(|turn| Reply::json(if turn == 0 { 500 } else { 200 }, "{}"))).await;
    let metrics = Arc::new(Metrics::default());
    let http = Http::new("east", Trust::default(), Arc::default(), Arc::clone(&metrics)).unwrap();
    http.send(&get(server.url("/a"))).await.unwrap();
    let page = metrics.encode();
    for class in ["2xx", "5xx"] {
        let line = format!(
            r#"fairlead_cloud_seconds_count{{backend="east",service="volume",call="get volume",result="{class}"}} 1"#
        );
        assert!(page.contains(&line), "{line} is missing in\n{page}");
    }
}

#[tokio::test]
async fn an_answer_that_may_hold_secrets_is_never_quoted() {
    let server = Fake::start(|_| Reply::text(200, "text/plain", "{\"secret\": \"geheim42\"")).await;
    let quoted = plain().send(&get(server.url("/"))).await.unwrap().json::<serde_json::Value>().unwrap_err();
    assert!(quoted.to_string().contains("geheim42"), "{quoted}");
    let answer = plain().send(&get(server.url("/")).confidential()).await.unwrap();
    let error = answer.json::<serde_json::Value>().unwrap_err();
    let text = format!("{error} {error:?} {answer:?}{}", answer.excerpt());
    assert!(!text.contains("geheim42") && text.contains("instead of JSON"), "{text}");
}
