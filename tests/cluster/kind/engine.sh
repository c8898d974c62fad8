#!/usr/bin/env bash
# Docker's engine for kind: the one that answers here, or else one of our own, in namespaces of its own.
# usage: engine.sh start|stop
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

answers() { in_engine docker info; }

# Docker gives privileged containers all capabilities that it knows. Where this machine lacks CAP_SYS_RESOURCE, runc refuses
# such a container, so it is taken out of what docker asks for.
runtime() {
  install -m 0755 /dev/stdin "$ENGINE/runtime" <<'SH'
#!/bin/bash
set -euo pipefail
previous=
for word in "$@"; do
  case $previous in
    -b | --bundle) file=$word/config.json ;;
    -p | --process) file=$word ;;
    *) file= ;;
  esac
  if [[ -n $file && -e $file ]]; then
    changed=$(jq -c 'walk(if type == "array" then map(select(. != "CAP_SYS_RESOURCE")) else . end)' "$file")
    printf '%s' "$changed" >"$file"
  fi
  previous=$word
done
exec runc "$@"
SH
}

start_engine() {
  "$HERE/../setup.sh" kind >&2
  mkdir -p "$ENGINE" "$LOG" "$PID"
  local options=(--data-root "$ENGINE/data" --exec-root "$ENGINE/exec" --pidfile "$ENGINE/docker.pid"
    --host "unix://$ENGINE/docker.sock" --cgroup-parent "$ENGINE_CGROUP" --storage-driver overlay2 --oom-score-adjust 0)
  if ! sys_resource; then
    runtime
    options+=(--add-runtime "limited=$ENGINE/runtime" --default-runtime limited)
  fi
  rm -f "$ENGINE/docker.pid"
  # What the test cluster has mounted is not for this engine to hold.
  # shellcheck disable=SC2016 # for the inner shell
  start engine unshare --net --mount --pid --fork --kill-child --mount-proc bash -c '
    ip link set lo up
    echo 1 >/proc/sys/net/ipv4/ip_forward
    if mountpoint --quiet "$1"; then umount --lazy "$1"; fi
    shift
    exec dockerd "$@"' engine "${SHARED%-kind}" "${options[@]}"
  wait_for 60 answers || { tail -n 20 "$LOG/engine.log" >&2; die "docker's engine does not start"; }
}

stop_engine() {
  local mount
  stop engine 30
  for mount in $(cgroup_mounts); do
    [[ ! -d $mount$ENGINE_CGROUP ]] || find "$mount$ENGINE_CGROUP" -depth -type d -exec rmdir {} +
  done
  rm -rf --one-file-system "$ENGINE"
}

need_root
case ${1:-} in
  start) answers >/dev/null 2>&1 || start_engine ;;
  stop) if own_engine; then stop_engine; fi ;;
  *) usage ;;
esac
