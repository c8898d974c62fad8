#!/usr/bin/env bash
# Installs the chart with values.yaml as release `fairlead` in the namespace of the same name, and what comes after.
# usage: chart.sh install|uninstall|test [OPTION...]     options for helm
#        chart.sh revision                               the number of the release's revision
#        chart.sh rollback REVISION [OPTION...]
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
  test) helm test --namespace "$RELEASE" --timeout 5m "$@" "$RELEASE" ;;
  revision) helm status --namespace "$RELEASE" --output json "$RELEASE" | jq .version ;;
  rollback)
    [[ ${1:-} =~ ^[0-9]+$ ]] || usage
    revision=$1
    shift
    helm rollback --namespace "$RELEASE" --timeout 5m --wait "$@" "$RELEASE" "$revision"
    ;;
  uninstall) helm uninstall --namespace "$RELEASE" --timeout 5m --wait "$@" "$RELEASE" ;;
  *) usage ;;
esac
