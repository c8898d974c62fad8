"""Deletes all servers, snapshots, groups and volumes of the test projects, in whatever state they are."""
import sys
import time

from fairlead_lab import cloud

PATIENCE = 60  # seconds for each kind


def gone(kind, listing, delete):
    """Deletes until none is listed: the first word on a group or snapshot may be lost while its volumes change."""
    end = time.monotonic() + PATIENCE
    while left := list(listing()):
        if time.monotonic() > end:
            sys.exit(f'{kind} that do not go: {[one.id for one in left]}')
        for one in left:
            delete(one)
        time.sleep(0.5)


def clean(project, admin):
    connection = cloud.connect(project)
    storage, compute = connection.block_storage, connection.compute
    power = admin.block_storage

    def force(one):
        # Not only for what is in error: a volume whose detachment was lost, too.
        power.post(f'/{one.base_path.strip("/")}/{one.id}/action', json={'os-force_delete': {}})

    gone('servers', compute.servers, lambda one: compute.delete_server(one, force=False))
    gone('group snapshots', storage.group_snapshots, storage.delete_group_snapshot)
    gone('snapshots', storage.snapshots, force)
    gone('volumes', storage.volumes, force)
    gone('groups', storage.groups, storage.delete_group)


administrator = cloud.connect('admin')
for name in cloud.PROJECTS:
    clean(name, administrator)
