#!/usr/bin/env bash
# Makes servers in the project csi, and prints their ids. Their disks appear in run/nodes/ID.
# usage: servers.sh COUNT [ZONE]
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[[ $# -ge 1 && $# -le 2 && $1 =~ ^[1-9][0-9]?$ ]] || usage
need_cloud
exec "$BIN/python" -m fairlead_lab.servers "$@"
