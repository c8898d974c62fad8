#!/usr/bin/env bash
# Builds the driver's image with `make image` on the Debian that base-image.sh makes, and loads it into every node as
# lab.example/fairlead:dev. Does nothing when the binary and the Dockerfile are those of the image that is there.
# Pods use it with imagePullPolicy IfNotPresent or Never.
# usage: driver-image.sh [TAG]    with a TAG: another image of that tag beside it, which differs in a label, for upgrades
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
ARCHIVE=$IMAGES/$(tr '/:' '__' <<<"$DRIVER_IMAGE").tar
BASE_ARCHIVE=$IMAGES/$(tr '/:' '__' <<<"$BASE_IMAGE").tar

# `make image` takes docker when its engine answers, buildah otherwise; so must this.
with_docker() { docker info >/dev/null 2>&1; }

load_base() {
  local id
  id=sha256:$(tar -xOf "$BASE_ARCHIVE" config.json | sha256sum | cut -d' ' -f1)
  if with_docker; then
    [[ $(docker image inspect --format '{{.Id}}' "$BASE_IMAGE" 2>/dev/null) == "$id" ]] ||
      docker load --quiet --input "$BASE_ARCHIVE" >&2
  else
    [[ $(buildah images --quiet --no-trunc "$BASE_IMAGE" 2>/dev/null) == "$id" ]] ||
      buildah pull --quiet "docker-archive:$BASE_ARCHIVE" >&2
  fi
}

save() { # save FILE
  if with_docker; then
    docker save --output "$1" "$DRIVER_IMAGE"
  else
    buildah push --quiet "$DRIVER_IMAGE" "docker-archive:$1:$DRIVER_IMAGE"
  fi
}

image_id() {
  if with_docker; then
    docker image ls --quiet "$DRIVER_IMAGE"
  else
    # It fails where there is none.
    buildah images --quiet "$DRIVER_IMAGE" 2>/dev/null || true
  fi
}

remove() { # remove ID: with its layers that no other image has
  if with_docker; then docker image rm "$1" >/dev/null; else buildah rmi "$1" >/dev/null; fi ||
    say "the image before this one stays: $1"
}

# another TAG: from the image that is there.
another() {
  local name=${DRIVER_IMAGE%:*}:$1 config
  work=$(mktemp -d "$IMAGES/.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  tar -C "$work" -xf "$ARCHIVE"
  config=$(jq -r '.[0].Config' "$work/manifest.json")
  jq --arg tag "$1" '.config.Labels.tag = $tag' "$work/$config" >"$work/config.json"
  jq --arg name "$name" '.[0].Config = "config.json" | .[0].RepoTags = [$name]' "$work/manifest.json" >"$work/manifest.new"
  mv "$work/manifest.new" "$work/manifest.json"
  # shellcheck disable=SC2046  # layer names have no spaces
  tar -C "$work" -cf "$work/image.tar" manifest.json config.json $(jq -r '.[0].Layers[]' "$work/manifest.json")
  mv "$work/image.tar" "$IMAGES/$(tr '/:' '__' <<<"$name").tar"
  load_images
}

[[ $# -eq 0 || ($# -eq 1 && $1 =~ ^[a-z0-9.-]+$) ]] || usage
need_root
if [[ $# -eq 1 ]]; then
  [[ -e $ARCHIVE ]] || die "there is no $DRIVER_IMAGE yet"
  another "$1"
  exit
fi
cd "$HERE/../.."
"$HERE/../setup.sh" cluster >&2
mkdir -p "$IMAGES"
[[ -e $BASE_ARCHIVE ]] || "$HERE/base-image.sh" debian
make --silent release >&2
built=$({ cat "${CARGO_TARGET_DIR:-target}/release/fairlead" Dockerfile; tar -xOf "$BASE_ARCHIVE" config.json; } | sha256sum)
if [[ -e $ARCHIVE && $(cat "$ARCHIVE.built" 2>/dev/null) == "$built" ]]; then
  say "$DRIVER_IMAGE: up to date"
else
  load_base
  before=$(image_id)
  make --silent image BASE="$BASE_IMAGE" IMAGE="$DRIVER_IMAGE" >&2
  # A developer's day makes hundreds of them.
  [[ -z $before || $before == "$(image_id)" ]] || remove "$before"
  work=$(mktemp -d "$IMAGES/.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  save "$work/image.tar"
  mv "$work/image.tar" "$ARCHIVE"
  echo "$built" >"$ARCHIVE.built"
  say "$DRIVER_IMAGE: built ($SECONDS s)"
fi
load_images
say "$DRIVER_IMAGE is in every running node ($SECONDS s)"
