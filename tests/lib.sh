# Shared by the shell scripts: a work directory that is always cleaned up, never across a mount.
# shellcheck shell=bash

# Makes $WORK and cleans it up when the script ends, however it ends.
work_dir() {
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/fairlead.XXXXXX")
  PIDS=()
  trap 'clean_up $?' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

clean_up() {
  local status=$1 pid mount loop
  trap - EXIT
  # A second signal, as `timeout` sends it, must not end this half-way.
  trap '' INT TERM
  # What fails here must not keep the rest from being cleaned up.
  set +e
  for pid in "${PIDS[@]}"; do
    kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
  done
  # Deepest first. A mount that stays is reported, and its tree is left alone.
  findmnt --raw --noheadings --output TARGET | grep -F "$WORK/" | sort -r | while read -r mount; do
    umount "$(printf '%b' "$mount")" || echo "left mounted: $mount" >&2
  done
  losetup --list --noheadings --raw --output NAME,BACK-FILE | grep -F "$WORK/" | while read -r loop _; do
    losetup --detach "$loop" || echo "left attached: $loop" >&2
  done
  if findmnt --raw --noheadings --output TARGET | grep -qF "$WORK/"; then
    echo "not removed, because something is still mounted in it: $WORK" >&2
    status=1
  else
    rm -rf --one-file-system "$WORK"
  fi
  exit "$status"
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || { echo "gave up waiting for: $*" >&2; return 1; }
    sleep 0.1
  done
}
