#!/usr/bin/env bash
# Stops the cloud, and leaves nothing running or attached. Its state stays for the next up.sh.
# usage: down.sh [--wipe]    --wipe: also removes the state (not the Python packages)
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

volume_loops() { losetup --list --noheadings --raw --output NAME,BACK-FILE | grep -F " $RUN/volumes/" | cut -d' ' -f1; }
no_loops() {
  local loop
  for loop in $(volume_loops); do losetup --detach "$loop"; done
  [[ -z $(volume_loops) ]]
}

stop_all() { # stop_all NAME...: at the same time
  local name
  for name in "$@"; do stop "$name" 30 & done
  wait
}

[[ $# -eq 0 || $* == --wipe ]] || usage
need_root
stop_all "${CLOUD[@]}"
stop_all "${IDENTITY[@]}"
stop_all "${FOUNDATION[@]}"
wait_for 10 no_loops || die "still in use, unmount them and ask again: $(volume_loops | xargs)"
rm -f "$SETTINGS"
[[ ${1:-} != --wipe ]] || rm -rf --one-file-system "$RUN"
say "down in $SECONDS s"
