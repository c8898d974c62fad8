#!/usr/bin/env bash
# Runs the end-to-end suite on the project's own test cluster, which is left as it was before (KEEP=1: up).
# usage: run.sh [--full] [OPTION...]    options for the suite: part of a test's name, --list, --test-threads=2
#   --full    the slow tests too, and then Kubernetes' own storage tests
set -euo pipefail
cd "$(dirname "$0")/../.."

full=
if [[ ${1:-} == --full ]]; then full=1; shift; fi

# Built before the cluster is up: it would share the processors.
cargo test --locked --all-features --test e2e --no-run
suite=(cargo test --locked --all-features --test e2e -- ${full:+--include-ignored} "$@")
# shellcheck disable=SC2016 # for the inner shell
tests/cluster/with.sh bash -c '"$@" && tests/cluster/rights.sh'"${full:+ && tests/e2e/upstream.sh}" - "${suite[@]}"
