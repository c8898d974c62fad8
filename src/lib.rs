//! Fairlead: a Kubernetes CSI driver that leads the volumes of many block clouds to the right server.

pub mod backend;
pub mod controller;
pub mod csi;
pub mod error;
pub mod failpoint;
pub mod flight;
pub mod host;
pub mod metrics;
pub mod node;
pub mod proto;
pub mod volume;
