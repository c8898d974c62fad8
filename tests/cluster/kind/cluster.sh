#!/usr/bin/env bash
# The same nodes in kind. Where docker's engine does not run, one of our own is started; without NODE_IMAGE the nodes' image
# is made here (node-image.sh), so nothing has to be pulled.
# usage: [NODE_IMAGE=kindest/node:...] cluster.sh up|down
#        cluster.sh load                 all image archives, into every node
#        cluster.sh exec COMMAND...      where the cluster's API server can be reached
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

config() {
  sed "s|SHARED|$SHARED|" "$HERE/kind/cluster.yaml"
  [[ -n $NODE_IMAGE ]] || cat "$HERE/kind/own-image.yaml"
}

# A network for pods, as the test cluster's own nodes have it, and kube-proxy.
network() {
  local node other config
  kubectl -n kube-system create serviceaccount kube-proxy >/dev/null
  kubectl create clusterrolebinding fairlead:kube-proxy --clusterrole=system:node-proxier \
    --serviceaccount=kube-system:kube-proxy >/dev/null
  config=$(proxy_kubeconfig)
  for node in $(kind_nodes); do
    cni "$(pods_of "$node")" | docker exec -i "$node" sh -c 'cat >/etc/cni/net.d/10-bridge.conflist'
    for other in $(kind_nodes); do
      [[ $other == "$node" ]] || docker exec "$node" ip route replace "$(pods_of "$other")" via "$(address_of "$other")"
    done
    docker exec -i "$node" sh -c 'cat >/etc/kubernetes/kube-proxy.conf' <<<"$config"
    docker exec -d "$node" sh -c 'exec kube-proxy --kubeconfig=/etc/kubernetes/kube-proxy.conf --proxy-mode=nftables \
      --hostname-override="$(hostname)" --conntrack-max-per-core=0 >/var/log/kube-proxy.log 2>&1'
  done
}

pods_of() { kubectl get node "$1" -o jsonpath='{.spec.podCIDR}'; }
address_of() { kubectl get node "$1" -o jsonpath='{.status.addresses[?(@.type=="InternalIP")].address}'; }

proxy_kubeconfig() {
  local token
  token=$(kubectl -n kube-system create token kube-proxy --duration=48h)
  kind get kubeconfig --internal --name "$NAME" >"$RUN/proxy.conf"
  kubectl --kubeconfig="$RUN/proxy.conf" config set-cluster "kind-$NAME" \
    --server="https://$(address_of "$NAME-control-plane"):6443" >/dev/null
  kubectl --kubeconfig="$RUN/proxy.conf" config set-credentials "kind-$NAME" --token="$token" >/dev/null
  kubectl --kubeconfig="$RUN/proxy.conf" config unset "users.kind-$NAME.client-certificate-data" >/dev/null
  kubectl --kubeconfig="$RUN/proxy.conf" config unset "users.kind-$NAME.client-key-data" >/dev/null
  cat "$RUN/proxy.conf"
}

cni() { # cni SUBNET
  cat <<JSON
{
  "cniVersion": "1.0.0",
  "name": "cluster",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
    "ipam": {
      "type": "host-local", "dataDir": "/run/cni-ipam",
      "ranges": [[{"subnet": "$1"}]], "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
JSON
}

load() {
  local archive
  for archive in "$IMAGES"/*.tar; do
    [[ $archive == *e2e* ]] || in_engine kind load image-archive --name "$NAME" "$archive" >&2
  done
}

up() {
  "$HERE/build.sh" kube runtime kind
  mkdir -p "$LOG" "$PID" "$IMAGES"
  for image in pause busybox; do
    [[ -e $IMAGES/lab.example_${image}_1.tar ]] || "$HERE/base-image.sh" "$image"
  done
  "$HERE/kind/engine.sh" start
  in_engine "$HERE/shared.sh" mount
  if [[ -n $(kind_nodes) ]]; then
    say "up already: $(kind_nodes | xargs)"
    return
  fi
  image=${NODE_IMAGE:-$OWN_NODE_IMAGE}
  if [[ -z $NODE_IMAGE ]] && ! in_engine docker image inspect "$image" >/dev/null 2>&1; then "$HERE/kind/node-image.sh"; fi
  config >"$RUN/kind.yaml"
  in_engine kind create cluster --name "$NAME" --image "$image" --config "$RUN/kind.yaml" --kubeconfig "$KUBECONFIG"
  if [[ -z $NODE_IMAGE ]]; then in_engine "$SCRIPT" network; fi
  in_engine kubectl wait --for=condition=Ready node --all --timeout=180s >&2
  # The chart's is the default.
  in_engine kubectl delete storageclass standard --ignore-not-found >&2
  load
}

need_root
action=${1:-}
[[ $# -eq 0 ]] || shift
case $action in
  up) up ;;
  network) network ;;
  load) load ;;
  exec) in_engine "$@" ;;
  down)
    # Without an engine there is no cluster.
    if in_engine docker info >/dev/null 2>&1; then in_engine kind delete cluster --name "$NAME" >&2; fi
    in_engine "$HERE/shared.sh" unmount
    "$HERE/kind/engine.sh" stop
    "$HERE/shared.sh" remove
    rm -rf --one-file-system "$RUN"
    ;;
  *) usage ;;
esac
