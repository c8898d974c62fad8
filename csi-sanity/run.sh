#!/usr/bin/env bash
# csi-sanity against a real `fairlead all`, for mount and for block, on the back end `file`, on `cinder` with a real
# OpenStack (FAIRLEAD_OPENSTACK: the directory with its clouds.yaml and the disks of its servers; FAIRLEAD_OPENSTACK_SERVER:
# the server that this machine is taken for), or on `storpool` with a simulated cluster (FAIRLEAD_STORPOOLSIM: its program).
# Every skipped case must stand in skips.txt with its reason, and every line there must be a case that was skipped.
# usage: csi-sanity/run.sh FAIRLEAD_BINARY [file|cinder|storpool]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../tests/lib.sh
. "$here/../tests/lib.sh"
driver=$(realpath "$1")
backend=${2:-file}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead
mkdir -p "$cache"
sanity=$cache/csi-sanity-$(sha256sum "$here/go.sum" | cut -c1-16)
if [[ ! -x $sanity ]]; then
  echo "building csi-sanity (about a minute, once)"
  (cd "$here" && go build -o "$sanity" github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity)
fi

# The settings of the back end, whose own files are in a directory.
settings() {
  local cloud=${FAIRLEAD_OPENSTACK:-$cache/openstack/run} server=${FAIRLEAD_OPENSTACK_SERVER:-}
  server=${server%%,*}
  case $backend in
    file) echo "{kind: file, directory: $1/volumes, limits: {perServer: 8}}" ;;
    cinder)
      [[ $server ]] || { echo "FAIRLEAD_OPENSTACK_SERVER names no server" >&2; return 1; }
      printf '{kind: cinder, cloudsFile: %s, cloud: csi, clusterId: sanity-%s, namePrefix: sanity-, ' \
        "$cloud/clouds.yaml" "$(date +%s%N)"
      # The volumes of csi-sanity are written by nobody while it cuts a group of them.
      printf 'consistentGroupTypes: [default-group], limits: {perServer: 8}, node: {server: %s, zone: nova, byId: %s}}' \
        "$server" "$cloud/nodes/$server"
      ;;
    storpool)
      printf '{kind: storpool, endpoint: "%s", tokenFile: %s, template: nvme, limits: {perServer: 8}, ' \
        "$(head -n 1 "$1/cluster")" "$1/token"
      printf 'node: {clientId: 1, byId: %s, byName: %s}}' "$1/devices/1/storpool-byid" "$1/devices/1/storpool"
      ;;
    *) echo "there is no back end $backend" >&2; return 1 ;;
  esac
}

# Starts what the back end needs, with its files in a directory.
start_cluster() {
  [[ $backend == storpool ]] || return 0
  mkdir "$1/devices"
  echo 4711 >"$1/token"
  "${FAIRLEAD_STORPOOLSIM:?names no program}" --clients 3 --token 4711 --devices "$1/devices" >"$1/cluster" &
  PIDS+=($!)
  wait_for 10 grep -q http "$1/cluster"
}

work_dir
failed=0
for kind in mount block; do
  run=$WORK/$kind
  mkdir -p "$run/volumes"
  start_cluster "$run"
  settings=$(settings "$run")
  cat >"$run/config.yaml" <<EOF
endpoint: unix://$run/csi.sock
http: off
log: {level: debug, format: json}
node:
  name: sanity-node
backends:
  here: $settings
EOF
  "$driver" all --config "$run/config.yaml" 2>"$run/driver.log" &
  PIDS+=($!)
  wait_for 10 test -S "$run/csi.sock"
  status=0
  "$sanity" -csi.endpoint "unix://$run/csi.sock" -csi.mountdir "$run/target" -csi.stagingdir "$run/staging" \
    -csi.testvolumeaccesstype "$kind" -csi.testvolumesize 1073741824 -csi.testnodevolumeattachlimit \
    -ginkgo.junit-report "$run/junit.xml" -ginkgo.no-color >"$run/sanity.log" 2>&1 || status=$?
  grep -E '^Ran |^(SUCCESS|FAIL)!' "$run/sanity.log" | sed "s/^/csi-sanity $backend $kind: /" || tail -n 40 "$run/sanity.log"
  if ((status)); then
    cat "$run/sanity.log"
    failed=1
  fi
  # One name a line; a container's skip stands for its cases by name too.
  grep -oE '<testcase name="[^"]*"[^>]*status="(skipped|pending)"' "$run/junit.xml" |
    sed -E 's/^<testcase name="\[It\] ([^"]*)".*/\1/; s/&#34;/"/g; s/&#39;/'"'"'/g; s/&amp;/\&/g' | sort >"$run/skipped"
  sed -nE "s/^($kind|both): (.*) # .*/\2/p" "$here/skips.txt" | sort >"$run/expected"
  if ! diff -u --label expected --label skipped "$run/expected" "$run/skipped"; then
    echo "the skipped cases ($kind) are not those of csi-sanity/skips.txt" >&2
    failed=1
  fi
  echo "csi-sanity $backend $kind: $(wc -l <"$run/skipped") skipped, each with its reason in csi-sanity/skips.txt"
  kill "${PIDS[-1]}"
  # It must end in order, too.
  wait "${PIDS[-1]}" || { echo "the driver ended with status $?" >&2; failed=1; }
  unset 'PIDS[-1]'
done
exit "$failed"
