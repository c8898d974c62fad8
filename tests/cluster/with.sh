#!/usr/bin/env bash
# Runs a command against the test cluster with the chart installed, and takes the cluster down afterwards (KEEP=1: leaves it).
# usage: with.sh COMMAND...
set -euo pipefail
cd "$(dirname "$0")"
(($#)) || { sed -n '2,3s/^# //p' "$0" >&2; exit 64; }

end() {
  local status=$?
  if [[ -z ${KEEP:-} ]]; then
    ./down.sh --wipe || status=1
  else
    echo "the cluster stays up: eval \"\$(tests/cluster/up.sh)\"; tests/cluster/down.sh takes it down" >&2
  fi
  exit "$status"
}

trap end EXIT
settings=$(./up.sh)
eval "$settings"
./sidecars.sh
./driver-image.sh
./chart.sh install >/dev/null
export FAIRLEAD_E2E_IMAGE=lab.example/busybox:1 FAIRLEAD_E2E_SCRIPTS=$PWD
cd ../..
"$@"
