"""Nova's own fake driver, with disks that are there, and servers that outlive a restart of nova-compute.

What is known of the servers is kept in $FAIRLEAD_OPENSTACK_NODES/<host>.json. The fake nodes of the plain fake driver
are left out, because nova-compute refuses to start a second time with them.
"""
import json
import os
import threading

from nova.virt import fake
from oslo_log import log as logging

from fairlead_lab import disks
from fairlead_lab import faults

LOG = logging.getLogger(__name__)


class FileDiskDriver(fake.FakeDriverWithoutFakeNodes):
    vcpus = 64
    memory_mb = 262144
    local_gb = 10000

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._disks = {}  # server -> {volume: file}
        self._lock = threading.Lock()

    # --- Servers

    def init_host(self, host):
        super().init_host(host)
        faults.make_directories()
        try:
            with open(self._file()) as file:
                servers = json.load(file)
        except FileNotFoundError:
            return
        for server, known in servers.items():
            self.instances[server] = fake.FakeInstance(known['name'], known['state'], server)
            self._disks[server] = known['disks']
            for volume, path in known['disks'].items():
                if os.path.exists(path):
                    disks.plug(server, volume, path)
                else:
                    LOG.warning('server %s has lost volume %s: there is no %s', server, volume, path)

    def spawn(self, *args, **kwargs):
        super().spawn(*args, **kwargs)
        self._save()

    def power_off(self, *args, **kwargs):
        super().power_off(*args, **kwargs)
        self._save()

    def power_on(self, *args, **kwargs):
        super().power_on(*args, **kwargs)
        self._save()

    def destroy(self, context, instance, *args, **kwargs):
        super().destroy(context, instance, *args, **kwargs)
        with self._lock:
            unplugged = self._disks.pop(instance.uuid, {})
        for volume, path in unplugged.items():
            disks.unplug(instance.uuid, volume, path)
        disks.remove(instance.uuid)
        self._save()

    def _file(self):
        return os.path.join(os.environ['FAIRLEAD_OPENSTACK_NODES'], self._host + '.json')

    def _save(self):
        with self._lock:
            servers = {
                server: {'name': one.name, 'state': one.state, 'disks': self._disks.get(server, {})}
                for server, one in list(self.instances.items())
            }
            with open(self._file() + '.new', 'w') as file:
                json.dump(servers, file)
            os.replace(self._file() + '.new', self._file())

    # --- Disks

    def attach_volume(self, context, connection_info, instance, *args, **kwargs):
        faults.check('nova_attach')
        super().attach_volume(context, connection_info, instance, *args, **kwargs)
        volume, path = self._volume(connection_info)
        disks.plug(instance.uuid, volume, path)
        with self._lock:
            self._disks.setdefault(instance.uuid, {})[volume] = path
        self._save()

    def detach_volume(self, context, connection_info, instance, *args, **kwargs):
        faults.check('nova_detach')
        super().detach_volume(context, connection_info, instance, *args, **kwargs)
        volume, path = self._volume(connection_info)
        disks.unplug(instance.uuid, volume, path)
        with self._lock:
            self._disks.get(instance.uuid, {}).pop(volume, None)
        self._save()

    def extend_volume(self, context, connection_info, instance, requested_size):
        faults.check('nova_extend')
        disks.resize(instance.uuid, *self._volume(connection_info))

    @staticmethod
    def _volume(connection_info):
        data = connection_info['data']
        return data['volume_id'], data['device_path']
