#!/usr/bin/env bash
# The memory of the cluster's processes and of what runs in its pods: proportional set size, in MiB.
# usage: mem.sh
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

total=0
line() { # line NAME PID...: a process may end while it is read
  local name=$1 mib
  shift
  mib=$(for pid in "$@"; do cat "/proc/$pid/smaps_rollup" 2>/dev/null || true; done |
    awk '/^Pss:/ { kib += $2 } END { print int(kib / 1024) }')
  total=$((total + mib))
  printf '%7d  %s\n' "$mib" "$name"
}

[[ $# -eq 0 ]] || usage
need_root
for file in "$PID"/*; do
  alive "${file##*/}" || continue
  read -r leader _ <"$file"
  # nsenter and unshare lead the group of the program that they start.
  mapfile -t group < <(pgrep --pgroup "$leader")
  line "${file##*/}" "${group[@]}"
done
mapfile -t shims < <(pgrep --full "^$BIN/containerd-shim-runc-v2 ")
line "containerd's shims" "${shims[@]}"
for n in $(running_nodes); do
  mapfile -t pods < <(find "$(cgroup_mounts | sed q)$CGROUP/node-$n" -name cgroup.procs -exec cat {} + | sort -u)
  line "pods of node-$n" "${pods[@]}"
done
printf '%7d  total\n' "$total"
