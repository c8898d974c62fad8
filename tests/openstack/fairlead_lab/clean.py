"""Deletes all servers, snapshots, groups and volumes of the test projects, in whatever state they are."""
import sys
import time

from fairlead_lab import cloud

PATIENCE = 60  # seconds for each kind
GROUPS = '3.14'  # a microversion of Cinder's API that has groups and their snapshots


def gone(kind, listing, delete):
    """Asks until none is listed: what changes just now is refused at first."""
    end = time.monotonic() + PATIENCE
    while left := list(listing()):
        answers = {one.id: delete(one).text for one in left}
        if time.monotonic() > end:
            sys.exit(f'{kind} that do not go, with the last answers: {answers}')
        time.sleep(0.5)


def clean(project, admin):
    own = cloud.connect(project)
    storage, compute = own.block_storage, own.compute

    def force(kind):
        # Whatever its state is; only an administrator may.
        return lambda one: admin.block_storage.post(f'/{kind}/{one.id}/action', json={'os-force_delete': {}})

    def delete_group(group):
        # With its volumes: one that is in a group cannot be deleted by itself.
        body = {'delete': {'delete-volumes': True}}
        return storage.post(f'/groups/{group.id}/action', json=body, microversion=GROUPS)

    def delete_group_snapshot(snapshot):
        return storage.delete(f'/group_snapshots/{snapshot.id}', microversion=GROUPS)

    gone('servers', compute.servers, lambda one: compute.delete(f'/servers/{one.id}'))
    gone('group snapshots', storage.group_snapshots, delete_group_snapshot)
    gone('snapshots', storage.snapshots, force('snapshots'))
    gone('groups', storage.groups, delete_group)
    gone('volumes', storage.volumes, force('volumes'))


administrator = cloud.connect('admin')
for name in cloud.PROJECTS:
    clean(name, administrator)
