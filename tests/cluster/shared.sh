#!/usr/bin/env bash
# The storage that every node sees: XFS with reflinks in a sparse file, mounted before the nodes start.
# usage: shared.sh mount|unmount|remove
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
IMAGE=$HOME_DIR/shared.xfs
SIZE=60G

# Whether what is mounted there is ours, and not somebody else's storage.
mounted() {
  local device
  device=$(losetup --list --noheadings --output NAME --associated "$IMAGE")
  [[ -n $device && $(findmnt --noheadings --output SOURCE "$SHARED") == "$device" ]]
}

mount_shared() {
  if mounted; then return; fi
  mkdir -p "$SHARED" "$HOME_DIR"
  if mountpoint --quiet "$SHARED" || [[ -n $(ls -A "$SHARED") ]]; then
    die "$SHARED is needed as an empty directory, but something else is there"
  fi
  if [[ ! -e $IMAGE ]]; then
    truncate --size "$SIZE" "$IMAGE.new"
    mkfs.xfs -q -m reflink=1 "$IMAGE.new"
    mv "$IMAGE.new" "$IMAGE"
  fi
  mount -o loop "$IMAGE" "$SHARED"
}

# Loop devices whose backing file is on the shared file system, whichever node attached them. Not by path: another mount
# namespace has other paths.
loops() {
  losetup --list --noheadings --raw --output NAME,BACK-MAJ:MIN |
    awk -v device="$(stat --format %Hd:%Ld "$SHARED")" '$2 == device { print $1 }'
}

no_loops() {
  local loop
  for loop in $(loops); do losetup --detach "$loop"; done
  [[ -z $(loops) ]]
}

unmount_shared() {
  local device
  mounted || return 0
  device=$(findmnt --noheadings --output SOURCE "$SHARED")
  # A node's mounts go with its last process, which may take a moment.
  wait_for 30 no_loops || die "these loop devices on $SHARED are still in use: $(loops | xargs)"
  wait_for 30 umount "$SHARED" || die "$SHARED is still in use"
  wait_for 30 detached "$device" || die "$device is still attached to $IMAGE: a mount namespace holds the file system"
  rmdir "$SHARED"
}

detached() { ! losetup --list --noheadings --output NAME | grep -qxF "$1"; }

need_root
case ${1:-} in
  mount) mount_shared ;;
  unmount) unmount_shared ;;
  remove) unmount_shared; rm -f "$IMAGE" "$IMAGE.new" ;;
  *) usage ;;
esac
