//! Fairlead: a Kubernetes CSI driver that leads the volumes of many block clouds to the right
//! server.

pub mod proto;
