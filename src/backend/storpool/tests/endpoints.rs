//! Several management addresses, of which some do not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::world::{World, told};
use crate::backend::Backend;
use crate::error::{Kind, Outcome};

/// An address that refuses connections.
fn refusing() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// An address that takes connections and says nothing, and how many it took.
async fn silent() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (address, taken)
}

#[tokio::test]
async fn one_that_refuses_and_one_that_is_silent_cost_a_moment_once() {
    let (silent, taken) = silent().await;
    let refusing = refusing();
    let began = Instant::now();
    let world = World::new(|config| {
        config.endpoints.splice(0..0, [refusing.clone(), silent.clone()]);
    })
    .await;
    let first = began.elapsed();
    assert!(first >= Duration::from_secs(2) && first < Duration::from_secs(8), "{first:?}");
    let began = Instant::now();
    let volume = world.create("v").await.unwrap();
    world.attach(&volume.id, 1).await.unwrap();
    world.detach(&volume.id, 1).await.unwrap();
    world.backend.delete(&volume.id).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(taken.load(Ordering::Relaxed), 1, "the one that answered is asked first");
}

#[tokio::test]
async fn where_none_answers_that_is_told_and_nothing_is_final() {
    let world = World::new(|_| {}).await;
    let mut config = world.config.clone();
    config.endpoints = vec![refusing(), refusing()];
    let opened = crate::backend::storpool::StorpoolBackend::open("fast", config, Arc::default()).await;
    let (kind, outcome, text) = told(opened);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("cannot connect to 127.0.0.1:"), "{text}");
}

#[tokio::test]
async fn the_next_address_is_asked_where_one_does_not_answer() {
    let world = World::new(|config| config.endpoints.insert(0, refusing())).await;
    let volume = world.create("v").await.unwrap();
    world.attach(&volume.id, 1).await.unwrap();
}

#[tokio::test]
async fn the_address_that_answered_is_asked_first() {
    let breaking = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = breaking.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = breaking.accept().await {
            drop(stream);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let world = World::new(|config| config.endpoints.insert(0, format!("http://{address}"))).await;
    let before = asked.load(Ordering::Relaxed);
    let volume = world.create("v").await.unwrap();
    world.attach(&volume.id, 1).await.unwrap();
    assert_eq!((before, asked.load(Ordering::Relaxed)), (1, 1));
}
