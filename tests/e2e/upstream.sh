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
growing='volume-expand|expansion of pvcs'
failed=0

# An expression that matches no test was never right, or a release of Kubernetes has outlived it.
check_skips() {
  local expression names
  DRY_RUN=1 PROCS=1 SKIP='^$' REPORT=$report/all "$HERE/upstream.sh" testdriver.yaml >"$report/all.log" 2>&1 ||
    { tail -n 40 "$report/all.log"; exit 1; }
  names=$(grep -ohE '<testcase name="\[It\][^"]*"[^>]* status="passed"' "$report"/all/junit*.xml)
  echo "upstream: $(wc -l <<<"$names") tests"
  while read -r expression; do
    echo "left out: $(grep -cE -- "$expression" <<<"$names") of $expression"
    grep -qE -- "$expression" <<<"$names" || { echo "skips.txt: no test matches $expression" >&2; exit 1; }
  done < <(sed -nE 's/^([^#].*) # .*$/\1/p' skips.txt)
}

run() { # run NAME FOCUS SKIP PROCS [DRIVER]
  local status=0 driver=${5:-testdriver.yaml}
  FOCUS=$2 SKIP=$3 PROCS=$4 TIMEOUT=5h REPORT=$report/$1 "$HERE/upstream.sh" "$driver" >"$report/$1.log" 2>&1 || status=$?
  echo "upstream, $1:"
  grep -E '^Ran |^(SUCCESS|FAIL)!' "$report/$1.log" || tail -n 40 "$report/$1.log"
  sed -nE '/^Summarizing/,/^Ran /{/\[FAIL\]|\[TIMEDOUT\]|\[INTERRUPTED\]|\[PANICKED\]/p}' "$report/$1.log"
  echo "skipped by themselves, by reason:"
  { grep -ohE '<skipped message="skipped - [^"]*"' "$report/$1"/junit*.xml || true; } | sed -E 's/^.*skipped - //; s/"$//' | sort | uniq -c
  ((status == 0)) || failed=1
}

check_skips
if sys_resource; then
  run parallel ".*${FOCUS:-}" "$alone|$left_out" "${PROCS:-2}"
else
  # The kernel lets only a process with CAP_SYS_RESOURCE grow an ext4 that is mounted, and here nobody can have it: what grows
  # is xfs. Not all else can be, because some tests ask for less than xfs takes.
  run parallel ".*${FOCUS:-}" "$alone|$growing|$left_out" "${PROCS:-2}"
  sed 's/fairlead-ext4/fairlead-xfs/' testdriver.yaml >"$report/xfs.yaml"
  run growing ".*${FOCUS:-}.*($growing)" "$alone|$left_out" "${PROCS:-2}" "$report/xfs.yaml"
fi
run alone ".*${FOCUS:-}.*($alone)" "$left_out" 1
echo "left out, with their reasons: tests/e2e/skips.txt; logs: $report"
exit "$failed"
