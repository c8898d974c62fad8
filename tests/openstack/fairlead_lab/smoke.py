"""A volume's life, step by step: created, attached, filled, extended in use, moved, copied, refused by order."""
import os
import subprocess
import sys
import tempfile
import time

import openstack
from openstack import exceptions

from fairlead_lab import cloud
from fairlead_lab import disks
from fairlead_lab.servers import make_servers

GIB = 1024 ** 3
EXTEND_IN_USE = '3.42'  # the microversion of Cinder's API since which a volume in use can be extended


def step(text):
    print(f'{time.monotonic() - BEGAN:6.1f} s  {text}', flush=True)


def expect(found, wanted, what):
    if found != wanted:
        sys.exit(f'{what}: wanted {wanted!r}, found {found!r}')


def run(*command):
    return subprocess.check_output(command, text=True)


def make_volume(size, **more):
    volume = csi.block_storage.create_volume(name='smoke', size=size, **more)
    return csi.block_storage.wait_for_status(volume, wait=60, interval=0.5)


def attach(server, volume):
    """The device that the volume has on this machine."""
    csi.compute.create_volume_attachment(server, volume_id=volume.id)
    csi.block_storage.wait_for_status(volume, 'in-use', wait=60, interval=0.5)
    return os.path.realpath(disks.link(server.id, volume.id))


def detach(server, volume):
    csi.compute.delete_volume_attachment(server, volume.id)
    csi.block_storage.wait_for_status(volume, 'available', wait=60, interval=0.5)
    expect(os.path.lexists(disks.link(server.id, volume.id)), False, 'the link to a detached volume')


def size_of(device):
    return int(run('blockdev', '--getsize64', device))


class Mounted:
    def __init__(self, device):
        self.device = device

    def __enter__(self):
        self.place = tempfile.mkdtemp(prefix='fairlead-smoke.')
        # A copy has the same UUID as its original, which XFS does not mount beside it.
        run('mount', '-o', 'nouuid', self.device, self.place)
        return self.place

    def __exit__(self, *_):
        run('umount', self.place)
        os.rmdir(self.place)


def read(place):
    with open(os.path.join(place, 'file')) as file:
        return file.read()


def grow_in_use(volume, device, size):
    csi.block_storage.post(
        f'/volumes/{volume.id}/action', json={'os-extend': {'new_size': size}}, microversion=EXTEND_IN_USE,
    ).raise_for_status()
    for _ in range(120):
        if size_of(device) == size * GIB:
            return
        time.sleep(0.5)
    sys.exit(f'{device} has {size_of(device)} bytes a minute after it was extended to {size} GiB')


def order_failure(operation, count):
    with open(os.path.join(os.environ['FAIRLEAD_OPENSTACK_FAULTS'], operation, 'fail'), 'w') as file:
        file.write(str(count))


def ordered_fault():
    # Cinder's scheduler tries three times.
    order_failure('create_volume', 3)
    volume = csi.block_storage.create_volume(name='smoke', size=1)
    csi.block_storage.wait_for_status(volume, 'error', failures=['available'], wait=60, interval=0.5)
    return volume


def quota():
    small = cloud.connect('csi2')
    try:
        small.block_storage.create_volume(name='smoke', size=11)
    except exceptions.HttpException as refusal:
        expect(refusal.status_code, 413, 'the answer to a volume beyond the quota')
    else:
        sys.exit('a volume beyond the quota was accepted')


def application_credential(clouds):
    by_credential = openstack.config.OpenStackConfig(config_files=[clouds]).get_one('csi-app')
    project = openstack.connection.Connection(config=by_credential).current_project_id
    expect(project, csi.current_project_id, 'the project of the application credential')


BEGAN = time.monotonic()
csi = cloud.connect('csi')
application_credential(sys.argv[1])
step('logged in, by password and by application credential')
first, second = make_servers(csi, 2)
step('two servers')
volume = make_volume(1)
device = attach(first, volume)
expect(size_of(device), GIB, 'the size of the device')
step(f'a volume of 1 GiB, attached as {device}')
run('mkfs.xfs', '-q', device)
with Mounted(device) as place:
    with open(os.path.join(place, 'file'), 'w') as file:
        file.write('kept')
    grow_in_use(volume, device, 2)
    run('xfs_growfs', place)
    space = os.statvfs(place)
    expect(space.f_blocks * space.f_frsize > 1.5 * GIB, True, 'a file system that has grown')
step('formatted, mounted, extended to 2 GiB in use')
detach(first, volume)
snapshot = csi.block_storage.create_snapshot(volume_id=volume.id, name='smoke')
csi.block_storage.wait_for_status(snapshot, wait=60, interval=0.5)
copy = make_volume(2, snapshot_id=snapshot.id)
for name, one in (('the volume', volume), ('a copy from its snapshot', copy)):
    with Mounted(attach(second, one)) as place:
        expect(read(place), 'kept', f'the file in {name}')
    detach(second, one)
step('read on another server, and from a snapshot')
broken = ordered_fault()
step('an ordered fault: a volume in error')
quota()
step('the quota of csi2 holds')
csi.block_storage.delete_snapshot(snapshot)
csi.block_storage.wait_for_delete(snapshot, wait=60, interval=0.5)
for one in (volume, copy, broken):
    csi.block_storage.delete_volume(one)
for one in (first, second):
    csi.compute.delete_server(one)
for one in (volume, copy, broken):
    csi.block_storage.wait_for_delete(one, wait=60, interval=0.5)
for one in (first, second):
    csi.compute.wait_for_delete(one, wait=60)
step('all deleted: the cloud works')
