#!/usr/bin/env bash
# A node: network, mount, process and host name namespaces of its own, with containerd, kubelet and kube-proxy, and
# /var/lib, /var/log, /run and a cgroup of its own. The kernel, /dev and the rest of the files are this machine's.
# usage: node.sh up|down|kill N       start or stop node N (kill: a power cut; nothing is stopped or unmounted in order)
#        node.sh start|stop|restart N containerd|kubelet|kube-proxy
#        node.sh exec N COMMAND...    run a command in node N
#        node.sh logs N NAMESPACE POD what a pod has written; also when the node is off
#        node.sh load N               load the image archives that node N does not have
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# --- The namespaces, and the network between them

make_cgroup() {
  local mount dir file
  for mount in $(cgroup_mounts); do
    for dir in $CGROUP "$CGROUP/node-$N"; do
      mkdir -p "$mount$dir"
      # A cpuset of version 1 starts out empty, and takes no process then.
      for file in cpuset.cpus cpuset.mems; do
        [[ -e $mount$dir/tasks && -e $mount$dir/$file && -z $(<"$mount$dir/$file") ]] || continue
        cat "$mount$(dirname "$dir")/$file" >"$mount$dir/$file"
      done
    done
    # In version 2, a group has the controllers that its parents hand down.
    if [[ -e $mount/cgroup.subtree_control ]]; then
      for dir in / $CGROUP/; do
        sed -E 's/[a-z_]+/+&/g' "$mount${dir}cgroup.controllers" >"$mount${dir}cgroup.subtree_control"
      done
    fi
  done
}

remove_cgroup() {
  local mount
  for mount in $(cgroup_mounts); do
    [[ ! -d $mount$CGROUP/node-$N ]] || find "$mount$CGROUP/node-$N" -depth -type d -exec rmdir {} + || return 1
  done
}

make_namespaces() {
  rm -rf --one-file-system "$DIR/run" # as after a boot
  mkdir -p "$DIR"/{lib,log,run,etc}
  # shellcheck disable=SC2016  # expanded by the inner shell
  start "node-$N" unshare --net --uts --mount --pid --fork --kill-child=KILL --mount-proc --propagation private sh -ec '
    hostname "$1"
    mount --bind "$2/lib" /var/lib
    mount --bind "$2/log" /var/log
    mount --bind "$2/run" /run
    mount --make-rshared /
    ip link set lo up
    touch /run/ready
    exec "$3"' sh "node-$N" "$DIR" "$BIN/pause"
  wait_for 10 test -e "$DIR/run/ready" || die "node $N did not start; see $LOG/node-$N.log"
}

make_network() {
  local other
  ip link add "fairlead-$N" type veth peer name eth0 netns "$(node_pid "$N")"
  ip link set "fairlead-$N" master "$BRIDGE" up
  in_node "$N" sh -ec "
    ip addr add $ADDRESS/24 dev eth0
    ip link set eth0 up
    ip route add default via $API_ADDRESS
    echo 1 >/proc/sys/net/ipv4/ip_forward
    echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet"
  for other in 1 2 3 4 5 6 7 8 9; do
    [[ $other -eq $N ]] || in_node "$N" ip route add "$POD_NET.$other.0/24" via "$NODE_NET.$((10 + other))"
  done
  ip route replace "$POD_NET.$N.0/24" via "$ADDRESS"
}

remove_network() {
  ip route del "$POD_NET.$N.0/24" 2>/dev/null || true
  ip link del "fairlead-$N" 2>/dev/null || true
}

# FORWARD_PORTS: a connection to the node's own loopback is sent to this machine's bridge, and there to its loopback.
forward_ports() {
  local ports
  [[ -n $FORWARD_PORTS ]] || return 0
  # shellcheck disable=SC2086  # a list of ports
  ports=$(printf '%s, ' $FORWARD_PORTS)
  echo 1 >"/proc/sys/net/ipv4/conf/$BRIDGE/route_localnet"
  nft -f - <<NFT
table ip fairlead
delete table ip fairlead
table ip fairlead {
  chain prerouting {
    type nat hook prerouting priority -100
    iifname "$BRIDGE" ip daddr $API_ADDRESS tcp dport { ${ports%, } } dnat to 127.0.0.1
  }
}
NFT
  in_node "$N" nft -f - <<NFT
table ip fairlead
delete table ip fairlead
table ip fairlead {
  chain output {
    type nat hook output priority -110
    ip daddr 127.0.0.1 tcp dport { ${ports%, } } dnat to $API_ADDRESS
  }
  chain postrouting {
    type nat hook postrouting priority 90
    ip daddr $API_ADDRESS tcp dport { ${ports%, } } ip saddr 127.0.0.0/8 snat to $ADDRESS
  }
}
NFT
}

# --- The node's programs

start_in_node() { # start_in_node NAME COMMAND...
  local name=$1
  shift
  start "$name-$N" nsenter --target "$(node_pid "$N")" --mount --uts --net --pid -- "$@"
}

start_containerd() {
  containerd_config
  start_in_node containerd "$BIN/containerd" --config "$DIR/etc/containerd.toml"
}

start_kubelet() {
  "$HERE/pki.sh" node "$N" "$DIR/etc/kubelet.conf"
  kubelet_config
  start_in_node kubelet "$BIN/kubelet" --v="$LOG_LEVEL" \
    --config="$DIR/etc/kubelet.yaml" \
    --kubeconfig="$DIR/etc/kubelet.conf" \
    --hostname-override="node-$N" \
    --node-ip="$ADDRESS" \
    --node-labels="topology.kubernetes.io/zone=zone-$N" \
    --volume-plugin-dir=/var/lib/kubelet/volumeplugins
}

start_kube-proxy() {
  kube_proxy_config
  start_in_node kube-proxy "$BIN/kube-proxy" --config="$DIR/etc/kube-proxy.yaml"
}

ctr() { in_node "$N" "$BIN/ctr" --address /run/containerd/containerd.sock --namespace k8s.io "$@"; }

load() {
  local archive loaded
  wait_for 30 ctr version || die "containerd of node $N does not answer; see $LOG/containerd-$N.log"
  for archive in "$IMAGES"/*.tar; do
    loaded=$DIR/etc/loaded-${archive##*/}
    if [[ ! -e $archive || $loaded -nt $archive ]]; then continue; fi
    ctr images import --local --no-unpack=false "$archive" >>"$LOG/images-$N.log" 2>&1 ||
      { tail -n 3 "$LOG/images-$N.log" >&2; die "node $N did not take $archive"; }
    touch "$loaded"
  done
}

# --- Life and death

up() {
  if ! alive "node-$N"; then
    rm -f "$PID"/{containerd,kubelet,kube-proxy}-"$N"
    remove_network # of a node that died by itself
    make_cgroup
    make_namespaces
    make_network
  fi
  forward_ports
  start_containerd
  load
  start_kubelet
  start_kube-proxy
}

# With the namespace's process 1, the kernel kills all of the node's processes.
cut_power() {
  if alive "node-$N"; then kill -KILL "$(node_pid "$N")"; fi
  wait_for 30 dead || die "processes of node $N do not end; are they waiting for storage?"
  rm -f "$PID"/{containerd,kubelet,kube-proxy,node}-"$N"
  remove_network
  # A group is busy for a moment after its last process.
  wait_for 10 remove_cgroup || die "the cgroups of node $N do not go away"
}

dead() { ! alive "node-$N"; }

down() {
  local name
  for name in kubelet kube-proxy containerd; do stop "$name-$N"; done
  cut_power
}

program() {
  case ${1:-} in containerd | kubelet | kube-proxy) ;; *) usage ;; esac
}

[[ $# -ge 2 ]] || usage
action=$1
N=$2
shift 2
[[ $N =~ ^[1-9]$ ]] || die "a node is a number from 1 to 9, not '$N'"
need_root
DIR=$RUN/node-$N
ADDRESS=$NODE_NET.$((10 + N))
# shellcheck source=node-config.sh
. "$HERE/node-config.sh"
case $action in
  up) [[ -e $SETTINGS ]] || die "no cluster is up here; run up.sh first" ;;
  load | exec | start | stop | restart) alive "node-$N" || die "node $N is not up" ;;
esac
case $action in
  up) up ;;
  down) down ;;
  kill) cut_power ;;
  load) load ;;
  exec) [[ $# -gt 0 ]] || usage; in_node "$N" "$@" ;;
  logs) [[ $# -eq 2 ]] || usage; cat "$DIR/log/pods/$1_$2_"*/*/*.log ;;
  start) program "$@"; "start_$1" ;;
  stop) program "$@"; stop "$1-$N" ;;
  restart) program "$@"; stop "$1-$N"; "start_$1" ;;
  *) usage ;;
esac
