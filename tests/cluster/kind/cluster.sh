#!/usr/bin/env bash
# The same nodes in kind, for machines that have docker, kind and kind's node image (or can pull it).
# usage: cluster.sh up|down        SHARED=/srv/fairlead-cluster  NODE_IMAGE=...  the node image, kind's default if not set
#        cluster.sh load IMAGE     an image of docker's, into every node
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
NAME=fairlead
SHARED=${SHARED:-/srv/fairlead-cluster}

die() { echo "cluster.sh: $*" >&2; exit 1; }
usage() { sed -nE '/^# usage: /,/^[^#]/ s/^# //p' "$0" >&2; exit 2; }

[[ $# -gt 0 ]] || usage
command -v docker >/dev/null || die "docker is missing: kind's nodes are its containers"
docker info >/dev/null 2>&1 || die "docker's engine does not answer: start it, or use tests/cluster/up.sh, which needs none"
command -v kind >/dev/null || die "kind is missing: https://kind.sigs.k8s.io says how to install it"

case $1 in
  up)
    [[ -d $SHARED ]] || die "there is no $SHARED: make it, on a file system with reflinks (xfs, btrfs) for snapshots of volumes in use"
    sed "s|SHARED|$SHARED|" "$here/cluster.yaml" |
      kind create cluster --name $NAME --config - --wait 120s ${NODE_IMAGE:+--image "$NODE_IMAGE"}
    ;;
  down) kind delete cluster --name $NAME ;;
  load) [[ $# -eq 2 ]] || usage; kind load docker-image --name $NAME "$2" ;;
  *) usage ;;
esac
