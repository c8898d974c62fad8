//! A node on a machine in memory, for the tests of the rooms above.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fake::{Cloud, Disk, Entry, Image, Machine};
use super::{Node, NodeConfig};
use crate::backend::Connector;
use crate::host::Host;
use crate::metrics::Metrics;
use crate::volume::{Bytes, Content, Topology};

/// A node named `worker-1` that can reach the blank volume `here/v` of 512 MiB; `/kubelet/staging` and
/// `/kubelet/pods` are there.
pub(crate) fn node() -> Node {
    let machine = Arc::new(Machine::default());
    {
        let mut state = machine.state();
        for directory in ["/", "/dev", "/kubelet", "/kubelet/staging", "/kubelet/pods"] {
            state.paths.insert(directory.into(), Entry::Directory);
        }
        let image = Image { disk: Disk::Blank, size: Bytes::mib(512), content: Content::New, device: None };
        state.images.insert("v".into(), image);
    }
    let cloud: Arc<dyn Connector> = Arc::new(Cloud(Arc::clone(&machine)));
    let config = NodeConfig {
        name: "worker-1".into(),
        topology: Topology([("zone".to_owned(), "a".to_owned())].into()),
        max_volumes: Some(30),
        foreign: None,
    };
    let host: Arc<dyn Host> = machine;
    Node::new(config, host, BTreeMap::from([("here".parse().unwrap(), cloud)]), Arc::new(Metrics::default()))
}
