#!/usr/bin/env bash
# Builds the test cluster's programs from the Go modules that are pinned in src/*/go.mod.
# usage: build.sh [PART...]
#   kube      etcd, kube-apiserver, kubelet, kubectl, ... in one program
#   runtime   containerd, runc, CNI plugins, pause
#   sidecars  csi-provisioner, csi-attacher, csi-resizer, csi-snapshotter, snapshot-controller
#   tools     helm, of the tools that check the chart
#   e2e       the upstream end-to-end tests of storage (not built unless named)
#   kind      kind (not built unless named)
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
export GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false" GOBIN=$BIN CGO_ENABLED=0

version() { go list -m -f '{{.Version}}' "$1"; }

kube_flags() {
  local package=k8s.io/component-base/version release minor
  release=$(version k8s.io/kubernetes)
  minor=${release#v1.}
  echo "-s -w -X $package.gitVersion=$release -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}" \
    "-X $package.gitTreeState=clean -X $package.gitCommit=local"
}

build_kube() {
  local name
  go build -ldflags "$(kube_flags)" -o "$BIN/kube" .
  for name in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl kubeadm; do
    ln -sf kube "$BIN/$name"
  done
}

build_runtime() {
  local containerd=github.com/containerd/containerd/v2 runc=github.com/opencontainers/runc
  local cni=github.com/containernetworking/plugins/plugins
  go install -ldflags "-s -w -X $containerd/version.Version=$(version $containerd)" \
    $containerd/cmd/{containerd,ctr,containerd-shim-runc-v2}
  CGO_ENABLED=1 go install -tags seccomp -ldflags "-s -w -X main.version=$(version $runc)" $runc
  GOBIN=$BIN/cni go install -ldflags "-s -w" $cni/main/{bridge,loopback} $cni/ipam/host-local
  cd ../pause
  go build -ldflags "-s -w" -o "$BIN/pause" .
}

build_sidecars() {
  local csi=github.com/kubernetes-csi
  sidecar $csi/external-provisioner/v6 csi-provisioner
  sidecar $csi/external-attacher/v4 csi-attacher
  sidecar $csi/external-resizer/v2 csi-resizer
  sidecar $csi/external-snapshotter/v8 csi-snapshotter snapshot-controller
}

sidecar() { # sidecar MODULE PROGRAM...
  local module=$1
  shift
  go install -ldflags "-s -w -X main.version=$(version "$module")" "${@/#/$module/cmd/}"
}

# One Helm for the chart's checks and for the cluster.
build_tools() { ln -sf "$("$HERE/../chart/tools.sh")/helm4" "$BIN/helm"; }

build_e2e() {
  go install -ldflags "-s -w" tool # ginkgo and agnhost
  go test -c -ldflags "$(kube_flags)" -o "$BIN/e2e.test" ./e2e
}

build_kind() { go install -ldflags "-s -w" tool; }

# The stamp of a part is what it was built from; this script and the compiler belong to it.
sources() {
  case $1 in
    kube) echo src/kube/go.* src/kube/main.go ;;
    runtime) echo src/runtime/go.* src/pause/* ;;
    sidecars | kind) echo "src/$1"/go.* ;;
    tools) echo ../chart/tools.sh ../chart/tools/go.* ;;
    e2e) echo src/kube/go.* src/kube/e2e/* ;;
    *) usage ;;
  esac
}

stamp() {
  local files
  files=$(sources "$1")
  # shellcheck disable=SC2086  # a list of names without spaces
  { go env GOVERSION; cat build.sh $files; } | sha256sum
}

build() {
  local part=$1 now began=$SECONDS
  now=$(stamp "$part")
  if [[ $(cat "$BIN/.$part" 2>/dev/null) == "$now" ]]; then
    say "$part: up to date"
    return
  fi
  say "$part: building (minutes, when the Go caches are cold)"
  case $part in
    e2e) cd src/kube ;;
    tools) ;;
    *) cd "src/$part" ;;
  esac
  "build_$part"
  printf '%s\n' "$now" >"$BIN/.$part"
  say "$part: built in $((SECONDS - began)) s"
}

cd "$HERE"
[[ $# -gt 0 ]] || set -- kube runtime sidecars tools
for part in "$@"; do sources "$part" >/dev/null; done
"$HERE/../setup.sh" cluster >&2
mkdir -p "$BIN"
for part in "$@"; do (build "$part"); done
