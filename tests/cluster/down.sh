#!/usr/bin/env bash
# Stops the cluster, and leaves nothing running, mounted or attached. Its state stays for the next up.sh.
# usage: down.sh [--wipe]    --wipe: also removes the cluster's state and the shared storage (not programs, not images)
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# One fault must not keep the rest from being cleaned up, nor be forgotten.
failed=0
try() { "$@" || { say "failed: $*"; failed=1; }; }

stop_nodes() {
  local file pids=() pid status=0
  for file in "$PID"/node-*; do
    [[ -e $file ]] || continue
    "$HERE/node.sh" down "${file##*/node-}" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || status=1; done
  return "$status"
}

remove_network() {
  if ip link show "$BRIDGE" >/dev/null 2>&1; then ip link del "$BRIDGE"; fi
  if nft list table ip fairlead >/dev/null 2>&1; then nft delete table ip fairlead; fi
}

remove_cgroups() {
  local mount
  for mount in $(cgroup_mounts); do
    [[ ! -d $mount$CGROUP ]] || find "$mount$CGROUP" -depth -type d -exec rmdir {} + || return 1
  done
}

restore_sysctls() {
  local key value
  [[ -e $RUN/sysctl ]] || return 0
  while read -r key value; do echo "$value" >"/proc/sys/$key" || return 1; done <"$RUN/sysctl"
  rm "$RUN/sysctl"
}

[[ $# -eq 0 || $* == --wipe ]] || usage
need_root
try stop_nodes
try "$HERE/control.sh" stop all
try "$HERE/shared.sh" unmount
try remove_network
try remove_cgroups
try restore_sysctls
((failed == 0)) || die "something is left, see above; ask again once it is free"
rm -f "$SETTINGS"
if [[ ${1:-} == --wipe ]]; then
  "$HERE/shared.sh" remove
  ! findmnt --raw --noheadings --output TARGET | grep -F "$RUN/" || die "not removed, because something is mounted in it: $RUN"
  rm -rf --one-file-system "$RUN"
fi
say "down in $SECONDS s"
