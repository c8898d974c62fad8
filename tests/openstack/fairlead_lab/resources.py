"""Makes a flavour, an image, availability zones, volume types and quotas. What is there is left alone."""
from fairlead_lab import cloud


def missing(wanted, resources):
    known = {resource.name for resource in resources}
    return [name for name in wanted if name not in known]


def make_compute(compute):
    for name in missing(['m1.tiny'], compute.flavors()):
        compute.create_flavor(name=name, id='1', ram=64, vcpus=1, disk=1)
    if cloud.zones() == ['nova']:
        return  # Nova's own default zone
    for zone in missing(cloud.zones(), compute.aggregates()):
        aggregate = compute.create_aggregate(name=zone, availability_zone=zone)
        compute.add_host_to_aggregate(aggregate, 'compute-' + zone)


def make_image(image):
    for name in missing(['blank'], image.images()):
        image.create_image(
            name=name, container_format='bare', disk_format='raw', visibility='public',
            data=bytes(1024), validate_checksum=False,
        )


def make_volume_types(storage):
    for name in missing(['standard'], storage.types()):
        storage.create_type(name=name)
    for name in missing(['multiattach'], storage.types()):
        storage.create_type(name=name, extra_specs={'multiattach': '<is> True'})
    for name in missing(['default-group'], storage.group_types()):
        storage.create_group_type(name=name)


admin = cloud.connect('admin')
make_compute(admin.compute)
make_image(admin.image)
make_volume_types(admin.block_storage)
for project, quota in cloud.PROJECTS.items():
    admin.block_storage.update_quota_set(admin.identity.find_project(project), **quota)
