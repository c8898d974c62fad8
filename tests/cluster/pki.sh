#!/usr/bin/env bash
# Makes the certificates and the kubeconfig files of the cluster with kubeadm's own phases.
# usage: pki.sh cluster        once for a cluster
#        pki.sh node N FILE    the kubeconfig file of node N's kubelet
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
CONFIG=$RUN/kubeadm.yaml

cluster() {
  local user
  cat >"$CONFIG" <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: $API_ADDRESS, bindPort: 6443}
nodeRegistration: {name: control, criSocket: "unix:///run/containerd/containerd.sock"}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: $(kubeadm version -o short)
certificatesDir: $PKI
networking: {serviceSubnet: $SERVICE_NET.0/24}
apiServer: {certSANs: ["127.0.0.1", "localhost"]}
YAML
  kubeadm init phase certs all --config "$CONFIG"
  for user in super-admin controller-manager scheduler; do
    kubeadm init phase kubeconfig "$user" --config "$CONFIG" --kubeconfig-dir "$RUN"
  done
  kubeconfig system:kube-proxy >"$RUN/kube-proxy.conf"
  # Its name says that all is there.
  mv "$RUN/super-admin.conf" "$RUN/admin.conf"
}

kubeconfig() { kubeadm kubeconfig user --config "$CONFIG" --client-name "$@"; }

case ${1:-} in
  cluster)
    if [[ ! -e $RUN/admin.conf ]]; then cluster; fi
    ;;
  node)
    [[ $# -eq 3 ]] || usage
    if [[ ! -s $3 ]]; then
      kubeconfig "system:node:node-$2" --org system:nodes >"$3.new"
      mv "$3.new" "$3"
    fi
    ;;
  *) usage ;;
esac
