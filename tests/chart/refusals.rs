//! Values that make no sense.

use libtest_mimic::Failed;

use crate::helm::{MINIMAL, Tools};

/// What is set, and what the refusal has to say: where, and why.
const BAD: &[(&[&str], &[&str])] = &[
    // Unknown keys, at every depth.
    (&["backend.here.kind=file"], &["additional properties 'backend' not allowed"]),
    (&["image.registry=x"], &["at '/image'", "'registry' not allowed"]),
    (&["node.kubletDir=/x"], &["at '/node'", "'kubletDir' not allowed"]),
    (&["controller.resources.requests.gpu=1"], &["at '/controller/resources/requests'", "'gpu' not allowed"]),
    (&["sidecars.provisioner.args=x"], &["at '/sidecars/provisioner'", "'args' not allowed"]),
    (&["backends.here.directoy=/x"], &["at '/backends/here'", "'directoy' not allowed"]),
    (&["backends.here.limits.perNode=1"], &["at '/backends/here/limits'", "'perNode' not allowed"]),
    (
        &["storageClasses.a.backend=here", "storageClasses.a.fstype=xfs"],
        &["/storageClasses/a'", "'fstype' not allowed"],
    ),
    (&["monitoring.rules.enable=true"], &["at '/monitoring/rules'", "'enable' not allowed"]),
    // What is missing.
    (&["image.repository="], &["image.repository is not set", "make image"]),
    (&["backends=null"], &["missing property 'backends'"]),
    (&["backends.two.directory=/x"], &["at '/backends/two'", "missing property 'kind'"]),
    (&["backends.two.kind=file"], &["at '/backends/two'", "missing property 'directory'"]),
    (&["storageClasses.a.fsType=xfs"], &["at '/storageClasses/a'", "missing property 'backend'"]),
    (&["node=null"], &["missing property 'node'"]),
    (&["sidecars.timeout=null"], &["at '/sidecars'", "missing property 'timeout'"]),
    // Values out of range or of the wrong kind.
    (&["driverName=Fairlead"], &["at '/driverName'", "'Fairlead' does not match pattern"]),
    (&["driverName=fairlead9"], &["at '/driverName'", "'not' failed"]),
    (&["image.tag=a b"], &["at '/image/tag'", "'a b' does not match pattern"]),
    (&["image.pullPolicy=Sometimes"], &["at '/image/pullPolicy'", "'Always', 'IfNotPresent', 'Never'"]),
    (
        &["backends.here.kind=fil"],
        &["at '/backends/here/kind'", "value must be one of 'cinder', 'file', 'storpool'"],
    ),
    (&["backends.here.directory=srv"], &["at '/backends/here/directory'", "'srv' does not match pattern"]),
    (&["backends.here.directory=/a/../b"], &["at '/backends/here/directory'", "does not match pattern"]),
    (&["backends.here.directory=/"], &["at '/backends/here/directory'", "does not match pattern"]),
    (
        &["backends.here.limits.perServer=0"],
        &["at '/backends/here/limits/perServer'", "minimum: got 0, want 1"],
    ),
    (&["backends.here.limits.bytes=10GB"], &["at '/backends/here/limits/bytes'", "does not match pattern"]),
    (&["backends.here.thinFactor=0"], &["at '/backends/here/thinFactor'", "minimum: got 0, want 1"]),
    (
        &["backends.two.kind=cinder", "backends.two.directory=/x"],
        &["at '/backends/two'", "'directory' not allowed"],
    ),
    (
        &["backends.two.kind=cinder", "backends.two.cloudsFile=/a", "backends.two.cloudConfFile=/b"],
        &["at '/backends/two'", "'not' failed"],
    ),
    (&["backends.two.kind=cinder", "backends.two.limits.sizes.min=1GB"], &["/limits/sizes/min'"]),
    (&["backends.two.kind=cinder", "backends.two.serverIdFile=id"], &["at '/backends/two/serverIdFile'"]),
    (&["backends.here.serverIdFile=/id"], &["at '/backends/here'", "'serverIdFile' not allowed"]),
    (&["backends.two.kind=storpool", "backends.two.cloud=x"], &["at '/backends/two'", "'cloud' not allowed"]),
    (&["backends.two.kind=storpool", "backends.two.endpoint=sp.example:81"], &["/backends/two/endpoint'"]),
    (&["backends.two.kind=storpool", "backends.two.namePrefix=csi"], &["/backends/two/namePrefix'"]),
    (
        &["backends.two.kind=storpool", "backends.two.iscsi.multipath=true"],
        &["/backends/two/iscsi'", "portalGroup"],
    ),
    (
        &["backends.two.kind=storpool", "backends.two.iscsi.portalGroup=pg"],
        &["backends.two.iscsi: set node.hostNetwork=true"],
    ),
    (&["backends.here.secret.onNode=true"], &["at '/backends/here/secret'", "missing property"]),
    (
        &["backends.here.secret.existingSecret=a", "backends.here.secret.data.token=b"],
        &["at '/backends/here/secret'", "'oneOf' failed"],
    ),
    (&["log.level=loud"], &["at '/log/level'", "'loud' does not match pattern"]),
    (&["gracePeriod=0"], &["at '/gracePeriod'", "minimum: got 0, want 1"]),
    (&["http.port=9802"], &["at '/http/port'", "'not' failed"]),
    (&["http.address=localhost"], &["at '/http/address'", "does not match pattern"]),
    (&["node.kubeletDir=var/lib/kubelet"], &["at '/node/kubeletDir'", "does not match pattern"]),
    (&["node.kubeletDir=/var/lib/kubelet/"], &["at '/node/kubeletDir'", "does not match pattern"]),
    (
        &["node.fileSystems={ext4,zfs}"],
        &["at '/node/fileSystems/1'", "value must be one of 'ext4', 'xfs', 'btrfs'"],
    ),
    (&["node.maxUnavailable=0"], &["at '/node/maxUnavailable'", "minimum: got 0, want 1"]),
    (&["node.topology.a/b/c=x"], &["at '/node/topology'", "'a/b/c' not allowed"]),
    (&["controller.replicas=0"], &["at '/controller/replicas'", "minimum: got 0, want 1"]),
    (
        &["controller.tolerations[0].operater=Exists"],
        &["at '/controller/tolerations/0'", "'operater' not allowed"],
    ),
    (&["sidecars.timeout=300"], &["at '/sidecars/timeout'", "got number, want string"]),
    (&["sidecars.workers=0"], &["at '/sidecars/workers'", "minimum: got 0, want 1"]),
    (&["sidecars.attacher.tag="], &["at '/sidecars/attacher/tag'", "minLength: got 0, want 1"]),
    (&["snapshots.enabled=yes"], &["at '/snapshots/enabled'", "got string, want boolean"]),
    (
        &["csiDriver.nodeAllocatableUpdatePeriodSeconds=5"],
        &["at '/csiDriver/nodeAllocatableUpdatePeriodSeconds'", "minimum: got 5, want 10"],
    ),
    (
        &["storageClasses.a.backend=here", "storageClasses.a.reclaimPolicy=Recycle"],
        &["/storageClasses/a/reclaimPolicy'", "'Delete', 'Retain'"],
    ),
    (
        &["storageClasses.a.backend=here", "storageClasses.a.parameters.size=3"],
        &["/storageClasses/a/parameters/size'", "got number, want string"],
    ),
    (&["storageClasses.A.backend=here"], &["at '/storageClasses'", "'A' not allowed"]),
    (
        &["volumeAttributesClasses.a.driver=csi.fairlead.dev"],
        &["/volumeAttributesClasses/a'", "missing property 'parameters'"],
    ),
    // What a back end cannot do.
    (
        &[
            "backends.dfw.kind=cinder",
            "backends.dfw.dialect=rackspace",
            "storageClasses.a.backend=dfw",
            "storageClasses.a.allowVolumeExpansion=true",
        ],
        &["storageClasses.a.allowVolumeExpansion: the back end \"dfw\" cannot grow volumes"],
    ),
    (
        &["volumeAttributesClasses.a.parameters.iops=many"],
        &["volumeAttributesClasses.a: no back end of the driver \"csi.fairlead.dev\""],
    ),
    (
        &[
            "backends.sky.kind=cinder",
            "backends.sky.dialect=cyclades",
            "backends.sky.driver=sky.fairlead.dev",
            "volumeSnapshotClasses.a.driver=sky.fairlead.dev",
        ],
        &["volumeSnapshotClasses.a: no back end of the driver \"sky.fairlead.dev\""],
    ),
    // What contradicts something else.
    (
        &["backends.Two.kind=file", "backends.Two.directory=/x"],
        &["backends.Two: the name of a back end has 1 to 32"],
    ),
    (
        &[
            "backends.two.kind=file",
            "backends.two.directory=/srv/volumes",
            "backends.two.driver=two.fairlead.dev",
        ],
        &["backends.two.directory: the back end \"here\" has the same directory"],
    ),
    (&["foreign=there"], &["foreign: no back end is named \"there\": there are here"]),
    (
        &["node.kubeletDir=/a-directory-whose-name-is-so-long-that-a-socket-in-it-cannot-be-bound-on-linux"],
        &["node.kubeletDir and the driver's name are too long", "at most 107 bytes"],
    ),
    (
        &["storageClasses.a.backend=there"],
        &["storageClasses.a.backend: no back end is named \"there\": there are here"],
    ),
    (
        &["storageClasses.a.backend=here", "storageClasses.a.parameters.backend=here"],
        &["storageClasses.a.parameters: backend is not for here: use the keys backend and fsType"],
    ),
    (
        &["storageClasses.a.backend=here", "storageClasses.a.parameters.csi\\.storage\\.k8s\\.io/fstype=xfs"],
        &["storageClasses.a.parameters: csi.storage.k8s.io/fstype is not for here"],
    ),
    (
        &[
            "storageClasses.a.backend=here",
            "storageClasses.a.default=true",
            "storageClasses.b.backend=here",
            "storageClasses.b.default=true",
        ],
        &["storageClasses.b.default: a is the default of the cluster too"],
    ),
    (
        &["volumeSnapshotClasses.a.default=true", "volumeSnapshotClasses.b.default=true"],
        &["volumeSnapshotClasses.b.default: a is the default of csi.fairlead.dev too"],
    ),
    (
        &["volumeSnapshotClasses.a.driver=other.example.com"],
        &[
            "volumeSnapshotClasses.a.driver: no driver of this release is named \"other.example.com\": there are csi.fairlead.dev",
        ],
    ),
    (
        &["snapshots.enabled=false", "volumeSnapshotClasses.a.default=true"],
        &["snapshots.enabled is false: then there can be no volumeSnapshotClasses"],
    ),
    (
        &["snapshots.groups=false", "volumeGroupSnapshotClasses.a.default=true"],
        &["snapshots.groups is false: then there can be no volumeGroupSnapshotClasses"],
    ),
    (
        &[
            "backends.a.kind=file",
            "backends.a.directory=/a",
            "backends.a.driver=x.example.dev",
            "backends.b.kind=file",
            "backends.b.directory=/b",
            "backends.b.driver=x-example.dev",
        ],
        &["would both have objects named fairlead-x-example-dev-…"],
    ),
];

/// Each of them, by both Helms, in the same words.
pub fn all(tools: &Tools) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    // Nothing to add to: the chart's own values, and an image.
    let empty: (&str, &[&str], &[&str]) =
        ("/dev/null", &["image.repository=x"], &["backends is empty", "--set backends.here.kind=file"]);
    let others = BAD.iter().map(|(sets, wanted)| (MINIMAL, *sets, *wanted));
    for (values, sets, wanted) in others.chain([empty]) {
        let arguments: Vec<_> = sets.iter().flat_map(|set| ["--set", set]).collect();
        for helm in ["helm3", "helm4"] {
            match tools.try_render(helm, values, &arguments) {
                Ok(_) => wrong.push(format!("{helm} takes {sets:?}")),
                Err(text) => {
                    let missing: Vec<_> = wanted.iter().filter(|part| !text.contains(**part)).collect();
                    if !missing.is_empty() {
                        wrong.push(format!("{helm} with {sets:?} does not say {missing:?}, but: {text}"));
                    }
                }
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
