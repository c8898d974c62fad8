#!/usr/bin/env bash
# Writes the configuration of all services. up.sh calls it.
# usage: config.sh
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

MESSAGES=rabbit://guest:guest@$ADDRESS:$RABBIT_PORT/
# Cinder and Nova want a key to start, but nothing is encrypted.
NO_KEY=$(printf '0%.0s' {1..64})
database() { echo "mysql+pymysql://$PASSWORD:$PASSWORD@localhost/$1?unix_socket=$MYSQL_SOCKET&charset=utf8mb3"; }

write() { # write SERVICE FILE: what comes in, to its place
  mkdir -p "$ETC/$1" "$STATE/$1"
  cat >"$ETC/$1/$2"
}

credentials() { # credentials USER: how a service logs in
  cat <<EOF
auth_type = password
auth_url = $IDENTITY_URL
username = $1
password = $PASSWORD
project_name = service
user_domain_id = default
project_domain_id = default
region_name = $REGION
EOF
}

# Nova must send its own token with the user's, and Cinder must ask for it: without, Cinder refuses to detach what Nova
# has attached (CVE-2023-2088).
tokens() { # tokens USER: how a service knows its callers, and shows itself to others
  cat <<EOF
[keystone_authtoken]
www_authenticate_uri = $IDENTITY_URL
service_token_roles = service
service_token_roles_required = true
$(credentials "$1")
[service_user]
send_service_user_token = true
$(credentials "$1")
EOF
}

common() { # common STATE_DIRECTORY DATABASE
  mkdir -p "$1/lock"
  cat <<EOF
[oslo_concurrency]
lock_path = $1/lock
[oslo_messaging_rabbit]
rabbit_quorum_queue = false
heartbeat_in_pthread = true
[oslo_messaging_notifications]
driver = noop
[cache]
enabled = true
backend = dogpile.cache.memory
[database]
connection = $(database "$2")
max_pool_size = 20
max_overflow = 20
EOF
}

# A service that is back is known to be back after 2 seconds; one that is only slow is not taken for dead.
reports() {
  cat <<EOF
rpc_response_timeout = $FAIRLEAD_OPENSTACK_RPC_TIMEOUT
report_interval = 2
service_down_time = 30
EOF
}

rabbitmq() {
  write rabbitmq rabbitmq.conf <<EOF
listeners.tcp.1 = $ADDRESS:$RABBIT_PORT
log.file.level = warning
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 100MB
EOF
  echo '[].' | write rabbitmq enabled_plugins
  write rabbitmq env.conf </dev/null
}

keystone() {
  write keystone keystone.conf <<EOF
[DEFAULT]
use_stderr = true
$(common "$STATE/keystone" keystone)
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = $STATE/keystone/fernet
[fernet_receipts]
key_repository = $STATE/keystone/fernet
[credential]
key_repository = $STATE/keystone/credential
[identity]
password_hash_rounds = 4
EOF
}

placement() {
  write placement placement.conf <<EOF
[DEFAULT]
state_path = $STATE/placement
[api]
auth_strategy = keystone
[placement_database]
connection = $(database placement)
$(tokens placement)
EOF
}

glance() {
  mkdir -p "$STATE"/glance/{staging,images,tasks}
  write glance glance-api.conf <<EOF
[DEFAULT]
enabled_backends = files:file
node_staging_uri = file://$STATE/glance/staging
transport_url = $MESSAGES
$(common "$STATE/glance" glance)
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = $STATE/glance/images
[os_glance_staging_store]
filesystem_store_datadir = $STATE/glance/staging
[os_glance_tasks_store]
filesystem_store_datadir = $STATE/glance/tasks
[paste_deploy]
flavor = keystone
config_file = $VENV/etc/glance/glance-api-paste.ini
$(tokens glance)
EOF
}

cinder() {
  local zone names=()
  for zone in "${ZONES[@]}"; do names+=("files-$zone"); done
  # Without its file of filters, Cinder answers a list with ?name= with all volumes.
  write cinder cinder.conf <<EOF
[DEFAULT]
transport_url = $MESSAGES
auth_strategy = keystone
host = fairlead
my_ip = $ADDRESS
state_path = $STATE/cinder
api_paste_config = $VENV/etc/cinder/api-paste.ini
rootwrap_config = $VENV/etc/cinder/rootwrap.conf
resource_query_filters_file = $VENV/etc/cinder/resource_filters.json
enabled_backends = $(IFS=,; echo "${names[*]}")
default_volume_type = standard
storage_availability_zone = ${ZONES[0]}
default_availability_zone = ${ZONES[0]}
cloned_volume_same_az = true
glance_api_servers = http://$ADDRESS:$GLANCE_PORT
osapi_volume_workers = 1
backend_stats_polling_interval = 5
$(reports)
$(common "$STATE/cinder" cinder)
[coordination]
backend_url = file://$STATE/cinder/coordination
[key_manager]
backend = cinder.keymgr.conf_key_mgr.ConfKeyManager
fixed_key = $NO_KEY
[nova]
interface = internal
$(credentials cinder)
$(tokens cinder)
$(for zone in "${ZONES[@]}"; do cinder_backend "$zone"; done)
EOF
}

cinder_backend() { # cinder_backend ZONE
  cat <<EOF
[files-$1]
volume_driver = fairlead_lab.cinder_driver.FileDriver
volume_backend_name = files-$1
fairlead_directory = $RUN/volumes/$1
backend_availability_zone = $1
EOF
}

nova() { # nova FILE HOST STATE: every nova-compute needs a name and a state of its own
  write nova "$1" <<EOF
[DEFAULT]
transport_url = $MESSAGES
my_ip = $ADDRESS
host = $2
state_path = $3
instances_path = $3/instances
compute_driver = fairlead.FileDiskDriver
osapi_compute_workers = 1
block_device_allocate_retries_interval = 1
default_schedule_zone = ${ZONES[0]}
sync_power_state_interval = -1
running_deleted_instance_action = log
$(reports)
$(common "$3" nova_cell1)
[api_database]
connection = $(database nova_api)
[conductor]
workers = 1
[scheduler]
workers = 1
discover_hosts_in_cells_interval = 30
[wsgi]
api_paste_config = $VENV/etc/nova/api-paste.ini
[quota]
instances = 100
cores = 200
ram = 200000
[vnc]
enabled = false
[key_manager]
backend = nova.keymgr.conf_key_mgr.ConfKeyManager
fixed_key = $NO_KEY
[cinder]
catalog_info = volumev3::internalURL
os_region_name = $REGION
cross_az_attach = $FAIRLEAD_OPENSTACK_CROSS_ZONE_ATTACH
$(credentials nova)
[glance]
$(credentials nova)
[placement]
$(credentials nova)
[neutron]
endpoint_override = http://$ADDRESS:$NEUTRON_PORT
$(credentials nova)
$(tokens nova)
EOF
  mkdir -p "$3/instances"
}

[[ $# -eq 0 ]] || usage
rabbitmq
keystone
placement
glance
cinder
nova nova.conf fairlead "$STATE/nova"
# nova-api looks for it here, whatever its configuration says.
cp "$VENV/etc/nova/api-paste.ini" "$ETC/nova/"
for zone in "${ZONES[@]}"; do
  mkdir -p "$RUN/volumes/$zone"
  nova "compute-$zone.conf" "compute-$zone" "$STATE/nova-$zone"
done
