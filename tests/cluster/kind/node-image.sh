#!/usr/bin/env bash
# Makes a node image for kind of Debian's packages, kind's own files and the test cluster's programs: nothing is pulled.
# usage: node-image.sh
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
PACKAGES=systemd,conntrack,iptables,nftables,iproute2,ethtool,util-linux,mount,kmod,libseccomp2,procps,jq,ca-certificates

# What starts a node, from kind's module.
kind_files() { echo "$(cd "$HERE/src/kind" && go mod download -json sigs.k8s.io/kind | jq -er .Dir)/images/base/files"; }

# The control plane's programs under the names that kubeadm gives their images.
control_plane_images() {
  local name options=() names
  mapfile -t names < <(kubeadm config images list --kubernetes-version "$(kubelet --version | cut -d' ' -f2)")
  mkdir -p "$work/kube/usr/local/bin" "$work/kube/tmp"
  cp "$BIN/kube" "$work/kube/usr/local/bin/"
  for name in etcd kube-apiserver kube-controller-manager kube-scheduler; do
    ln -s kube "$work/kube/usr/local/bin/$name"
  done
  for name in "${names[@]}"; do
    case $name in */etcd:* | */kube-apiserver:* | */kube-controller-manager:* | */kube-scheduler:*) options+=(--alias "$name") ;; esac
  done
  FAIRLEAD_CLUSTER_HOME=$work/home "$HERE/image.sh" --no-load "${options[@]}" lab.example/kube:1 "$work/kube"
  mv "$work"/home/images/*.tar "$work/add/kind/images/"
  cp "$IMAGES/lab.example_pause_1.tar" "$work/add/kind/images/"
}

containerd_config() {
  cat <<'TOML'
version = 3
oom_score = 0

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "lab.example/pause:1"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_hugetlb_controller = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = true
TOML
}

# kind does not wait for it where control groups are of version 1, so the kubelet does: it would try to pull.
images_unit() {
  cat <<'UNIT'
[Unit]
After=containerd.service
Before=kubelet.service
[Service]
Type=oneshot
ExecStart=/bin/sh -ec 'for image in /kind/images/*.tar; do ctr --namespace k8s.io images import "$image"; done'
[Install]
WantedBy=multi-user.target
UNIT
}

files() { # what comes on top of Debian, in $work/add
  local from name
  from=$(kind_files)
  mkdir -p "$work/add"/{kind/images,etc/kubernetes/manifests,usr/bin,usr/local/bin,usr/local/sbin,opt/cni}
  cp -r --no-preserve=mode "$from"/{etc,kind,usr} "$work/add/"
  chmod 0755 "$work/add/usr/local/bin"/* "$work/add/kind/bin"/*
  install -t "$work/add/usr/local/bin" "$BIN"/{containerd,ctr,containerd-shim-runc-v2}
  install -t "$work/add/usr/local/sbin" "$BIN/runc"
  cp -r "$BIN/cni" "$work/add/opt/cni/bin"
  install -t "$work/add/usr/bin" "$BIN/kube"
  for name in kubelet kubeadm kubectl kube-proxy; do ln -s kube "$work/add/usr/bin/$name"; done
  containerd_config >"$work/add/etc/containerd/config.toml"
  # Nobody may lower it where CAP_SYS_RESOURCE is missing.
  sed -i '/^OOMScoreAdjust/d' "$work/add/etc/systemd/system/containerd.service"
  images_unit >"$work/add/etc/systemd/system/images.service"
  kubelet --version | cut -d' ' -f2 | tr -d '\n' >"$work/add/kind/version"
  control_plane_images
}

# As kind's own image: no unit of Debian's that a node has no use for.
tidy() {
  cat <<'SH'
set -eu
cd "$1"
rm -f lib/systemd/system/multi-user.target.wants/* etc/systemd/system/*.wants/* lib/systemd/system/local-fs.target.wants/* \
  lib/systemd/system/sockets.target.wants/*udev* lib/systemd/system/sockets.target.wants/*initctl* \
  lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service
echo ReadKMsg=no >>etc/systemd/journald.conf
ln -sf /usr/lib/systemd/systemd sbin/init
for unit in kubelet containerd undo-mount-hacks images; do
  ln -s "/etc/systemd/system/$unit.service" etc/systemd/system/multi-user.target.wants/
done
ln -sf /dev/null etc/systemd/system/systemd-binfmt.service
SH
}

[[ $# -eq 0 ]] || usage
need_root
work=$(mktemp -d "$HOME_DIR/.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/add"
files
tidy >"$work/tidy"
chmod 0755 "$work/tidy"
release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
say "making a node image of Debian $release (a minute)"
mmdebstrap --quiet --variant=minbase --skip=output/dev --include="$PACKAGES" --dpkgopt='path-exclude=/usr/share/doc/*' \
  --customize-hook="copy-in $work/add/etc $work/add/kind $work/add/usr $work/add/opt /" --customize-hook="$work/tidy" \
  "$release" "$work/node.tar" 2>"$work/log" || { tail -n 20 "$work/log" >&2; die "no node image"; }
in_engine docker import --change 'ENV container=docker' \
  --change 'ENTRYPOINT [ "/usr/local/bin/entrypoint", "/sbin/init" ]' "$work/node.tar" "$OWN_NODE_IMAGE" >/dev/null
say "$OWN_NODE_IMAGE: built ($SECONDS s)"
