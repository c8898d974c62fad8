#!/usr/bin/env bash
# Makes what a virtual machine with the driver's node boots from: Debian's kernel, and an initial RAM disk with busybox,
# the kernel's modules, the tools that the driver calls, and the driver. Both are kept; the driver alone is packed anew.
# usage: tests/vm/image.sh BINARY DIRECTORY    (prints nothing; makes DIRECTORY/vmlinuz and DIRECTORY/initrd)
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
BINARY=${1:?the driver}
OUT=${2:?where to put it}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/vm

# Kernel modules that the machine needs, beside those that these need.
MODULES=(virtio_pci virtio_blk virtio_scsi virtio_net sd_mod sr_mod ahci crc32c_generic ext4 xfs isofs vfat nls_cp437 nls_iso8859-1 nls_ascii)
# What the driver calls, what the machine's own scripts call, and what tells the state of a disk.
TOOLS=(/usr/sbin/blkid /usr/sbin/mkfs.ext4 /usr/sbin/e2fsck /usr/sbin/resize2fs /usr/sbin/mkfs.xfs /usr/sbin/xfs_growfs /usr/sbin/mkfs.vfat /usr/bin/socat)

# Debian's kernel, unpacked and not installed: it is nothing that this machine boots.
kernel() {
  local package
  package=$(apt-cache depends --no-recommends linux-image-amd64 | awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }')
  [[ -n $package ]] || { echo "no package linux-image-amd64 is known: apt-get update" >&2; exit 1; }
  KERNEL=$CACHE/$package
  [[ ! -e $KERNEL/ready ]] || return 0
  rm -rf --one-file-system "$KERNEL"
  mkdir -p "$KERNEL"
  (cd "$KERNEL" && apt-get download -qq -o APT::Sandbox::User=root "$package" && dpkg --extract ./*.deb . && rm ./*.deb)
  depmod
  touch "$KERNEL/ready"
}

depmod() { busybox depmod -b "$KERNEL" "$(basename "$KERNEL"/lib/modules/*)"; }

# copy FILE...: with the libraries that it is linked to, at the same paths.
copy() {
  local file
  for file in "$@"; do
    install -D "$file" "$ROOT$file"
    # A static program has none.
    { ldd "$file" 2>/dev/null || true; } | grep -oE '/[^ ]+' | while read -r library; do
      [[ -e $ROOT$library ]] || install -D "$library" "$ROOT$library"
    done
  done
}

# The modules and all that they need, in the order in which they can be loaded.
modules() {
  local release=$1 name
  declare -gA LOADED=()
  for name in "${MODULES[@]}"; do load "$release" "$name"; done
}

load() { # load RELEASE NAME
  local directory=$KERNEL/lib/modules/$1 line file needed
  line=$(grep -E "(^|/)${2//_/[_-]}\.ko:" "$directory/modules.dep" || true)
  if [[ -z $line ]]; then
    grep -qE "/${2//_/[_-]}\.ko$" "$directory/modules.builtin" || { echo "the kernel has no module $2" >&2; exit 1; }
    return 0
  fi
  file=${line%%:*}
  [[ -z ${LOADED[$file]:-} ]] || return 0
  for needed in ${line#*:}; do
    needed=${needed##*/}
    load "$1" "${needed%.ko}"
  done
  LOADED[$file]=1
  install -D -m 0644 "$directory/$file" "$ROOT/modules/${file##*/}"
  echo "/modules/${file##*/}" >>"$ROOT/modules/order"
}

pack() { (cd "$1" && find . -mindepth 1 | cpio --quiet --create --format=newc --owner=0:0 | gzip -1); }

base() {
  ROOT=$(mktemp -d)
  trap 'rm -rf --one-file-system "$ROOT"' EXIT
  mkdir -p "$ROOT"/{bin,dev,proc,sys,run,tmp,var/lib/kubelet,modules}
  install /bin/busybox "$ROOT/bin/busybox"
  copy "${TOOLS[@]}"
  modules "$(basename "$KERNEL"/lib/modules/*)"
  install "$HERE/init" "$ROOT/init"
  pack "$ROOT" >"$1.new"
  mv "$1.new" "$1"
}

kernel
# A change of this script, of the machine's first program or of a tool makes another one.
key=$(cat "$0" "$HERE/init" "${TOOLS[@]}" | sha256sum | cut -c1-16)
BASE=$KERNEL/base-$key
[[ -e $BASE ]] || base "$BASE"

driver=$(mktemp -d)
trap 'rm -rf --one-file-system "$driver" ${ROOT:+"$ROOT"}' EXIT
ROOT=$driver copy "$BINARY"
strip -o "$driver/fairlead" "$driver$BINARY"
rm "$driver$BINARY"
mkdir -p "$OUT"
cp "$KERNEL"/boot/vmlinuz-* "$OUT/vmlinuz"
# The kernel unpacks one after the other.
{ cat "$BASE"; pack "$driver"; } >"$OUT/initrd"
