# Shared by the scripts of the test cloud: settings, paths, ports.
# shellcheck shell=bash
# shellcheck disable=SC2034  # most names are used by the scripts that read this file

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../processes.sh
. "$HERE/../processes.sh"
HOME_DIR=${FAIRLEAD_OPENSTACK_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/openstack}
VENV=$HOME_DIR/venv # the Python packages
BIN=$VENV/bin
RUN=$HOME_DIR/run # one cloud's state: databases, configuration, logs, volumes
ETC=$RUN/etc
STATE=$RUN/state
LOG=$RUN/log
PID=$RUN/pid
SETTINGS=$RUN/settings

# The settings of the cloud that is up win over the environment's: its parts must agree with each other.
FAIRLEAD_OPENSTACK_ZONES=${FAIRLEAD_OPENSTACK_ZONES:-nova}
FAIRLEAD_OPENSTACK_CROSS_ZONE_ATTACH=${FAIRLEAD_OPENSTACK_CROSS_ZONE_ATTACH:-true}
FAIRLEAD_OPENSTACK_RPC_TIMEOUT=${FAIRLEAD_OPENSTACK_RPC_TIMEOUT:-60}
# shellcheck source=/dev/null
[[ ! -r $SETTINGS ]] || . "$SETTINGS"
read -ra ZONES <<<"$FAIRLEAD_OPENSTACK_ZONES"

ADDRESS=127.0.0.1
KEYSTONE_PORT=15000
NOVA_PORT=18774
CINDER_PORT=18776
PLACEMENT_PORT=18778
GLANCE_PORT=19292
NEUTRON_PORT=19696
RABBIT_PORT=15671
RABBIT_NODES_PORT=15670 # for other nodes of its cluster, and its command line tools
EPMD_PORT=14369
IDENTITY_URL=http://$ADDRESS:$KEYSTONE_PORT/v3
REGION=RegionOne
PASSWORD=fairlead # of every user; nothing listens on anything but 127.0.0.1
MYSQL_SOCKET=$RUN/mysql.sock

export PATH=$PATH:/usr/sbin:/sbin
# For the Python programs, and for the drivers that cinder-volume and nova-compute import.
export FAIRLEAD_OPENSTACK_FAULTS=$RUN/faults FAIRLEAD_OPENSTACK_NODES=$RUN/nodes
export PYTHONPATH=$HERE PYTHONPYCACHEPREFIX=$RUN/pycache PYTHONWARNINGS=ignore
export ADDRESS KEYSTONE_PORT NOVA_PORT CINDER_PORT PLACEMENT_PORT GLANCE_PORT IDENTITY_URL REGION PASSWORD
export FAIRLEAD_OPENSTACK_ZONES

need_root() { [[ $EUID -eq 0 ]] || die "root is needed: attached volumes become loop devices (try sudo)"; }
need_cloud() { [[ -e $SETTINGS ]] || die "no cloud is up here; run up.sh first"; }

sql() { mariadb --no-defaults --user=root --socket="$MYSQL_SOCKET" --skip-column-names --execute="$1"; }

# In the order of their start; in each group, they may start at the same time.
FOUNDATION=(mariadb epmd rabbitmq)
IDENTITY=(keystone neutron placement glance)
CLOUD=(cinder-api cinder-scheduler cinder-volume nova-api nova-conductor nova-scheduler "${ZONES[@]/#/nova-compute-}")
SERVICES=("${FOUNDATION[@]}" "${IDENTITY[@]}" "${CLOUD[@]}")
