#!/usr/bin/env bash
# Runs the end-to-end suite in kind, and takes the cluster down afterwards (KEEP=1: leaves it). What breaks nodes and the API
# server needs the test cluster's own, so it is skipped, which is said.
# usage: e2e.sh [OPTION...]    options for the suite, as for tests/e2e/run.sh
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
cd "$HERE/../.."

end() {
  local status=$?
  if [[ -n ${KEEP:-} ]]; then
    say "the cluster stays up: tests/cluster/kind/cluster.sh exec kubectl ...; tests/cluster/kind/cluster.sh down takes it down"
  else
    "$HERE/kind/cluster.sh" down || status=1
  fi
  exit "$status"
}

# Built before the cluster is up, and where there is a network.
cargo test --locked --all-features --test e2e --no-run
"$HERE/build.sh"
KIND='' "$HERE/driver-image.sh"
trap end EXIT
"$HERE/kind/cluster.sh" up
in_engine "$HERE/sidecars.sh"
in_engine "$HERE/chart.sh" install >/dev/null
in_engine env FAIRLEAD_E2E_IMAGE=lab.example/busybox:1 cargo test --locked --all-features --test e2e -- "$@"
