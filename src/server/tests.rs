use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::http::{Pages, Readiness};
use super::shutdown::{End, channel};
use super::socket::listen_at;
use crate::error::{Error, Kind};
use crate::metrics::Metrics;

#[tokio::test]
async fn the_socket_is_closed_to_others_and_goes_with_its_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (listener, file) = listen_at(&path, "x").unwrap();
    let found = std::fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o7777, 0o600);
    assert!(StdStream::connect(&path).is_ok());
    drop(listener);
    drop(file);
    assert!(!path.exists());
}

/// Watches the path while sockets are made there again and again: there is no moment with another mode.
#[tokio::test]
async fn the_mode_is_0600_from_the_first_moment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (stop, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watcher = {
        let (path, stop, seen) = (path.clone(), Arc::clone(&stop), Arc::clone(&seen));
        std::thread::spawn(move || {
            while stop.load(Ordering::Relaxed) == 0 {
                if let Ok(found) = std::fs::symlink_metadata(&path) {
                    assert_eq!(found.mode() & 0o777, 0o600);
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    let start = Instant::now();
    while seen.load(Ordering::Relaxed) < 1000 && start.elapsed() < Duration::from_secs(20) {
        drop(listen_at(&path, "x").unwrap());
    }
    stop.store(1, Ordering::Relaxed);
    watcher.join().unwrap();
    assert!(seen.load(Ordering::Relaxed) >= 1000, "the watcher must have seen sockets");
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    drop(StdListener::bind(&path).unwrap());
    assert!(path.exists(), "the standard library leaves the file, as a killed process does");
    let (_listener, _file) = listen_at(&path, "x").unwrap();
    assert!(StdStream::connect(&path).is_ok());
}

#[tokio::test]
async fn a_live_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let living = StdListener::bind(&path).unwrap();
    let error = listen_at(&path, "x").unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("a process already serves"), "{error}");
    living.set_nonblocking(true).unwrap();
    assert!(living.accept().is_ok(), "it was asked");
    assert!(StdStream::connect(&path).is_ok(), "it still serves");
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    drop(StdListener::bind(&target).unwrap());
    let (file, folder, link) =
        (directory.path().join("f"), directory.path().join("d"), directory.path().join("l"));
    std::fs::write(&file, "precious").unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    for path in [&file, &folder, &link] {
        let error = listen_at(path, "x").unwrap_err();
        assert!(error.to_string().contains("is no socket: remove it"), "{error}");
        assert!(std::fs::symlink_metadata(path).is_ok());
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(target.exists());
}

#[tokio::test]
async fn the_parent_directory_must_exist() {
    let directory = tempfile::tempdir().unwrap();
    let error = listen_at(&directory.path().join("missing/s"), "x").unwrap_err();
    assert!(error.to_string().contains("the directory of the socket must exist"), "{error}");
}

#[tokio::test]
async fn another_s_socket_at_the_path_is_not_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (listener, file) = listen_at(&path, "x").unwrap();
    // Kept under another name, so that its inode is not given to the next one.
    std::fs::rename(&path, directory.path().join("moved")).unwrap();
    let _other = StdListener::bind(&path).unwrap();
    drop((listener, file));
    assert!(path.exists());
}

/// Of many that start at once on one path, exactly one serves, and it is the one that can be reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_start_at_once_one_serves() {
    for _ in 0..50 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(StdListener::bind(&path).unwrap());
        let tries = (0..4).map(|_| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                let _context = tokio::runtime::Handle::current().enter();
                listen_at(&path, "x")
            })
        });
        let mut served = Vec::new();
        for one in tries.collect::<Vec<_>>() {
            match one.await.unwrap() {
                Ok(won) => served.push(won),
                Err(error) => assert!(error.to_string().contains("already serves"), "{error}"),
            }
        }
        assert_eq!(served.len(), 1);
        assert!(StdStream::connect(&path).is_ok());
    }
}

async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn metrics_and_health_are_served() {
    let metrics = Arc::new(Metrics::default());
    let readiness = Readiness::default();
    let refreshed = Arc::clone(&metrics);
    let refresh = Arc::new(move || refreshed.flights([("copy", Duration::from_secs(3))]));
    let dead = Arc::new(AtomicBool::new(false));
    let alive = {
        let dead = Arc::clone(&dead);
        Arc::new(move || {
            let dead = dead.load(Ordering::Relaxed);
            Box::pin(async move { if dead { Err(Error::internal("no answer")) } else { Ok(()) } }) as _
        })
    };
    let pages = Pages { metrics, refresh, alive, readiness: readiness.clone() };
    let listener = super::http::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(super::http::serve(pages, listener));
    let get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        async move { ask(address, &request).await }
    };

    let page = get("/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(
        page.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{page}"
    );
    assert!(page.contains(r#"fairlead_operations_in_flight{phase="copy"} 1"#), "refreshed: {page}");
    assert!(page.trim_end().ends_with("# EOF"), "{page}");
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
    readiness.set("back end here", Some("no directory".to_owned()));
    readiness.set("back end there", None);
    let page = get("/readyz").await;
    assert!(page.starts_with("HTTP/1.1 503"), "{page}");
    assert!(page.ends_with("back end here: no directory\nback end there: ready\n"), "{page}");
    readiness.set("back end here", None);
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
    dead.store(true, Ordering::Relaxed);
    let page = get("/healthz").await;
    assert!(page.starts_with("HTTP/1.1 503") && page.ends_with("no answer\n"), "{page}");
    dead.store(false, Ordering::Relaxed);
    assert!(get("/").await.starts_with("HTTP/1.1 404"));
    let post = ask(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    // The server may close while this is being sent; that is as good as an answer.
    let _sent = connection.write_all(long.as_bytes()).await;
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200"), "still serves after a bad request");

    server.abort();
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_servers_and_flights_up_to_the_grace_period() {
    let grace = Duration::from_secs(10);
    let start = tokio::time::Instant::now();
    let flights = move || usize::from(start.elapsed() < Duration::from_secs(3));

    let (trigger, shutdown) = channel();
    trigger.order();
    assert_eq!(shutdown.drain(grace, async { Ok(()) }, flights).await.unwrap(), End::Finished);
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(4), "{took:?}");

    let begun = tokio::time::Instant::now();
    assert_eq!(shutdown.drain(grace, async { Ok(()) }, || 1).await.unwrap(), End::Expired);
    assert_eq!(begun.elapsed(), grace);
    assert_eq!(shutdown.drain(grace, std::future::pending(), || 0).await.unwrap(), End::Expired);

    trigger.order();
    assert_eq!(shutdown.drain(grace, std::future::pending(), || 0).await.unwrap(), End::Forced);
    let (_trigger, shutdown) = channel();
    let failed = shutdown.drain(grace, async { Err(Error::internal("broken")) }, || 1).await;
    assert_eq!(failed.unwrap_err().to_string(), "broken");
}
