#!/usr/bin/env bash
# Runs a command and fails if anything that it writes tells one of the secrets in tests/secrets.txt: its output, and the
# logs of the driver that it keeps in FAIRLEAD_TEST_LOGS.
# usage: tests/secrets.sh COMMAND...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$here/lib.sh"

work_dir
logs=$WORK/logs
mkdir "$logs"
sed -nE 's/^([^#]+) # .*/\1/p' "$here/secrets.txt" >"$WORK/secrets"
[[ -s $WORK/secrets ]] || { echo "tests/secrets.txt has no secrets" >&2; exit 1; }
status=0
FAIRLEAD_TEST_LOGS=$logs "$@" 2>&1 | tee "$WORK/output" || status=${PIPESTATUS[0]}
count=$(find "$logs" -type f | wc -l)
lines=$(cat "$WORK/output" "$logs"/* 2>/dev/null | wc -l)
if told=$(grep -rnFf "$WORK/secrets" "$WORK/output" "$logs"); then
  # Without the secrets: this is written, too.
  hide=$(sed 's/.*/s|&[A-Za-z0-9_-]*|(secret)|g/' "$WORK/secrets")
  printf 'secrets are told:\n%s\n' "$(head -n 20 <<<"$told" | sed "$hide" | cut -c1-2000)" >&2
  exit 1
fi
# A run that keeps no log shows nothing.
((count)) || { echo "no log of the driver was kept in FAIRLEAD_TEST_LOGS" >&2; exit 1; }
echo "$lines lines of output and of $count logs tell none of $(wc -l <"$WORK/secrets") secrets"
exit "$status"
