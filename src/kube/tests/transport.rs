use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::kube::transport::Transport;

#[tokio::test]
async fn a_token_that_was_replaced_is_used_at_once_and_is_told_nobody() {
    let mock = Mock::start().await;
    let kubernetes = mock.kubernetes();
    kubernetes.driver_fault().await.unwrap();
    assert_eq!(mock.token(), "Bearer opensesame");
    mock.give("opensesame2");
    kubernetes.driver_fault().await.unwrap();
    assert_eq!(mock.token(), "Bearer opensesame2");
    mock.give("open\u{1}sesame");
    let error = kubernetes.driver_fault().await.unwrap_err();
    assert!(error.to_string().ends_with("token holds no token: it must be one line of printable characters"));
    assert!(!format!("{error:?} {kubernetes:?}").contains("sesame"));
}

#[test]
fn credentials_that_cannot_be_used_are_told_at_start() {
    let (directory, access) = mock::access("https://127.0.0.1:1");
    let refused = || Transport::open(&access).unwrap_err().chain();
    assert!(refused().contains("ca.crt cannot be read"), "{}", refused());
    let put = |text: &str| std::fs::write(directory.path().join("ca.crt"), text).unwrap();
    put("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(refused().contains("ca.crt cannot be used as PEM: "), "{}", refused());
    for nothing in ["", "this is no certificate"] {
        put(nothing);
        assert!(refused().contains("no certificate is in it"), "{}", refused());
    }
    std::fs::remove_file(directory.path().join("token")).unwrap();
    assert!(refused().contains("token cannot be read"), "{}", refused());
}

/// Serves one connection after another with this certificate, and answers each request with 403.
async fn serve(listener: TcpListener, certified: CertifiedKey<rcgen::KeyPair>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        // A client that does not trust it breaks off.
        let Ok(connection) = acceptor.accept(connection).await else { continue };
        let service = hyper::service::service_fn(async |_| {
            let answer = http::Response::builder().status(403).body(axum::body::Body::from("{\"code\":403}"));
            answer.map_err(|error| error.to_string())
        });
        hyper::server::conn::http1::Builder::new()
            .keep_alive(false)
            .serve_connection(hyper_util::rt::TokioIo::new(connection), service)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_api_server_is_known_by_the_authority_that_is_mounted_now() {
    let certify = || generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (first, second) = (certify(), certify());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (directory, access) = mock::access(&format!("https://{}", listener.local_addr().unwrap()));
    let trust = |pem: String| std::fs::write(directory.path().join("ca.crt"), pem).unwrap();
    trust(first.cert.pem());
    let api = ApiServer::open(&access).unwrap();
    let kubernetes = Kubernetes::new(api, DRIVER, None);
    let trusted = second.cert.pem();
    tokio::spawn(serve(listener, second));
    let error = kubernetes.driver_fault().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.chain().contains("invalid peer certificate"), "{}", error.chain());
    trust(trusted);
    let error = kubernetes.driver_fault().await.unwrap_err();
    assert_eq!(error.kind(), Kind::PermissionDenied, "it answered: {}", error.chain());
}
