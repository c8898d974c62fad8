"""Writes the files with which clients log in: clouds.yaml, openrc, cloud.conf. usage: clients.py DIRECTORY"""
import os
import sys

import yaml

from fairlead_lab import cloud

CREDENTIAL = 'csi-app'
OPENRC = '''\
export OS_AUTH_URL={auth_url} OS_IDENTITY_API_VERSION=3 OS_REGION_NAME={region} OS_INTERFACE=public
export OS_USERNAME={username} OS_PASSWORD={password} OS_PROJECT_NAME={project_name}
export OS_USER_DOMAIN_ID=default OS_PROJECT_DOMAIN_ID=default
export PATH={programs}:$PATH
'''
CLOUD_CONF = '''\
[Global]
auth-url = {auth_url}
username = {username}
password = {password}
tenant-name = {project_name}
domain-id = default
region = {region}
'''


def application_credential(user):
    """Its id; made when it is not there. Its secret is the password of all users."""
    identity = cloud.connect(user).identity
    owner = identity.get_user_id()
    for known in identity.application_credentials(owner):
        if known.name == CREDENTIAL:
            return known.id
    return identity.create_application_credential(owner, CREDENTIAL, secret=cloud.setting('PASSWORD')).id


def clouds():
    common = {'region_name': cloud.setting('REGION'), 'interface': 'public', 'identity_api_version': 3}
    entries = {user: {'auth': cloud.login(user), **common} for user in [*cloud.PROJECTS, 'admin']}
    entries[CREDENTIAL] = {
        'auth_type': 'v3applicationcredential',
        'auth': {
            'auth_url': cloud.setting('IDENTITY_URL'),
            'application_credential_id': application_credential('csi'),
            'application_credential_secret': cloud.setting('PASSWORD'),
        },
        **common,
    }
    return {'clouds': entries}


def write(name, text):
    with open(os.path.join(sys.argv[1], name), 'w') as file:
        file.write(text)


values = {**cloud.login('csi'), 'region': cloud.setting('REGION'), 'programs': os.path.dirname(sys.executable)}
write('clouds.yaml', yaml.safe_dump(clouds(), sort_keys=False))
write('openrc', OPENRC.format(**values))
write('cloud.conf', CLOUD_CONF.format(**values))
