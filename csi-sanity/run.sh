#!/usr/bin/env bash
# csi-sanity against a real `fairlead all`, for mount and for block, on these back ends:
#   file        image files in a directory
#   openstack, rackspace, cyclades
#               `cinder` on a simulated cloud of that kind (tests/cloudsim; FAIRLEAD_CLOUDSIM: its binary)
#   cinder      `cinder` on a real OpenStack (FAIRLEAD_OPENSTACK: the directory with its clouds.yaml and the disks of its
#               servers; FAIRLEAD_OPENSTACK_SERVER: two servers, joined by a comma, that this machine is taken for)
#   storpool    a simulated cluster (tests/storpoolsim; FAIRLEAD_STORPOOLSIM: its binary)
# A simulated cloud judges the end, too: a volume that two servers had, or that is left, is a failure.
# Every skipped case must stand in skips.txt with its reason, and every line there must be a case that was skipped. What a
# line there leaves out is not run at all.
# usage: csi-sanity/run.sh FAIRLEAD_BINARY [BACKEND...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../tests/lib.sh
. "$here/../tests/lib.sh"
driver=$(realpath "$1")
backends=("${@:2}")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead
mkdir -p "$cache"
sanity=$cache/csi-sanity-$(sha256sum "$here/go.sum" | cut -c1-16)
if [[ ! -x $sanity ]]; then
  echo "building csi-sanity (about a minute, once)"
  (cd "$here" && go build -o "$sanity" github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity)
fi

# server BACKEND DIRECTORY KIND: the one that this machine is taken for, where a back end has such.
server() {
  case $1 in
    # One for each run: what another one attaches meanwhile counts against its cap.
    cinder) cut -d, -f"$([[ $3 == mount ]] && echo 1 || echo 2)" <<<"$FAIRLEAD_OPENSTACK_SERVER" ;;
    # The third line that a simulated cloud tells.
    openstack | rackspace | cyclades) sed -n 3p "$2/cloud.out" ;;
  esac
}

# settings BACKEND DIRECTORY SERVER: of a back end whose own files are in this directory.
settings() {
  case $1 in
    file) echo "{kind: file, directory: $2/volumes, limits: {perServer: 8}}" ;;
    cinder) cinder openstack "${FAIRLEAD_OPENSTACK:-$cache/openstack/run}" "$3" ;;
    openstack | rackspace | cyclades) cinder "$1" "$2/cloud" "$3" ;;
    storpool)
      printf '{kind: storpool, endpoint: "%s", tokenFile: %s, template: nvme, limits: {perServer: 8}, ' \
        "$(head -n 1 "$2/cloud.out")" "$2/token"
      printf 'node: {clientId: 1, byId: %s, byName: %s}}' "$2/devices/1/storpool-byid" "$2/devices/1/storpool"
      ;;
    *) echo "there is no back end $1" >&2; return 1 ;;
  esac
}

# cinder DIALECT DIRECTORY SERVER: of a cloud whose clouds.yaml and disks are in this directory.
cinder() {
  # The volumes of csi-sanity are written by nobody while it cuts a group of them.
  local keys='consistentGroupTypes: [default-group]' node=', zone: nova'
  [[ $1 == openstack ]] || { keys="dialect: $1" node=''; }
  printf '{kind: cinder, cloudsFile: %s, cloud: csi, clusterId: sanity-%s, namePrefix: sanity-, %s, ' \
    "$2/clouds.yaml" "$(date +%s%N)" "$keys"
  printf 'limits: {perServer: 8}, node: {byId: %s%s}}' "$2/nodes/$3" "$node"
}

# The bytes of a volume that a back end can make.
size() {
  case $1 in
    rackspace) echo $((75 << 30)) ;;
    *) echo $((1 << 30)) ;;
  esac
}

# listed BACKEND KIND [MARK]: the cases in skips.txt, one name or beginning of names a line; with the mark "!" those that are
# left out.
listed() { sed -nE "s/^${3:-!?}($2|both)(@([a-z]+,)*$1(,[a-z]+)*)?: (.*) # .*/\5/p" "$here/skips.txt" | sort; }

# expand CASES: of the lines that it is given, those that end in "*" become all cases of which they are the beginning. One
# that is the beginning of none stays as it is.
expand() {
  awk 'FILENAME != "-" { cases[++count] = $0; next }
    !/\*$/ { print; next }
    { start = substr($0, 1, length($0) - 1); found = 0
      for (at = 1; at <= count; at++) if (index(cases[at], start) == 1) { print cases[at]; found = 1 }
      if (!found) print }' "$1" - | sort -u
}

# cases JUNIT [STATUS]: the names of its cases, or of those with such a status (a pattern), one a line. A container's skip stands
# for its cases by name too.
cases() {
  grep -oE "<testcase name=\"[^\"]*\"[^>]*status=\"${2:-[a-z]+}\"" "$1" |
    sed -E 's/^<testcase name="\[It\] ([^"]*)".*/\1/; s/&#34;/"/g; s/&#39;/'"'"'/g; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g' |
    { grep -v '^<testcase' || true; } | sort
}

has_lines() { (($(wc -l <"$2") >= $1)); }

# Starts the simulated cloud that a back end needs, if it needs one.
start_cloud() {
  case $1 in
    openstack | rackspace | cyclades)
      mkdir "$2/cloud"
      "${FAIRLEAD_CLOUDSIM:?names no binary of the simulated cloud}" --dialect "$1" --servers 1 --home "$2/cloud" \
        >"$2/cloud.out" 2>"$2/cloud.log" &
      PIDS+=($!)
      wait_for 10 has_lines 3 "$2/cloud.out"
      ;;
    storpool)
      mkdir "$2/devices"
      echo 4711 >"$2/token"
      "${FAIRLEAD_STORPOOLSIM:?names no binary of the simulated cluster}" --clients 3 --token 4711 --devices "$2/devices" \
        >"$2/cloud.out" 2>"$2/cloud.log" &
      PIDS+=($!)
      wait_for 10 has_lines 1 "$2/cloud.out"
      ;;
  esac
}

# Ends the process that was started last, which must end in order.
end() {
  kill "${PIDS[-1]}"
  wait "${PIDS[-1]}" || { echo "$1 ended with status $?" >&2; failed=1; }
  unset 'PIDS[-1]'
}

# one BACKEND KIND
one() {
  local backend=$1 kind=$2 run=$WORK/$1-$2 clouds=${#PIDS[@]} began=$SECONDS server settings status=0 left_out=()
  mkdir -p "$run/volumes"
  start_cloud "$backend" "$run"
  server=$(server "$backend" "$run" "$kind")
  settings=$(settings "$backend" "$run" "$server")
  cat >"$run/config.yaml" <<EOF
endpoint: unix://$run/csi.sock
http: off
log: {level: debug, format: json}
node:
  name: sanity-node
backends:
  here: $settings
EOF
  "$driver" all --config "$run/config.yaml" ${server:+--server-id "here=$server"} 2>"$run/driver.log" &
  PIDS+=($!)
  wait_for 10 test -S "$run/csi.sock"
  # Their names as regular expressions.
  mapfile -t left_out < <(listed "$backend" "$kind" '!' |
    sed -E 's/[][().*+?^${}|\\]/\\&/g; s/\\\*$/.*/; s/^/-ginkgo.skip=/')
  "$sanity" -csi.endpoint "unix://$run/csi.sock" -csi.mountdir "$run/target" -csi.stagingdir "$run/staging" \
    "${left_out[@]}" -csi.testvolumeaccesstype "$kind" -csi.testvolumesize "$(size "$backend")" -csi.testnodevolumeattachlimit \
    -ginkgo.junit-report "$run/junit.xml" -ginkgo.no-color >"$run/sanity.log" 2>&1 &
  PIDS+=($!)
  # So that a signal is heard meanwhile.
  wait "${PIDS[-1]}" || status=$?
  unset 'PIDS[-1]'
  grep -E '^Ran |^(SUCCESS|FAIL)!' "$run/sanity.log" | sed "s/^/csi-sanity $backend $kind: /" || tail -n 40 "$run/sanity.log"
  if ((status)); then
    cat "$run/sanity.log"
    failed=1
  fi
  cases "$run/junit.xml" >"$run/cases"
  cases "$run/junit.xml" '(skipped|pending)' >"$run/skipped"
  listed "$backend" "$kind" | expand "$run/cases" >"$run/expected"
  if ! diff -u --label expected --label skipped "$run/expected" "$run/skipped"; then
    echo "the skipped cases ($kind) are not those of csi-sanity/skips.txt" >&2
    failed=1
  fi
  end "the driver"
  # For those who look through all logs.
  [[ ! ${FAIRLEAD_TEST_LOGS:-} ]] || cp "$run/driver.log" "$FAIRLEAD_TEST_LOGS/sanity-$backend-$kind"
  if ((${#PIDS[@]} > clouds)); then
    end "the cloud"
    cat "$run/cloud.log" >&2
  fi
  echo "csi-sanity $backend $kind: $(wc -l <"$run/skipped") skipped, each with its reason in csi-sanity/skips.txt;" \
    "$((SECONDS - began)) s"
}

[[ " ${backends[*]} " != *" cinder "* || ${FAIRLEAD_OPENSTACK_SERVER:-} == ?*,?* ]] ||
  { echo "FAIRLEAD_OPENSTACK_SERVER does not name two servers" >&2; exit 1; }

# The same in a process of its own, which takes its own processes along when it ends.
alone() {
  PIDS=()
  # None is left where all went well. Else nobody waits for their orderly end: what they mounted and attached, clean_up finds.
  trap 'kill -KILL "${PIDS[@]}" 2>/dev/null && wait || true' EXIT
  trap 'exit 143' INT TERM
  failed=0
  one "$@"
  exit "$failed"
}

# All at once: most of the time is waiting for a cloud.
work_dir
runs=()
for backend in "${backends[@]:-file}"; do
  for kind in mount block; do
    (alone "$backend" "$kind") >"$WORK/$backend-$kind.out" 2>&1 &
    PIDS+=($!)
    runs+=("$backend-$kind")
  done
done
status=0
for at in "${!runs[@]}"; do
  wait "${PIDS[at]}" || status=1
  cat "$WORK/${runs[at]}.out"
done
PIDS=()
exit "$status"
