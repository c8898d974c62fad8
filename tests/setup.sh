#!/usr/bin/env bash
# Installs what is needed from Debian's packages (as root), or says what is missing.
# usage: tests/setup.sh build|test|go|cluster|kind|openstack|vm
#   (build is in all of them, test in all but build, go in cluster, cluster in kind)
set -euo pipefail

declare -A package=([cc]=gcc)
[[ ${1:?build, test, go, cluster, kind, openstack or vm} == build ]] || package+=(
  [mkfs.ext4]=e2fsprogs [resize2fs]=e2fsprogs [mkfs.xfs]=xfsprogs [xfs_growfs]=xfsprogs [mkfs.btrfs]=btrfs-progs
  [blkid]=util-linux [losetup]=mount [findmnt]=util-linux [cryptsetup]=cryptsetup-bin [sgdisk]=gdisk [pvcreate]=lvm2 [xfs_io]=xfsprogs [cmp]=diffutils
  [mount]=mount [pgrep]=procps
)
[[ $1 != cluster && $1 != kind ]] || package+=(
  [pkg-config]=pkg-config [ip]=iproute2 [nft]=nftables [iptables]=iptables [nsenter]=util-linux
  [busybox]=busybox-static [mmdebstrap]=mmdebstrap [buildah]=buildah [jq]=jq
)
[[ $1 != kind ]] || package+=([dockerd]=docker.io [docker]=docker.io)
[[ $1 != openstack ]] || package+=(
  [rabbitmq-server]=rabbitmq-server [mariadbd]=mariadb-server-core [mariadb]=mariadb-client-core [curl]=curl
)
[[ $1 != vm ]] || package+=(
  [qemu-system-x86_64]=qemu-system-x86 [busybox]=busybox-static [cpio]=cpio [socat]=socat [strip]=binutils [mkfs.vfat]=dosfstools
)
missing=()
for tool in "${!package[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
# The C library's headers: a compiler without them is there but cannot link.
[[ -e /usr/include/stdio.h ]] || missing+=(libc6-dev)
[[ ($1 != cluster && $1 != kind) || -e /usr/include/seccomp.h ]] || missing+=(libseccomp-dev)
[[ $1 == build || $1 == vm ]] || /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)

if ((${#missing[@]})); then
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  if [[ $EUID -ne 0 ]]; then
    echo "missing Debian packages: ${missing[*]}" >&2
    echo "install them with: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  # What is installed for tests is started by them alone, not by the system.
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    install -m 0755 /dev/stdin "$policy" <<<$'#!/bin/sh\nexit 101'
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup (https://rustup.rs)" >&2; exit 1; }
if [[ $1 == go || $1 == cluster || $1 == kind ]]; then
  command -v go >/dev/null || { echo "go is missing: csi-sanity and the test cluster are built from Go modules, install Go 1.26.6 or newer" >&2; exit 1; }
fi
if [[ $1 != build && $1 != vm && $EUID -ne 0 ]]; then
  echo "root is needed: the driver is tested on real loop devices and mounts (try sudo)" >&2
  exit 1
fi
