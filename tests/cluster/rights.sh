#!/usr/bin/env bash
# Compares what the driver's controller and its sidecars may do with what they did, by the API server's audit log.
# Fails where a request was denied. What is granted and was not used is listed: it may be that nothing needed it so far.
# usage: rights.sh [--strict]    --strict: fails for what was not used too (after the whole suite)
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
[[ $# -eq 0 || $* == --strict ]] || usage
AUDIT=$LOG/audit.log
[[ -s $AUDIT ]] || die "$AUDIT is empty: nothing has asked the API server in the driver's name"

# GROUP/RESOURCE VERB of each request; the group of pods and the like is empty.
used() { # used JQ-CONDITION
  jq -r "select(.objectRef.resource != null) | select($1)"' |
    "\(.objectRef.apiGroup // "")/\(.objectRef.resource)\(if .objectRef.subresource then "/" + .objectRef.subresource else "" end) \(.verb)"' \
    "$AUDIT" | sort | uniq -c | awk '{ print $2, $3, $1 }'
}

# Both roles; the names are the chart's.
granted() {
  kubectl -n fairlead get clusterrole/fairlead-controller role/fairlead-controller -o json |
    jq -r '.items[].rules[] | . as $rule | .apiGroups[] as $group | .resources[] as $resource | .verbs[] |
      "\($group)/\($resource) \(.)"' | sort -u
}

# A namespace that is on its way out refuses new objects too; that is no lack of rights.
FORBIDS='.annotations["authorization.k8s.io/decision"] == "forbid"'
# A right that is granted was denied while the release was being removed or installed.
denied=$(used "$FORBIDS" | grep -vF "$(granted | sed 's/$/ /')" || true)
# Whoever watches, lists first, but not where the API server streams what a list would give (Kubernetes 1.35 and newer).
allowed=$(used "$FORBIDS | not" | awk '{ print $1, $2 } $2 == "watch" { print $1, "list" }' | sort -u)
unused=$(comm -23 <(granted) <(echo "$allowed"))
say "$(jq -s length "$AUDIT") requests; granted: $(granted | wc -l) rights"
if [[ -n $unused ]]; then say "granted, but not used so far:"; say "$unused"; fi
if [[ -n $denied ]]; then say "denied (right, times):"; say "$denied"; die "requests were denied"; fi
if [[ -n $unused && $* == --strict ]]; then die "rights are granted that nothing uses"; fi
