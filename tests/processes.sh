# Shared by the scripts that keep programs running: messages, waiting, processes. The script that reads this sets LOG and PID
# (directories).
# shellcheck shell=bash

SCRIPT=$(realpath "$0")

# What is for people goes to stderr: some scripts answer on stdout.
say() { printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
# usage: prints the lines of the script's head that start with "# usage:" or follow it with an indent.
usage() {
  sed -nE '/^# usage: /,/^[^#]|^#$/ { s/^# //p }' "$SCRIPT" >&2
  exit 2
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || { say "gave up waiting for: $*"; return 1; }
    sleep 0.1
  done
}

# --- Processes: the file $PID/NAME holds a process's number and its start time, so no other process is ever taken for it.

start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

alive() { # alive NAME
  local pid began
  [[ -s $PID/$1 ]] || return 1
  read -r pid began <"$PID/$1"
  [[ -n $began && $(start_time "$pid") == "$began" ]]
}

start() { # start NAME COMMAND...: in a session of its own; its output goes to $LOG/NAME.log
  local name=$1 pid
  shift
  alive "$name" && return 0
  setsid "$@" >>"$LOG/$name.log" 2>&1 </dev/null &
  pid=$!
  disown "$pid"
  echo "$pid $(start_time "$pid")" >"$PID/$name"
}

stop() { # stop NAME [SECONDS]: asks its process group to end, and kills it after SECONDS (5)
  local pid
  if alive "$1"; then
    read -r pid _ <"$PID/$1"
    kill -TERM -- "-$pid" 2>/dev/null || true
    for _ in $(seq $((${2:-5} * 10))); do
      kill -0 -- "-$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL -- "-$pid" 2>/dev/null || true
  fi
  rm -f "$PID/$1"
}
