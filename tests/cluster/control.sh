#!/usr/bin/env bash
# The control plane: plain processes on this machine.
# usage: control.sh start|stop|restart etcd|kube-apiserver|kube-controller-manager|kube-scheduler|all
#   (stop kube-apiserver: the API is away, the nodes and their pods go on)
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

ETCD=http://127.0.0.1:12379
ETCD_PEER=http://127.0.0.1:12380
SERVICE_ACCOUNT_ISSUER=https://kubernetes.default.svc.cluster.local

start_etcd() {
  # Without fsync: the database need not survive a power cut of this machine.
  start etcd etcd --name cluster --data-dir "$RUN/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls $ETCD --advertise-client-urls $ETCD \
    --listen-peer-urls $ETCD_PEER --initial-advertise-peer-urls $ETCD_PEER --initial-cluster cluster=$ETCD_PEER
}

# What the driver's controller asks for, and what it is denied: rights.sh reads it.
audit_policy() {
  cat <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - {level: Metadata, userGroups: ["system:serviceaccounts:fairlead"]}
  - {level: None}
YAML
}

start_kube-apiserver() {
  audit_policy >"$RUN/audit-policy.yaml"
  # shellcheck disable=SC2086  # API_SERVER_ARGS is a list
  start kube-apiserver kube-apiserver "${common[@]}" \
    --etcd-servers=$ETCD \
    --advertise-address=$API_ADDRESS \
    --bind-address=0.0.0.0 \
    --secure-port=6443 \
    --allow-privileged=true \
    --authorization-mode=Node,RBAC \
    --enable-admission-plugins=NodeRestriction \
    --client-ca-file="$PKI/ca.crt" \
    --tls-cert-file="$PKI/apiserver.crt" \
    --tls-private-key-file="$PKI/apiserver.key" \
    --kubelet-client-certificate="$PKI/apiserver-kubelet-client.crt" \
    --kubelet-client-key="$PKI/apiserver-kubelet-client.key" \
    --kubelet-preferred-address-types=InternalIP \
    --service-cluster-ip-range=$SERVICE_NET.0/24 \
    --service-account-issuer=$SERVICE_ACCOUNT_ISSUER \
    --service-account-key-file="$PKI/sa.pub" \
    --service-account-signing-key-file="$PKI/sa.key" \
    --proxy-client-cert-file="$PKI/front-proxy-client.crt" \
    --proxy-client-key-file="$PKI/front-proxy-client.key" \
    --requestheader-client-ca-file="$PKI/front-proxy-ca.crt" \
    --requestheader-allowed-names=front-proxy-client \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --requestheader-group-headers=X-Remote-Group \
    --requestheader-username-headers=X-Remote-User \
    --audit-policy-file="$RUN/audit-policy.yaml" \
    --audit-log-path="$LOG/audit.log" \
    $API_SERVER_ARGS
}

start_kube-controller-manager() {
  # shellcheck disable=SC2086  # CONTROLLER_MANAGER_ARGS is a list
  start kube-controller-manager kube-controller-manager "${common[@]}" \
    --kubeconfig="$RUN/controller-manager.conf" \
    --authentication-kubeconfig="$RUN/controller-manager.conf" \
    --authorization-kubeconfig="$RUN/controller-manager.conf" \
    --bind-address=127.0.0.1 \
    --client-ca-file="$PKI/ca.crt" \
    --root-ca-file="$PKI/ca.crt" \
    --cluster-signing-cert-file="$PKI/ca.crt" \
    --cluster-signing-key-file="$PKI/ca.key" \
    --service-account-private-key-file="$PKI/sa.key" \
    --use-service-account-credentials=true \
    --requestheader-client-ca-file="$PKI/front-proxy-ca.crt" \
    --allocate-node-cidrs=false \
    --service-cluster-ip-range=$SERVICE_NET.0/24 \
    --leader-elect=false \
    $CONTROLLER_MANAGER_ARGS
}

start_kube-scheduler() {
  start kube-scheduler kube-scheduler "${common[@]}" \
    --kubeconfig="$RUN/scheduler.conf" \
    --authentication-kubeconfig="$RUN/scheduler.conf" \
    --authorization-kubeconfig="$RUN/scheduler.conf" \
    --bind-address=127.0.0.1 \
    --leader-elect=false
}

common=(--v="$LOG_LEVEL")
[[ -z $FEATURE_GATES ]] || common+=(--feature-gates="$FEATURE_GATES")

[[ $# -eq 2 ]] || usage
case $2 in
  etcd | kube-apiserver | kube-controller-manager | kube-scheduler) names=("$2") ;;
  all) names=(etcd kube-apiserver kube-controller-manager kube-scheduler) ;;
  *) usage ;;
esac
case $1 in start | stop | restart) ;; *) usage ;; esac
need_root
[[ $1 == stop || -e $SETTINGS ]] || die "no cluster is up here; run up.sh first"

if [[ $1 != start ]]; then
  # Last come, first gone: nobody loses what it depends on.
  for ((i = ${#names[@]} - 1; i >= 0; i--)); do
    stop "${names[i]}" 10
  done
fi
if [[ $1 != stop ]]; then
  for name in "${names[@]}"; do "start_$name"; done
fi
