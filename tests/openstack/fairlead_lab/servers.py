"""Makes servers in the project csi, and prints their ids. usage: servers.py COUNT [ZONE]"""
import sys
import time

from fairlead_lab import cloud


def make_servers(connection, count, zone=None):
    """The servers, when all of them are active."""
    compute = connection.compute
    where = {'availability_zone': zone} if zone else {}
    image = connection.image.find_image('blank', ignore_missing=False).id
    since = int(time.time())
    servers = [
        compute.create_server(name=f'server-{since}-{n}', image_id=image, flavor_id='1', networks='none', **where)
        for n in range(1, count + 1)
    ]
    return [compute.wait_for_server(server, wait=120) for server in servers]


if __name__ == '__main__':
    for made in make_servers(cloud.connect('csi'), int(sys.argv[1]), *sys.argv[2:]):
        print(made.id)
