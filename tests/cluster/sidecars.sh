#!/usr/bin/env bash
# Loads the CSI sidecars' images (lab.example/NAME:VERSION, as in src/sidecars/go.mod), and installs what a cluster needs
# once for all drivers: the CRDs of snapshots and group snapshots, and the snapshot-controller. The other sidecars' rights
# come with a driver's chart.
# usage: sidecars.sh
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
CSI=github.com/kubernetes-csi

version() { go list -m -f '{{.Version}}' "$1"; }
# Fetches the module when the cache has lost it.
directory() { go mod download -json "$1" | jq -er .Dir; }

image() { # image NAME MODULE
  local name archive
  name=lab.example/$1:$(version "$2")
  archive=$IMAGES/$(tr '/:' '__' <<<"$name").tar
  [[ $archive -nt $BIN/$1 ]] || "$HERE/image.sh" --no-load --program "$name" "$BIN/$1"
  say "$name"
}

snapshot_controller() {
  cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: snapshot-controller, namespace: kube-system}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: snapshot-controller}}
  template:
    metadata: {labels: {app.kubernetes.io/name: snapshot-controller}}
    spec:
      serviceAccountName: snapshot-controller
      # Every node comes and goes in the tests; this is not what they test.
      tolerations: [{operator: Exists}]
      containers:
        - name: snapshot-controller
          image: lab.example/snapshot-controller:$(version $CSI/external-snapshotter/v8)
          args: [--v=3, --feature-gates=CSIVolumeGroupSnapshot=true]
YAML
}

[[ $# -eq 0 ]] || usage
[[ -x $BIN/csi-provisioner ]] || die "the sidecars are not built; run build.sh first"
cd "$HERE/src/sidecars"
image csi-provisioner $CSI/external-provisioner/v6
image csi-attacher $CSI/external-attacher/v4
image csi-resizer $CSI/external-resizer/v2
image csi-snapshotter $CSI/external-snapshotter/v8
image snapshot-controller $CSI/external-snapshotter/v8
load_images
kubectl apply --server-side -k "$(directory $CSI/external-snapshotter/client/v8)/config/crd" >/dev/null
controller=$(directory $CSI/external-snapshotter/v8)/deploy/kubernetes/snapshot-controller
kubectl apply -f "$controller/rbac-snapshot-controller.yaml" >/dev/null
snapshot_controller | kubectl apply -f - >/dev/null
kubectl -n kube-system rollout status deployment/snapshot-controller --timeout=120s >&2
say "sidecars ready in $SECONDS s"
