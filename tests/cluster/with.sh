#!/usr/bin/env bash
# Runs a command against the test cluster with the chart installed, and leaves the cluster as it was before: up, down with
# its state, or gone. KEEP=1 leaves it up.
# usage: with.sh COMMAND...
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$HERE"
(($#)) || usage
# Somebody's own: what is in it is not for a test to wipe.
keep=${KEEP:-}
if alive kube-apiserver; then
  keep=1
else
  # What a run left that was killed half-way.
  "$HERE/down.sh"
fi
how=()
[[ -e $RUN/admin.conf ]] || how=(--wipe)

end() {
  local status=$?
  if [[ -n $keep ]]; then
    say "the cluster stays up: eval \"\$(tests/cluster/up.sh)\"; tests/cluster/down.sh takes it down"
  else
    "$HERE/down.sh" "${how[@]}" || status=1
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
