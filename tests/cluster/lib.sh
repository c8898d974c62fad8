# Shared by the scripts of the test cluster: settings and nodes.
# shellcheck shell=bash
# shellcheck disable=SC2034  # most names are used by the scripts that read this file

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../processes.sh
. "$HERE/../processes.sh"
HOME_DIR=${FAIRLEAD_CLUSTER_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/cluster}
BIN=$HOME_DIR/bin       # the programs
IMAGES=$HOME_DIR/images # image archives; every node loads all of them
KIND=${KIND:-}          # set: the cluster is kind's (kind/cluster.sh), not this directory's own
RUN=$HOME_DIR/run${KIND:+-kind} # one cluster's state: database, certificates, logs, the nodes' file systems
LOG=$RUN/log
PID=$RUN/pid
PKI=$RUN/pki
SETTINGS=$RUN/settings

# The settings of the cluster that is up win over the environment's: its parts must agree with each other.
NODES=${NODES:-2}
FORWARD_PORTS=${FORWARD_PORTS:-}                   # this machine's 127.0.0.1:PORT, on every node's 127.0.0.1
FEATURE_GATES=${FEATURE_GATES:-}                   # A=true,B=false for all of Kubernetes' programs
API_SERVER_ARGS=${API_SERVER_ARGS:-}               # more flags, separated by spaces
CONTROLLER_MANAGER_ARGS=${CONTROLLER_MANAGER_ARGS:-}
LOG_LEVEL=${LOG_LEVEL:-2}
# shellcheck source=/dev/null
[[ ! -r $SETTINGS ]] || . "$SETTINGS"

BRIDGE=fairlead0
NODE_NET=10.199.0     # /24: this machine and the API server are .1, node N is .(10+N)
POD_NET=10.244        # /16: the pods of node N are in .N.0/24
SERVICE_NET=10.96.0   # /24
API_ADDRESS=$NODE_NET.1
CGROUP=/fairlead
SHARED=/srv/fairlead-cluster${KIND:+-kind} # storage that every node sees, in kind's as /srv/fairlead-cluster
DRIVER_IMAGE=lab.example/fairlead:dev
BASE_IMAGE=lab.example/debian:slim

export PATH=$BIN:$PATH:/usr/sbin:/sbin KUBECONFIG=$RUN/admin.conf

need_root() { [[ $EUID -eq 0 ]] || die "root is needed: nodes are namespaces, with mounts and cgroups of their own (try sudo)"; }

# Whether CAP_SYS_RESOURCE (24, include/uapi/linux/capability.h) can be had. Virtual machines of CI services lack it.
sys_resource() { (($(awk '/^CapBnd/ { print "0x" $2 }' /proc/self/status) & 1 << 24)); }

# --- Nodes

running_nodes() {
  local file
  for file in "$PID"/node-*; do
    if [[ -e $file ]] && alive "${file##*/}"; then echo "${file##*/node-}"; fi
  done
}

node_pid() { # process 1 of node N, by its number on this machine
  local pid
  read -r pid _ <"$PID/node-$1"
  tr -d ' ' <"/proc/$pid/task/$pid/children"
}

in_node() { # in_node N COMMAND...
  local pid
  pid=$(node_pid "$1")
  shift
  nsenter --target "$pid" --mount --uts --net --pid -- "$@"
}

load_images() { # into every running node, at the same time
  local n pids=() pid failed=0
  if [[ -n $KIND ]]; then
    "$HERE/kind/cluster.sh" load
    return
  fi
  for n in $(running_nodes); do
    "$HERE/node.sh" load "$n" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return "$failed"
}

# --- cgroups: one hierarchy (version 2), or one for each controller (version 1), or both

cgroup_mounts() { awk '$3 ~ /^cgroup2?$/ && $2 ~ "^/sys/fs/cgroup" { print $2 }' /proc/mounts; }
