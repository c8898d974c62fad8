"""The disks of the "servers": loop devices on this machine.

$FAIRLEAD_OPENSTACK_NODES/<server>/virtio-<first 20 characters of the volume's id> links to the device: the name that a
guest of KVM sees in /dev/disk/by-id.
"""
import os
import shutil
import subprocess


def directory(server):
    return os.path.join(os.environ['FAIRLEAD_OPENSTACK_NODES'], server)


def link(server, volume):
    return os.path.join(directory(server), 'virtio-' + volume[:20])


def device(server, volume, file):
    """The loop device that the link names, if it is still the one of the file: its number may be another's by now."""
    try:
        target = os.readlink(link(server, volume))
        with open(f'/sys/block/{os.path.basename(target)}/loop/backing_file') as backing:
            return target if backing.read().rstrip('\n') == os.path.realpath(file) else None
    except FileNotFoundError:
        return None


def plug(server, volume, file):
    """Attaches the file, unless it is. Each server gets a device of its own, as in a cloud."""
    if device(server, volume, file):
        return
    os.makedirs(directory(server), exist_ok=True)
    target = subprocess.check_output(['losetup', '--find', '--show', file], text=True).strip()
    new = link(server, volume) + '.new'
    os.symlink(target, new)
    os.replace(new, link(server, volume))


def unplug(server, volume, file):
    """Detaches it. A device that is in use stays until it is no longer."""
    target = device(server, volume, file)
    if target:
        subprocess.check_call(['losetup', '--detach', target])
    try:
        os.unlink(link(server, volume))
    except FileNotFoundError:
        pass


def resize(server, volume, file):
    """Lets the kernel see that the file has grown."""
    target = device(server, volume, file)
    if target is None:
        raise RuntimeError(f'volume {volume} has no device on server {server}')
    subprocess.check_call(['losetup', '--set-capacity', target])


def remove(server):
    shutil.rmtree(directory(server), ignore_errors=True)
