"""A Cinder driver that keeps each volume and each snapshot in a sparse file: no LVM, no iSCSI, no kernel module.

Groups of volumes work through Cinder's own generic code, which calls the driver for one volume after the other.
"""
import os
import subprocess

from cinder import exception
from cinder import interface
from cinder.volume import configuration
from cinder.volume import driver
from oslo_config import cfg
from oslo_utils import fileutils
from oslo_utils import units

from fairlead_lab import faults

OPTIONS = [cfg.StrOpt('fairlead_directory', help='Where the files of the volumes are.')]
CAPACITY_GIB = 2000.0

cfg.CONF.register_opts(OPTIONS, group=configuration.SHARED_CONF_GROUP)


def check(operation):
    try:
        faults.check(operation)
    except (faults.OrderedFault, ValueError) as fault:
        raise exception.VolumeBackendAPIException(data=str(fault))


def grow(path, gib):
    with open(path, 'ab') as file:
        file.truncate(gib * units.Gi)


def copy(source, target):
    subprocess.check_call(['cp', '--sparse=always', '--reflink=auto', source, target])


@interface.volumedriver
class FileDriver(driver.VolumeDriver):
    VERSION = '1.0'
    CI_WIKI_NAME = 'none'

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(OPTIONS)

    @staticmethod
    def get_driver_options():
        return OPTIONS

    @property
    def _directory(self):
        return self.configuration.fairlead_directory

    def _volume(self, volume):
        return os.path.join(self._directory, volume['name'])

    def _snapshot(self, snapshot):
        return os.path.join(self._directory, snapshot['name'] + '.snapshot')

    def do_setup(self, context):
        fileutils.ensure_tree(self._directory)
        faults.make_directories()

    def check_for_setup_error(self):
        pass

    # --- Volumes and snapshots

    def create_volume(self, volume):
        check('create_volume')
        grow(self._volume(volume), volume['size'])

    def delete_volume(self, volume):
        check('delete_volume')
        fileutils.delete_if_exists(self._volume(volume))

    def extend_volume(self, volume, new_size):
        check('extend_volume')
        grow(self._volume(volume), new_size)

    def create_snapshot(self, snapshot):
        check('create_snapshot')
        copy(self._volume(snapshot['volume']), self._snapshot(snapshot))

    def delete_snapshot(self, snapshot):
        check('delete_snapshot')
        fileutils.delete_if_exists(self._snapshot(snapshot))

    def create_volume_from_snapshot(self, volume, snapshot):
        check('restore_snapshot')
        self._fill(volume, self._snapshot(snapshot))

    def create_cloned_volume(self, volume, src_vref):
        check('clone_volume')
        self._fill(volume, self._volume(src_vref))

    def revert_to_snapshot(self, context, volume, snapshot):
        check('revert_volume')
        self._fill(volume, self._snapshot(snapshot))

    def _fill(self, volume, source):
        copy(source, self._volume(volume))
        grow(self._volume(volume), volume['size'])

    def retype(self, context, volume, new_type, diff, host):
        return True, None

    # --- Attachment: the file itself is what Nova's driver is told of

    def ensure_export(self, context, volume):
        pass

    def create_export(self, context, volume, connector):
        pass

    def remove_export(self, context, volume):
        pass

    def validate_connector(self, connector):
        pass

    def initialize_connection(self, volume, connector):
        check('initialize_connection')
        data = {'device_path': self._volume(volume), 'volume_id': volume['id']}
        return {'driver_volume_type': 'local', 'data': data}

    def terminate_connection(self, volume, connector, **kwargs):
        check('terminate_connection')

    # --- What the scheduler wants to know

    def _update_volume_stats(self):
        files = (os.path.join(self._directory, name) for name in os.listdir(self._directory))
        used = sum(os.path.getsize(path) for path in files) / units.Gi
        self._stats = {
            'volume_backend_name': self.configuration.safe_get('volume_backend_name'),
            'vendor_name': 'Fairlead',
            'driver_version': self.VERSION,
            'storage_protocol': 'local',
            'pools': [{
                'pool_name': 'pool',
                'total_capacity_gb': CAPACITY_GIB,
                'free_capacity_gb': max(0.0, CAPACITY_GIB - used),
                'provisioned_capacity_gb': used,
                'allocated_capacity_gb': used,
                'reserved_percentage': 0,
                'thin_provisioning_support': True,
                'thick_provisioning_support': False,
                'max_over_subscription_ratio': 20.0,
                'multiattach': True,
                'online_extend_support': True,
                'QoS_support': False,
                'consistent_group_snapshot_enabled': False,
            }],
        }
