#!/usr/bin/env bash
# Runs a command and fails if it leaves a mount, a loop device, a process or a temporary file of ours behind.
# usage: tests/leaks.sh COMMAND...
set -euo pipefail

# grep answers 1 where there is nothing, which is what is hoped for here.
state() {
  findmnt --raw --noheadings --output TARGET | grep -E 'fairlead|/\.tmp' | sed 's/^/mount /' || true
  losetup --list --noheadings --raw --output NAME,BACK-FILE | grep -E 'fairlead|/\.tmp' | sed 's/^/loop /' || true
  pgrep -ax fairlead | sed 's/^/process /' || true
  find "${TMPDIR:-/tmp}" -maxdepth 1 \( -name 'fairlead*' -o -name '.tmp*' \) | sed 's/^/file /' || true
}

before=$(state | sort)
status=0
"$@" || status=$?
# A process that was told to end may need a moment.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  left=$(comm -13 <(printf '%s\n' "$before") <(state | sort))
  [[ -z $left ]] && break
  sleep 0.5
done
if [[ -n $left ]]; then
  printf 'left behind:\n%s\n' "$left" >&2
  exit 1
fi
exit "$status"
