#!/usr/bin/env bash
# The services: plain processes on this machine. "start" returns when they answer, or report that they are up.
# usage: service.sh start|stop|kill|pause|resume NAME...
#   NAME: mariadb epmd rabbitmq keystone neutron placement glance cinder-api cinder-scheduler cinder-volume
#         nova-api nova-conductor nova-scheduler nova-compute-ZONE (the first zone is "nova")
#   (stop: it ends its work first; kill: at once; pause: it hangs, with its connections open)
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

export OS_KEYSTONE_CONFIG_DIR=$ETC/keystone OS_PLACEMENT_CONFIG_DIR=$ETC/placement
export OS_GLANCE_CONFIG_DIR=$ETC/glance OS_NOVA_CONFIG_DIR=$ETC/nova

start_mariadb() {
  # Nothing need survive a power cut of this machine.
  start mariadb mariadbd --no-defaults --user="$(id -un)" --datadir="$RUN/mysql" \
    --socket="$MYSQL_SOCKET" --skip-networking --pid-file="$RUN/mysql.pid" \
    --innodb-flush-method=nosync --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --skip-log-bin \
    --performance-schema=OFF --max-connections=1500 --innodb-buffer-pool-size=128M --character-set-server=utf8mb3
}

# Erlang would start this by itself, but then nobody would end it.
start_epmd() { start epmd epmd -port "$EPMD_PORT" -address "$ADDRESS"; }

start_rabbitmq() (
  mkdir -p "$STATE/rabbitmq" "$LOG/rabbitmq"
  export HOME=$STATE/rabbitmq RABBITMQ_NODENAME=fairlead@localhost \
    RABBITMQ_NODE_PORT=$RABBIT_PORT RABBITMQ_NODE_IP_ADDRESS=$ADDRESS \
    RABBITMQ_DIST_PORT=$RABBIT_NODES_PORT ERL_EPMD_PORT=$EPMD_PORT ERL_EPMD_ADDRESS=$ADDRESS \
    RABBITMQ_MNESIA_BASE=$STATE/rabbitmq/mnesia RABBITMQ_LOG_BASE=$LOG/rabbitmq \
    RABBITMQ_PID_FILE=$STATE/rabbitmq/pid RABBITMQ_CONFIG_FILE=$ETC/rabbitmq/rabbitmq \
    RABBITMQ_CONF_ENV_FILE=$ETC/rabbitmq/env.conf RABBITMQ_ENABLED_PLUGINS_FILE=$ETC/rabbitmq/enabled_plugins
  # One thread that does not wait actively: the machine is needed for the tests.
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS+=" -kernel inet_dist_use_interface {127,0,0,1}"
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS
  start rabbitmq /usr/lib/rabbitmq/bin/rabbitmq-server
)

api() { # api NAME PORT MODULE [ARGUMENTS]
  start "$1" "$BIN/uwsgi" --http-socket "$ADDRESS:$2" --module "$3:application" ${4:+--pyargv "$4"} \
    --master --processes 1 --threads 8 --enable-threads --thunder-lock --lazy-apps --need-app --die-on-term \
    --buffer-size 65535 --http-chunked-input --add-header "Connection: close" \
    --disable-logging --procname-prefix "$1 "
}

start_keystone() { api keystone "$KEYSTONE_PORT" keystone.wsgi.api; }
start_neutron() { start neutron "$BIN/python" -m fairlead_lab.neutron "$NEUTRON_PORT"; }
start_placement() { api placement "$PLACEMENT_PORT" placement.wsgi.api; }
start_glance() { api glance "$GLANCE_PORT" glance.wsgi.api; }
start_cinder-api() { api cinder-api "$CINDER_PORT" cinder.wsgi.api "--config-file $ETC/cinder/cinder.conf"; }
start_nova-api() { api nova-api "$NOVA_PORT" nova.wsgi.osapi_compute; }

agent() { # agent NAME CONFIGURATION [PROGRAM]
  start "$1" "$BIN/${3:-$1}" --config-file "$ETC/$2"
}

answers() { curl --silent --output /dev/null --max-time 2 "http://$ADDRESS:$1/"; }
listens() { (: <"/dev/tcp/$ADDRESS/$1") 2>/dev/null; }

# reported DATABASE COLUMN BINARY HOST NAME: the service has said that it is up since its process started.
reported() {
  local since
  since=$(date --utc --date="@$(stat --format %Y "$PID/$5")" '+%F %T')
  [[ $(sql "select count(*) from $1.services where $2 > '$since' and \`binary\` = '$3' and host like '$4'") -gt 0 ]]
}

ready() { # ready NAME
  case $1 in
    mariadb) sql 'select 1' ;;
    epmd) listens "$EPMD_PORT" ;;
    rabbitmq) listens "$RABBIT_PORT" ;;
    keystone) answers "$KEYSTONE_PORT" ;;
    neutron) answers "$NEUTRON_PORT" ;;
    placement) answers "$PLACEMENT_PORT" ;;
    glance) answers "$GLANCE_PORT" ;;
    cinder-api) answers "$CINDER_PORT" ;;
    nova-api) answers "$NOVA_PORT" ;;
    cinder-*) all_reported "$1" ;;
    nova-compute-*) reported nova_cell1 last_seen_up nova-compute "${1#nova-}" "$1" ;;
    nova-*) reported nova_cell1 last_seen_up "$1" % "$1" ;;
  esac
}

all_reported() { # all_reported NAME: cinder-volume reports for each zone
  local zone
  [[ $1 == cinder-volume ]] || { reported cinder updated_at "$1" % "$1"; return; }
  for zone in "${ZONES[@]}"; do
    reported cinder updated_at "$1" "%@files-$zone" "$1" || return
  done
}

ready_or_dead() { ! alive "$1" || ready "$1"; }

wait_ready() { # wait_ready NAME
  if ! wait_for 180 ready_or_dead "$1" || ! alive "$1"; then
    tail -n 20 "$LOG/$1.log" >&2
    die "$1 does not come up; see $LOG/$1.log"
  fi
}

start_one() { # start_one NAME
  case $1 in
    cinder-scheduler | cinder-volume) agent "$1" cinder/cinder.conf ;;
    nova-conductor | nova-scheduler) agent "$1" nova/nova.conf ;;
    nova-compute-*) agent "$1" "nova/${1#nova-}.conf" nova-compute ;;
    *) "start_$1" ;;
  esac
}

known() { # known NAME
  local name
  for name in "${SERVICES[@]}"; do
    [[ $name != "$1" ]] || return 0
  done
  return 1
}

send() { # send SIGNAL NAME: to the whole service
  local pid
  alive "$2" || die "$2 does not run"
  read -r pid _ <"$PID/$2"
  kill -"$1" -- "-$pid"
}

[[ $# -ge 2 ]] || usage
command=$1
shift
case $command in start | stop | kill | pause | resume) ;; *) usage ;; esac
for name in "$@"; do
  known "$name" || die "there is no service '$name'; there are: ${SERVICES[*]}"
done
need_root
need_cloud
case $command in
  start)
    for name in "$@"; do start_one "$name"; done
    for name in "$@"; do wait_ready "$name"; done
    ;;
  stop)
    # The databases may take their time to write.
    for name in "$@"; do stop "$name" 30 & done
    wait
    ;;
  kill) for name in "$@"; do send KILL "$name"; rm "$PID/$name"; done ;;
  pause) for name in "$@"; do send STOP "$name"; done ;;
  resume) for name in "$@"; do send CONT "$name"; done ;;
esac
