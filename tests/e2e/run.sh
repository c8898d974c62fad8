#!/usr/bin/env bash
# Runs the end-to-end suite on the project's own test cluster, and takes the cluster down afterwards (KEEP=1: leaves it).
# usage: run.sh [--full] [OPTION...]    options for the suite: part of a test's name, --list, --test-threads=2
#   --full    the slow tests too, and then Kubernetes' own storage tests
set -euo pipefail
cd "$(dirname "$0")/../.."
cluster=tests/cluster

full=
if [[ ${1:-} == --full ]]; then full=1; shift; fi

end() {
  local status=$?
  if [[ -z ${KEEP:-} ]]; then
    "$cluster/down.sh" --wipe || status=1
  else
    echo "the cluster stays up: eval \"\$($cluster/up.sh)\"; $cluster/down.sh takes it down" >&2
  fi
  exit "$status"
}

# Built before the cluster is up: it would share the processors.
cargo test --locked --test e2e --no-run
trap end EXIT
settings=$("$cluster/up.sh")
eval "$settings"
"$cluster/sidecars.sh"
"$cluster/driver-image.sh"
"$cluster/chart.sh" install >/dev/null
export FAIRLEAD_E2E_IMAGE=lab.example/busybox:1 FAIRLEAD_E2E_SCRIPTS=$PWD/$cluster
cargo test --locked --test e2e -- ${full:+--include-ignored} "$@"
if [[ -n $full ]]; then tests/e2e/upstream.sh; fi
