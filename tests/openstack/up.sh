#!/usr/bin/env bash
# Starts a real OpenStack on this machine: Keystone, Placement, Glance, Cinder and Nova as plain processes. Asked again, it
# starts what is not running. Prints how to use it: eval "$(tests/openstack/up.sh)"
# usage: [FAIRLEAD_OPENSTACK_ZONES=nova] [FAIRLEAD_OPENSTACK_CROSS_ZONE_ATTACH=true] [FAIRLEAD_OPENSTACK_RPC_TIMEOUT=60] up.sh
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# --- Python packages

pip_install() { # pip_install OPTION...: only files whose hashes are known
  "$BIN/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes "$@" >&2
}

install_packages() {
  local sum
  sum=$(cat "$HERE"/requirements*.lock | sha256sum)
  if [[ ! -e $VENV/installed || $(<"$VENV/installed") != "$sum" ]]; then
    say "installing the Python packages of OpenStack, which takes some minutes"
    rm -rf "$VENV"
    /usr/bin/python3 -m venv "$VENV"
    pip_install --requirement "$HERE/requirements-build.lock"
    pip_install --no-build-isolation --requirement "$HERE/requirements.lock"
    # Nova takes drivers from this package only.
    echo 'from fairlead_lab.nova_driver import FileDiskDriver  # noqa: F401' \
      >"$("$BIN/python" -c 'import nova.virt; print(nova.virt.__path__[0])')/fairlead.py"
    echo "$sum" >"$VENV/installed"
  fi
}

# --- State of the first start

once() { # once NAME COMMAND...: what succeeded is not done again
  local name=$1
  shift
  if [[ ! -e $STATE/$name.done ]]; then
    say "$name ($SECONDS s)"
    # In the background and waited for: at the left of || the command would go on after a failure in it.
    ("$@") >>"$LOG/$name.log" 2>&1 &
    wait "$!" || { tail -n 20 "$LOG/$name.log" >&2; die "failed: $name; see $LOG/$name.log"; }
    touch "$STATE/$name.done"
  fi
}

install_database() {
  rm -rf "$RUN/mysql"
  mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$RUN/mysql" \
    --auth-root-authentication-method=normal --skip-test-db --innodb-flush-method=nosync
}

make_databases() {
  local name
  for name in keystone placement glance cinder nova_api nova_cell0 nova_cell1; do
    sql "create database if not exists $name character set utf8mb3"
  done
  sql "create user if not exists '$PASSWORD'@'localhost' identified by '$PASSWORD'"
  sql "grant all on *.* to '$PASSWORD'@'localhost'"
}

make_keystone() {
  local manage=("$BIN/keystone-manage" --config-file "$ETC/keystone/keystone.conf")
  local owner=(--keystone-user "$(id -un)" --keystone-group "$(id -gn)")
  install -d -m 0700 "$STATE"/keystone/{fernet,credential}
  "${manage[@]}" fernet_setup "${owner[@]}"
  "${manage[@]}" credential_setup "${owner[@]}"
  "${manage[@]}" db_sync
  "${manage[@]}" bootstrap --bootstrap-password "$PASSWORD" --bootstrap-region-id "$REGION" \
    --bootstrap-admin-url "$IDENTITY_URL" --bootstrap-internal-url "$IDENTITY_URL" \
    --bootstrap-public-url "$IDENTITY_URL"
}

nova_manage() { "$BIN/nova-manage" --config-file "$ETC/nova/nova.conf" "$@"; }

make_nova() {
  nova_manage api_db sync
  nova_manage cell_v2 map_cell0 \
    --database_connection "mysql+pymysql://$PASSWORD:$PASSWORD@localhost/nova_cell0?unix_socket=$MYSQL_SOCKET&charset=utf8mb3"
  nova_manage db sync
  # 2: it is there already.
  nova_manage cell_v2 create_cell --name cell1 || [[ $? -eq 2 ]]
}

make_cinder() { "$BIN/cinder-manage" --config-file "$ETC/cinder/cinder.conf" db sync; }
make_placement() { "$BIN/placement-manage" --config-file "$ETC/placement/placement.conf" db sync; }
make_glance() { "$BIN/glance-manage" --config-file "$ETC/glance/glance-api.conf" db_sync; }

make_schemas() { # the databases do not depend on each other
  local name pids=() pid
  for name in keystone nova cinder placement glance; do
    (once "schema-$name" "make_$name") &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || die "a database was not made"; done
}

make_resources() {
  nova_manage cell_v2 discover_hosts --by-service
  "$BIN/python" -m fairlead_lab.resources
}

# --- Settings

check_settings() {
  local zone
  [[ $FAIRLEAD_OPENSTACK_CROSS_ZONE_ATTACH =~ ^(true|false)$ ]] ||
    die "FAIRLEAD_OPENSTACK_CROSS_ZONE_ATTACH is true or false, not '$FAIRLEAD_OPENSTACK_CROSS_ZONE_ATTACH'"
  [[ $FAIRLEAD_OPENSTACK_RPC_TIMEOUT =~ ^[1-9][0-9]*$ ]] ||
    die "FAIRLEAD_OPENSTACK_RPC_TIMEOUT is a number of seconds, not '$FAIRLEAD_OPENSTACK_RPC_TIMEOUT'"
  ((${#ZONES[@]})) || die "FAIRLEAD_OPENSTACK_ZONES names no zone"
  for zone in "${ZONES[@]}"; do
    [[ $zone =~ ^[a-z0-9-]+$ ]] || die "a zone's name has small letters, digits and '-', unlike '$zone'"
  done
  # The databases know the zones.
  [[ ! -e $STATE/zones || $(<"$STATE/zones") == "${ZONES[*]}" ]] ||
    die "the state here is of the zones '$(<"$STATE/zones")', not '${ZONES[*]}'; run down.sh --wipe first"
}

save_settings() {
  echo "${ZONES[*]}" >"$STATE/zones"
  declare -p FAIRLEAD_OPENSTACK_ZONES FAIRLEAD_OPENSTACK_CROSS_ZONE_ATTACH FAIRLEAD_OPENSTACK_RPC_TIMEOUT >"$SETTINGS"
}

[[ $# -eq 0 ]] || usage
need_root
check_settings
"$HERE/../setup.sh" openstack >&2
install -d -m 0700 "$RUN"
mkdir -p "$LOG" "$PID" "$STATE" "$FAIRLEAD_OPENSTACK_NODES" "$FAIRLEAD_OPENSTACK_FAULTS"
install_packages
"$HERE/config.sh"
save_settings
once databases-install install_database
"$HERE/service.sh" start "${FOUNDATION[@]}"
once databases make_databases
make_schemas
say "starting ${IDENTITY[*]} ($SECONDS s)"
"$HERE/service.sh" start keystone
once identity "$BIN/python" -m fairlead_lab.identity
"$HERE/service.sh" start "${IDENTITY[@]}"
say "starting ${CLOUD[*]} ($SECONDS s)"
"$HERE/service.sh" start "${CLOUD[@]}"
once resources make_resources
"$BIN/python" -m fairlead_lab.clients "$RUN"
say "up in $SECONDS s: clouds.yaml, openrc, cloud.conf and the servers' disks (nodes) in $RUN, logs in $LOG"
echo "export OS_CLIENT_CONFIG_FILE=$RUN/clouds.yaml OS_CLOUD=csi PATH=$BIN:\$PATH"
