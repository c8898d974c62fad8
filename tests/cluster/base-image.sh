#!/usr/bin/env bash
# Makes the images that others need, from Debian's packages and the cluster's own programs: nothing is pulled.
# usage: base-image.sh pause|busybox|debian|e2e...
#   pause    lab.example/pause:1: the sandbox of every pod
#   busybox  lab.example/busybox:1, also as busybox:latest
#   debian   lab.example/debian:slim: this machine's release of Debian, minimal, with apt
#   e2e      what the upstream storage tests run, under the names that they ask for
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

image() { "$HERE/image.sh" --no-load "$@"; }

pause() { image --program lab.example/pause:1 "$BIN/pause"; }

busybox_tree() { # busybox_tree DIRECTORY
  local program applet
  program=$(type -P busybox) || die "busybox is missing: apt-get install --no-install-recommends busybox-static"
  if ldd "$program" >/dev/null 2>&1; then
    die "$program needs a C library; an image needs a static one: apt-get install --no-install-recommends busybox-static"
  fi
  mkdir -p "$1"/{bin,etc,home,mnt,root,usr/bin}
  install -d -m 1777 "$1/tmp" "$1/var/tmp"
  cp "$program" "$1/bin/busybox"
  for applet in $("$program" --list); do
    [[ $applet == busybox ]] || ln -s busybox "$1/bin/$applet"
  done
  ln -s ../../bin/busybox "$1/usr/bin/env"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
  echo 'root:x:0:' >"$1/etc/group"
}

busybox() {
  busybox_tree "$work/busybox"
  image --alias docker.io/library/busybox:latest lab.example/busybox:1 "$work/busybox" /bin/sh
}

# This machine's release: a binary that was built here finds its C library there.
debian() {
  local release
  release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  say "making a minimal Debian $release (about a minute)"
  mmdebstrap --quiet --variant=minbase --skip=output/dev --include=ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$release" "$work/debian.tar" 2>"$work/log" || { tail -n 20 "$work/log" >&2; die "no Debian $release"; }
  image "$BASE_IMAGE" "$work/debian.tar" /bin/bash
}

e2e() {
  local list
  [[ -e $IMAGES/lab.example_debian_slim.tar ]] || debian
  list=$(KUBE_TEST_REPO_LIST=$HERE/upstream-repos.yaml e2e.test -list-images | grep '^lab.example/e2e/' | sort -Vr)
  mkdir "$work/agnhost"
  cp "$BIN/agnhost" "$work/agnhost/"
  ln -s agnhost "$work/agnhost/agnhost-2"
  e2e_image agnhost --from "$BASE_IMAGE" --entrypoint /agnhost -- "$work/agnhost" pause
  # Of nginx, the tests use the shell alone.
  busybox_tree "$work/e2e"
  e2e_image 'busybox|nginx' -- "$work/e2e" /bin/sh
  # Of this one they use a shell and GNU's tools.
  mkdir "$work/nothing"
  e2e_image glibc-dns-testing --from "$BASE_IMAGE" -- "$work/nothing" /bin/sh
}

# e2e_image PATTERN OPTION... -- TREE COMMAND...: one image for all names of the list that match.
e2e_image() {
  local name names options=()
  mapfile -t names < <(grep -E "/($1):" <<<"$list")
  [[ ${#names[@]} -gt 0 ]] || die "the tests name no image for $1"
  shift
  while [[ $1 != -- ]]; do options+=("$1"); shift; done
  shift
  for name in "${names[@]:1}"; do options+=(--alias "$name"); done
  image "${options[@]}" "${names[0]}" "$@"
}

[[ $# -gt 0 ]] || usage
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in "$@"; do
  case $name in
    pause | busybox | debian | e2e) "$name" ;;
    *) usage ;;
  esac
done
load_images
