#!/usr/bin/env bash
# Installs the chart with values.yaml as release `fairlead` in the namespace of the same name, or removes it.
# usage: chart.sh install|uninstall [OPTION...]    options for helm
# Installed again, it is upgraded; pods start anew where the driver's image or their configuration has changed.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
RELEASE=fairlead

[[ $# -ge 1 ]] || usage
action=$1
shift
case $action in
  install)
    # The image keeps its name when its content changes, so the pods bear the content's sum.
    sum=$(sha256sum "$IMAGES/$(tr '/:' '__' <<<"$DRIVER_IMAGE").tar" | cut -c1-16)
    helm upgrade --install --namespace "$RELEASE" --create-namespace --values "$HERE/values.yaml" \
      --set-string "node.podAnnotations.image=$sum,controller.podAnnotations.image=$sum" \
      --timeout 5m --wait "$@" "$RELEASE" "$HERE/../../charts/fairlead"
    ;;
  uninstall) helm uninstall --namespace "$RELEASE" --timeout 5m --wait "$@" "$RELEASE" ;;
  *) usage ;;
esac
