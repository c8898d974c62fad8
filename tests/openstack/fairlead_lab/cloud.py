"""Logging in to the test cloud. lib.sh says where it is and exports what is read here."""
import os

import openstack

# User, who has a project of the same name: the quota of its volumes.
PROJECTS = {
    'csi': {'volumes': 100, 'snapshots': 100, 'gigabytes': 1000},
    'csi2': {'volumes': 3, 'snapshots': 2, 'gigabytes': 10},
}


def setting(name):
    return os.environ[name]


def zones():
    return setting('FAIRLEAD_OPENSTACK_ZONES').split()


def login(user):
    """What a client needs to log in with a password."""
    return {
        'auth_url': setting('IDENTITY_URL'),
        'username': user,
        'password': setting('PASSWORD'),
        'project_name': user,
        'user_domain_id': 'default',
        'project_domain_id': 'default',
    }


def connect(user):
    return openstack.connect(
        auth=login(user), region_name=setting('REGION'), interface='public', load_yaml_config=False,
        load_envvars=False, app_name='fairlead-tests',
    )
