#!/usr/bin/env bash
# Starts a real Kubernetes on this machine: the control plane as plain processes, and NODES nodes as sets of namespaces.
# Asked again, it starts what is not running. Prints how to use it: eval "$(tests/cluster/up.sh)"
# usage: [NODES=2] [FORWARD_PORTS="15000 18774"] [FEATURE_GATES=X=true] [LOG_LEVEL=2] up.sh
#        [API_SERVER_ARGS=...] [CONTROLLER_MANAGER_ARGS=...]
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# What the kubelet sets for the whole machine; down.sh puts it back.
SYSCTLS=(vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes)

save_settings() {
  local key
  declare -p NODES FORWARD_PORTS FEATURE_GATES API_SERVER_ARGS CONTROLLER_MANAGER_ARGS LOG_LEVEL >"$SETTINGS"
  for key in "${SYSCTLS[@]}"; do
    [[ ! -e /proc/sys/$key ]] || echo "$key $(<"/proc/sys/$key")"
  done >"$RUN/sysctl"
}

make_bridge() {
  if ! ip link show "$BRIDGE" >/dev/null 2>&1; then
    ip link add "$BRIDGE" type bridge
    ip addr add "$API_ADDRESS/24" dev "$BRIDGE"
    ip link set "$BRIDGE" up
  fi
}

start_nodes() {
  local n pids=() pid
  for n in $(seq "$NODES"); do
    "$HERE/node.sh" up "$n" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || die "a node did not start"; done
}

api_ready() { alive kube-apiserver && kubectl get --raw /readyz; }

# A node that was down is still "Ready" for some 40 seconds: its lease must have been renewed since this script began.
renewed() { # renewed N
  [[ $(kubectl -n kube-node-lease get lease "node-$1" -o jsonpath='{.spec.renewTime}') > $began ]]
}

[[ $# -eq 0 ]] || usage
need_root
[[ $NODES =~ ^[1-9]$ ]] || die "NODES is a number from 1 to 9, not '$NODES'"
"$HERE/../setup.sh" cluster >&2
[[ -x $BIN/kube && -x $BIN/containerd ]] || die "the programs are not built; run build.sh first"
[[ -e $SETTINGS ]] || "$HERE/able.sh"
began=$(date -u +%FT%T)
mkdir -p "$LOG" "$PID" "$IMAGES"
if [[ ! -e $SETTINGS ]]; then save_settings; fi
if [[ ! -e $RUN/admin.conf ]]; then
  "$HERE/pki.sh" cluster >"$LOG/pki.log" 2>&1 || { tail -n 20 "$LOG/pki.log" >&2; die "no certificates"; }
fi
"$HERE/shared.sh" mount
make_bridge
"$HERE/control.sh" start all
for image in pause busybox; do
  [[ -e $IMAGES/lab.example_${image}_1.tar ]] || "$HERE/base-image.sh" "$image"
done
before=$(running_nodes)
say "starting $NODES nodes and loading their images ($SECONDS s)"
start_nodes
wait_for 120 api_ready || { tail -n 20 "$LOG/kube-apiserver.log" >&2; die "the API server does not get ready"; }
# kubeadm gives the API server's certificate at the kubelets no group: without this, logs and exec are forbidden.
kubectl get clusterrolebinding fairlead-cluster:kubelet-client >/dev/null 2>&1 ||
  kubectl create clusterrolebinding fairlead-cluster:kubelet-client \
    --clusterrole=system:kubelet-api-admin --user=kube-apiserver-kubelet-client >/dev/null
say "waiting for the nodes ($SECONDS s)"
for n in $(running_nodes); do
  grep -qxF "$n" <<<"$before" || wait_for 60 renewed "$n" || die "the kubelet of node $n does not report; see $LOG/kubelet-$n.log"
done
kubectl wait --for=condition=Ready node --all --timeout=120s >&2
# Pods are refused before it is there.
wait_for 60 kubectl -n default get serviceaccount default
say "up in $SECONDS s: shared storage of all nodes in $SHARED, logs in $LOG"
echo "export KUBECONFIG=$KUBECONFIG PATH=$BIN:\$PATH"
