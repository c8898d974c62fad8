#!/usr/bin/env bash
# Builds Helm 3, Helm 4 and kubeconform from their pinned Go modules, and fetches what Kubernetes says of its objects.
# All of it goes into a directory of the cache that is named after the versions; tests/chart.rs looks for it there. Prints it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Of each release that the chart is checked against, one patch.
kubernetes=(v1.34.4 v1.35.4 v1.36.3)
snapshotter=v8.7.0

cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead
tools=$cache/chart-tools-$(cat "$here/tools/go.sum" "$here/tools.sh" | sha256sum | cut -c1-16)
if [[ -d $tools ]]; then
  echo "$tools"
  exit
fi
mkdir -p "$cache"
work=$(mktemp -d "$cache/chart-tools.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "building helm and kubeconform (minutes, once)" >&2
build() { (cd "$here/tools" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/$1" "$2"); }
build helm3 helm.sh/helm/v3/cmd/helm
build helm4 helm.sh/helm/v4/cmd/helm
build kubeconform github.com/yannh/kubeconform/cmd/kubeconform

# module MODULE@VERSION: its directory in Go's cache. Away from any go.mod, because it is no part of a program.
module() { (cd / && GOFLAGS='' GOWORK=off go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'); }
for version in "${kubernetes[@]}"; do
  install -D -m 0644 "$(module "k8s.io/kubernetes@$version")/api/openapi-spec/swagger.json" \
    "$work/kubernetes/${version#v}.json"
done
crds=$(module "github.com/kubernetes-csi/external-snapshotter/client/v8@$snapshotter")/config/crd
for crd in "$crds"/*classes.yaml; do
  install -D -m 0644 "$crd" "$work/crd/${crd##*/}"
done
chmod 0755 "$work"
mv -T "$work" "$tools" || [[ -d $tools ]] # another run was faster
echo "$tools"
