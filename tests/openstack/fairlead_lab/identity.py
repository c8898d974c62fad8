"""Makes the projects, users, services and endpoints in Keystone. What is there is left alone."""
from fairlead_lab import cloud

SERVICE_USERS = ('nova', 'cinder', 'glance', 'placement', 'neutron')


def endpoints():
    """Type, name, URL. Cinder is listed under its current type and under the older one, as most clouds do."""
    def url(service, path=''):
        return f'http://{cloud.setting("ADDRESS")}:{cloud.setting(service + "_PORT")}{path}'
    yield 'compute', 'nova', url('NOVA', '/v2.1')
    yield 'block-storage', 'cinder', url('CINDER', '/v3')
    yield 'volumev3', 'cinderv3', url('CINDER', '/v3')
    yield 'placement', 'placement', url('PLACEMENT')
    yield 'image', 'glance', url('GLANCE')


def make_users(identity):
    roles = {role.name: role for role in identity.roles()}
    if 'service' not in roles:
        roles['service'] = identity.create_role(name='service')
    projects = {project.name: project for project in identity.projects()}
    users = {user.name: user for user in identity.users()}

    def make(name, project, *role_names):
        if project not in projects:
            projects[project] = identity.create_project(name=project, domain_id='default')
        if name not in users:
            users[name] = identity.create_user(
                name=name, password=cloud.setting('PASSWORD'), domain_id='default',
                default_project_id=projects[project].id,
            )
        for role in role_names:
            identity.assign_project_role_to_user(projects[project], users[name], roles[role])

    for name in SERVICE_USERS:
        make(name, 'service', 'admin', 'service')
    for name in cloud.PROJECTS:
        make(name, name, 'member', 'reader')


def make_catalogue(identity):
    services = {service.type: service for service in identity.services()}
    known = {(endpoint.service_id, endpoint.interface) for endpoint in identity.endpoints()}
    for kind, name, url in endpoints():
        service = services.get(kind) or identity.create_service(type=kind, name=name)
        for interface in ('public', 'internal', 'admin'):
            if (service.id, interface) not in known:
                identity.create_endpoint(
                    service_id=service.id, interface=interface, url=url, region_id=cloud.setting('REGION'),
                )


admin = cloud.connect('admin')
make_users(admin.identity)
make_catalogue(admin.identity)
