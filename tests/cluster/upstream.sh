#!/usr/bin/env bash
# Runs Kubernetes' own storage tests (External.Storage) against a driver that runs in the cluster.
# usage: upstream.sh TESTDRIVER.yaml     the driver's description, in the form of the upstream suite
#   FOCUS='provisioning'  only tests whose name matches      SKIP='\[Slow\]'  not those
#   PROCS=2  so many at a time      TIMEOUT=1h      DRY_RUN=1  only lists      REPORT=DIR  the junit report
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[[ $# -eq 1 ]] || usage
[[ -r $1 ]] || die "there is no $1"
driver=$(realpath "$1")
report=${REPORT:-$RUN/upstream}
mkdir -p "$report"
report=$(realpath "$report")
"$HERE/build.sh" e2e
# The last that base-image.sh makes.
compgen -G "$IMAGES/lab.example_e2e_glibc-dns-testing_*.tar" >/dev/null || "$HERE/base-image.sh" e2e
options=(--procs="${PROCS:-1}" --timeout="${TIMEOUT:-1h}" --no-color --silence-skips
  --focus="External.Storage.*${FOCUS:-}" --skip="${SKIP:-\[Disruptive\]|\[Serial\]|\[Slow\]}")
[[ -z ${DRY_RUN:-} ]] || options+=(--dry-run)
export KUBE_TEST_REPO_LIST=$HERE/upstream-repos.yaml
cd "$report"
exec ginkgo "${options[@]}" "$BIN/e2e.test" -- -kubeconfig="$KUBECONFIG" -kubectl-path="$BIN/kubectl" -provider=skeleton \
  -report-dir="$report" -storage.testdriver="$driver"
