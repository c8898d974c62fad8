# The configuration of a node's containerd, CNI, kubelet and kube-proxy. Read by node.sh, which sets N, DIR and ADDRESS.
# shellcheck shell=bash disable=SC2154

# put FILE: its input to the node's etc/FILE. The file is untouched when nothing changes: kube-proxy ends when its is written.
put() {
  local file=$DIR/etc/$1
  mkdir -p "$(dirname "$file")"
  cat >"$DIR/etc/.new"
  if cmp -s "$DIR/etc/.new" "$file"; then rm "$DIR/etc/.new"; else mv "$DIR/etc/.new" "$file"; fi
}

# No process may lower its OOM score without CAP_SYS_RESOURCE, which virtual machines of CI services lack: hence oom_score
# and restrict_oom_score_adj here, oomScoreAdj in the kubelet's.
containerd_config() {
  put containerd.toml <<TOML
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.nri.v1.nri",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "lab.example/pause:1"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_hugetlb_controller = true
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "$BIN/runc"
SystemdCgroup = false
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["$BIN/cni"]
conf_dir = "$DIR/etc/cni"
TOML
  put cni/10-bridge.conflist <<JSON
{
  "cniVersion": "1.0.0",
  "name": "cluster",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "dataDir": "/var/lib/cni",
        "ranges": [[{"subnet": "$POD_NET.$N.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
JSON
}

# Without makeIPTablesUtilChains: its KUBE-FIREWALL chain drops the answers of forwarded loopback connections.
# Without eviction and image collection: the machine's disk is not the nodes' alone, and no image could be pulled again.
kubelet_config() {
  {
    cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: $CGROUP/node-$N
oomScoreAdj: 0
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $PKI/ca.crt}
authorization: {mode: Webhook}
address: $ADDRESS
clusterDomain: cluster.local
resolvConf: ""
failSwapOn: false
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
imageMaximumGCAge: 0s
imageMinimumGCAge: 8760h
makeIPTablesUtilChains: false
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
volumeStatsAggPeriod: 10s
runtimeRequestTimeout: 2m
YAML
    if [[ -n $FEATURE_GATES ]]; then
      echo "featureGates:"
      tr ',' '\n' <<<"$FEATURE_GATES" | sed 's/^/  /; s/=/: /'
    fi
  } | put kubelet.yaml
}

kube_proxy_config() {
  put kube-proxy.yaml <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $RUN/kube-proxy.conf}
clusterCIDR: $POD_NET.0.0/16
hostnameOverride: node-$N
conntrack: {maxPerCore: 0}
bindAddress: $ADDRESS
YAML
}
