#!/usr/bin/env bash
# A short check of the cloud: a volume's life with real devices, and an ordered fault. Stops at the first thing that is wrong.
# usage: smoke.sh
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[[ $# -eq 0 ]] || usage
need_root
need_cloud
exec "$BIN/python" -m fairlead_lab.smoke "$RUN/clouds.yaml"
