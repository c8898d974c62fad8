#!/usr/bin/env bash
# Whether this machine can be a cluster's nodes: tries what they need and undoes it, and says all that is missing.
# usage: able.sh
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

able() { # able WHAT COMMAND...
  local what=$1 told
  shift
  told=$("$@" 2>&1) || missing+=("$what: ${told:-no reason was given}")
}

namespaces() { unshare --mount --net --pid --uts --fork true; }

cgroups() {
  local mount mounts
  mounts=$(cgroup_mounts)
  [[ -n $mounts ]] || { echo "no control group file system is mounted in /sys/fs/cgroup"; return 1; }
  for mount in $mounts; do mkdir "$mount/$probe" && rmdir "$mount/$probe" || return 1; done
}

overlay() {
  mkdir -p "$work"/{lower,upper,work,merged} &&
    unshare --mount mount -t overlay overlay -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/work" "$work/merged"
}

# In a network namespace of their own, with which they go.
links() { unshare --net ip link add "$BRIDGE" type bridge && unshare --net ip link add one type veth peer name other; }
filter() { unshare --net nft add table ip fairlead; }
loops() { losetup --find; }
xfs() {
  truncate --size 512M "$work/xfs" && mkfs.xfs -q -m reflink=1 "$work/xfs" && mkdir -p "$work/mounted" &&
    mount -o loop "$work/xfs" "$work/mounted" && umount "$work/mounted"
}

[[ $# -eq 0 ]] || usage
need_root
"$HERE/../setup.sh" cluster >&2
mkdir -p "$HOME_DIR"
work=$(mktemp -d "$HOME_DIR/.able.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
probe=fairlead-able-$$
missing=()
able "namespaces (mount, net, pid, uts)" namespaces
able "control groups" cgroups
able "overlay mounts in $HOME_DIR" overlay
able "bridges and veth pairs" links
able "nftables" filter
able "loop devices" loops
able "XFS with reflinks on a loop device" xfs
((${#missing[@]} == 0)) || die "this machine cannot run the test cluster, which needs a Linux of its own (a virtual machine or a
privileged container), because these do not work:
$(printf '  %s\n' "${missing[@]}")"
