# Shared by the scripts for kind: docker's engine, one that runs here or one of our own.
# shellcheck shell=bash
# shellcheck disable=SC2034  # most names are used by the scripts that read this file

export KIND=1
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
NAME=fairlead
ENGINE=$RUN/engine            # the state of our own engine, and its socket
ENGINE_CGROUP=/fairlead-kind
NODE_IMAGE=${NODE_IMAGE:-}    # not set: one of our own is made, because nothing can be pulled where the project is tested
OWN_NODE_IMAGE=lab.example/kind-node:dev

# Our own engine runs in namespaces of its own: its bridges and packet filter change nothing on this machine, and nothing is
# left of it. A program that wants to reach a cluster in it runs there too.
own_engine() { alive engine; }

in_engine() { # in_engine COMMAND...
  local pid
  if ! own_engine; then
    "$@"
    return
  fi
  read -r pid _ <"$PID/engine"
  DOCKER_HOST=unix://$ENGINE/docker.sock nsenter --target "$(tr -d ' ' <"/proc/$pid/task/$pid/children")" --mount --net --pid --wdns="$PWD" -- "$@"
}

kind_nodes() { in_engine kind get nodes --name "$NAME" 2>/dev/null; }
