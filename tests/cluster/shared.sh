#!/usr/bin/env bash
# The storage that every node sees: XFS with reflinks in a sparse file, mounted before the nodes start.
# usage: shared.sh mount|unmount|remove
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
IMAGE=$HOME_DIR/shared${KIND:+-kind}.xfs
SIZE=60G

# The loop device of the image, nothing when it has none.
device() { losetup --list --noheadings --output NAME --associated "$IMAGE"; }
attached() { [[ -n $(device) ]]; }
detached() { ! attached; }
mounted() { attached && [[ $(findmnt --noheadings --output SOURCE "$SHARED") == "$(device)" ]]; }

mount_shared() {
  if mounted; then return; fi
  mkdir -p "$SHARED" "$HOME_DIR"
  if attached; then die "$IMAGE is attached to $(device) but not mounted on $SHARED; run down.sh first"; fi
  if mountpoint --quiet "$SHARED" || [[ -n $(ls -A "$SHARED") ]]; then
    die "$SHARED is needed as an empty directory, but something else is there"
  fi
  if [[ ! -e $IMAGE ]]; then
    truncate --size "$SIZE" "$IMAGE.new"
    mkfs.xfs -q -m reflink=1 "$IMAGE.new"
    mv "$IMAGE.new" "$IMAGE"
  fi
  mount -o loop "$IMAGE" "$SHARED"
  # One for each back end of values.yaml.
  mkdir -p "$SHARED"/{shared,capped}
}

# Loop devices whose backing file is on the shared file system, whichever node attached them. Found by the file system's
# number: in another mount namespace, or when that has gone, the file has another path.
loops() {
  losetup --list --noheadings --output NAME,BACK-MAJ:MIN |
    awk -v number="$(stat --format %Hr:%Lr "$(device)")" '$2 == number { print $1 }'
}

no_loops() {
  local loop
  for loop in $(loops); do losetup --detach "$loop"; done
  [[ -z $(loops) ]]
}

unmount_shared() {
  if attached; then
    # A node's mounts go with its last process, which may take a moment.
    wait_for 30 no_loops || die "these loop devices on $SHARED are still in use: $(loops | xargs)"
    if mounted; then wait_for 30 umount "$SHARED" || die "$SHARED is still in use"; fi
    wait_for 30 detached || die "$(device) is still attached to $IMAGE: a mount namespace holds the file system"
  fi
  if [[ -d $SHARED ]]; then rmdir --ignore-fail-on-non-empty "$SHARED"; fi
}

need_root
case ${1:-} in
  mount) mount_shared ;;
  unmount) unmount_shared ;;
  remove) unmount_shared; rm -f "$IMAGE" "$IMAGE.new" ;;
  *) usage ;;
esac
