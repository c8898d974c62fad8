#!/usr/bin/env bash
# Runs a command and fails if it leaves a mount, a loop device, a process or a temporary file behind. The command gets a
# temporary directory of its own by which all of these are known, so whatever else runs on the machine is not meant.
# usage: tests/leaks.sh COMMAND...
set -euo pipefail

# Short: the sockets that tests make in it have at most 107 bytes.
place=$(mktemp -d "${TMPDIR:-/tmp}/fairlead.XXXXXX")

# grep answers 1 where there is nothing, which is what is hoped for here.
state() {
  findmnt --raw --noheadings --output TARGET | grep -F "$place/" | sed 's/^/mount /' || true
  losetup --list --noheadings --raw --output NAME,BACK-FILE | grep -F "$place/" | sed 's/^/loop /' || true
  grep -slzxF "TMPDIR=$place" /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do
    # It may have ended meanwhile.
    [[ ! -e /proc/$pid/cmdline ]] || printf 'process %s %s\n' "$pid" "$(tr '\0' ' ' < "/proc/$pid/cmdline")"
  done || true
  find "$place" -mindepth 1 -maxdepth 1 | sed 's/^/file /'
}

status=0
TMPDIR=$place "$@" || status=$?
# A process that was told to end may need a moment.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  left=$(state)
  [[ -z $left ]] && break
  sleep 0.5
done
if [[ -n $left ]]; then
  printf 'left behind:\n%s\n' "$left" >&2
  exit 1
fi
rmdir "$place"
exit "$status"
