#!/usr/bin/env bash
# Makes or takes an image, and loads it into every running node; nodes that start later load it as well.
# usage: image.sh [OPTION...] NAME:TAG TREE [COMMAND...]     an image of a directory or of a tar file
#        image.sh [OPTION...] --program NAME:TAG FILE        an image of one program, which is its entry point
#        image.sh --archive FILE                             what `docker save` or `buildah push docker-archive:` wrote
#   --from NAME:TAG      on top of an image that was made here
#   --entrypoint PATH    the program that starts, with COMMAND as its arguments
#   --alias NAME:TAG     a second name (may be given again)
#   --no-load            only make it
# A node tells images by their content: give a changed image the same name, and new pods get it.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# lab.example/e2e/agnhost:2.63 is kept as lab.example_e2e_agnhost_2.63.tar
archive_of() { echo "$IMAGES/$(tr '/:' '__' <<<"$1").tar"; }

# make_archive TREE: an archive in the form of `docker save`, which every engine reads.
make_archive() {
  local layer=layer.tar
  if [[ -n $from ]]; then
    [[ -e $(archive_of "$from") ]] || die "there is no image $from in $IMAGES; base-image.sh makes the bases"
    tar -C "$work" -xf "$(archive_of "$from")"
    layer=layer$(jq '.[0].Layers | length' "$work/manifest.json").tar
  else
    echo '[{"Layers": []}]' >"$work/manifest.json"
    echo '{"rootfs": {"type": "layers", "diff_ids": []}}' >"$work/config.json"
  fi
  if [[ -d $1 ]]; then
    tar -C "$1" --numeric-owner --owner=0 --group=0 --sort=name --mtime=@0 -cf "$work/$layer" .
  else
    cp "$1" "$work/$layer"
  fi
  jq --arg architecture "$(dpkg --print-architecture)" --arg sum "sha256:$(sha256sum "$work/$layer" | cut -d' ' -f1)" \
    --argjson config "$config" \
    '. + {$architecture, os: "linux", $config} | .rootfs.diff_ids += [$sum] | .history += [{created_by: "image.sh"}]' \
    "$work/config.json" >"$work/config.new"
  jq --arg layer "$layer" --argjson names "$(json_list "${names[@]}")" \
    '[.[0] + {Config: "config.json", RepoTags: $names} | .Layers += [$layer]]' "$work/manifest.json" >"$work/manifest.new"
  mv "$work/config.new" "$work/config.json"
  mv "$work/manifest.new" "$work/manifest.json"
  # shellcheck disable=SC2046  # layer names have no spaces
  tar -C "$work" -cf "$work/archive" manifest.json config.json $(jq -r '.[0].Layers[]' "$work/manifest.json")
}

json_list() { jq -cn '$ARGS.positional' --args "$@"; }

from="" program="" archive="" load=1 entrypoint=() names=()
while [[ ${1:-} == --* ]]; do
  case $1 in
    --no-load) load="" ;;
    --program) program=1 ;;
    --from | --entrypoint | --alias | --archive)
      [[ $# -gt 1 ]] || usage
      case $1 in
        --from) from=$2 ;;
        --entrypoint) entrypoint=("$2") ;;
        --alias) names+=("$2") ;;
        --archive) archive=$2 ;;
      esac
      shift
      ;;
    *) usage ;;
  esac
  shift
done
mkdir -p "$IMAGES"
work=$(mktemp -d "$IMAGES/.XXXXXX")
trap 'rm -rf "$work"' EXIT

if [[ -n $archive ]]; then
  [[ $# -eq 0 ]] || usage
  name=$(tar -xOf "$archive" manifest.json | jq -er '.[0].RepoTags[0]') || die "$archive is no docker archive with a name in it"
  cp "$archive" "$work/archive"
else
  [[ $# -ge 2 && ${1##*/} == *:* ]] || usage
  name=$1 tree=$2
  shift 2
  [[ -e $tree ]] || die "there is no $tree"
  names=("$name" "${names[@]}")
  if [[ -n $program ]]; then
    install -D -m 0755 "$tree" "$work/root/usr/local/bin/${tree##*/}"
    [[ -n $from ]] || install -d -m 1777 "$work/root/tmp"
    entrypoint=("/usr/local/bin/${tree##*/}")
    tree=$work/root
  fi
  config=$(jq -cn --argjson entrypoint "$(json_list "${entrypoint[@]}")" --argjson command "$(json_list "$@")" '
    {Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], Entrypoint: $entrypoint, Cmd: $command}')
  make_archive "$tree"
fi
mv "$work/archive" "$(archive_of "$name")"
[[ -z $load ]] || load_images
