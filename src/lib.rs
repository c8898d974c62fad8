//! Fairlead: a Kubernetes CSI driver that leads the volumes of many block clouds to the right server.

pub mod app;
pub mod backend;
pub mod cli;
pub mod client;
pub mod config;
pub mod controller;
pub mod csi;
pub mod demo;
pub mod document;
pub mod error;
pub mod failpoint;
pub mod flight;
pub mod host;
pub mod http;
pub mod kube;
pub mod log;
pub mod metrics;
pub mod node;
pub mod operator;
pub mod probe;
pub mod proto;
pub mod registrar;
pub mod server;
pub mod volume;
