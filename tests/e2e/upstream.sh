#!/usr/bin/env bash
# Runs Kubernetes' own storage tests (External.Storage) against Fairlead in the test cluster: first what may run in parallel,
# then, one by one, what disturbs others. What is left out stands in skips.txt; what skips itself is counted by its reason.
# usage: upstream.sh
#   FOCUS='provisioning'  only tests whose name matches      PROCS=2  so many at a time      REPORT=DIR  logs and reports
set -euo pipefail
# shellcheck source=../cluster/lib.sh
. "$(dirname "$0")/../cluster/lib.sh"
cd "$(dirname "$0")"
report=${REPORT:-$(mktemp -d)}
mkdir -p "$report"
left_out=$(sed -nE 's/^([^#].*) # .*$/\1/p' skips.txt | paste -sd '|')
alone='\[Serial\]|\[Disruptive\]'
failed=0

# The kernel lets only a process with CAP_SYS_RESOURCE grow an ext4 that is mounted. Where nobody can have it, the tests' own
# file system is xfs; those that name ext4 grow none.
driver=$report/testdriver.yaml
cp testdriver.yaml "$driver"
if ! sys_resource; then
  sed -i 's/fairlead-ext4/fairlead-xfs/' "$driver"
  echo "upstream: the default file system is xfs, because no process here may grow a mounted ext4"
fi

# An expression that matches no test was never right, or a release of Kubernetes has outlived it.
check_skips() {
  local expression names
  DRY_RUN=1 PROCS=1 SKIP='^$' REPORT=$report/all "$HERE/upstream.sh" "$driver" >"$report/all.log" 2>&1 ||
    { tail -n 40 "$report/all.log"; exit 1; }
  names=$(grep -ohE '<testcase name="\[It\][^"]*"[^>]* status="passed"' "$report"/all/junit*.xml)
  echo "upstream: $(wc -l <<<"$names") tests"
  while read -r expression; do
    echo "left out: $(grep -cE -- "$expression" <<<"$names") of $expression"
    grep -qE -- "$expression" <<<"$names" || { echo "skips.txt: no test matches $expression" >&2; exit 1; }
  done < <(sed -nE 's/^([^#].*) # .*$/\1/p' skips.txt)
}

run() { # run NAME FOCUS SKIP PROCS
  local status=0
  FOCUS=$2 SKIP=$3 PROCS=$4 TIMEOUT=5h REPORT=$report/$1 "$HERE/upstream.sh" "$driver" >"$report/$1.log" 2>&1 || status=$?
  echo "upstream, $1:"
  grep -E '^Ran |^(SUCCESS|FAIL)!' "$report/$1.log" || tail -n 40 "$report/$1.log"
  sed -nE '/^Summarizing/,/^Ran /{/\[FAIL\]|\[TIMEDOUT\]|\[INTERRUPTED\]|\[PANICKED\]/p}' "$report/$1.log"
  echo "skipped by themselves, by reason:"
  { grep -ohE '<skipped message="skipped - [^"]*"' "$report/$1"/junit*.xml || true; } | sed -E 's/^.*skipped - //; s/"$//' | sort | uniq -c
  ((status == 0)) || failed=1
}

check_skips
kubectl apply -f upstream-policy.yaml >/dev/null
trap 'kubectl delete --ignore-not-found -f upstream-policy.yaml >/dev/null' EXIT
run parallel ".*${FOCUS:-}" "$alone|$left_out" "${PROCS:-2}"
run alone ".*${FOCUS:-}.*($alone)" "$left_out" 1
echo "left out, with their reasons: tests/e2e/skips.txt; logs: $report"
exit "$failed"
