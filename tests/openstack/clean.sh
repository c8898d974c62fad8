#!/usr/bin/env bash
# Deletes all servers, volumes, snapshots and groups of the projects csi and csi2, and all ordered faults.
# usage: clean.sh
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[[ $# -eq 0 ]] || usage
need_cloud
# First: ordered faults would hold for the deletion too.
find "$FAIRLEAD_OPENSTACK_FAULTS" -type f -delete
"$BIN/python" -m fairlead_lab.clean
say "clean in $SECONDS s"
