"""Faults and delays that a test orders, through files.

For each operation there is a directory $FAIRLEAD_OPENSTACK_FAULTS/<operation>. In it,

    delay   holds seconds: the operation waits so long before it starts
    fail    holds a count, or "always": so many times the operation fails (the file goes when the last one has)
"""
import os
import time

OPERATIONS = (
    # Cinder's
    'create_volume', 'delete_volume', 'extend_volume', 'clone_volume',
    'create_snapshot', 'delete_snapshot', 'restore_snapshot', 'revert_volume',
    'initialize_connection', 'terminate_connection',
    # Nova's
    'nova_attach', 'nova_detach', 'nova_extend',
)


class OrderedFault(Exception):
    """A test wanted the operation to fail."""


def make_directories():
    """So that a misspelt operation fails where it is ordered."""
    for operation in OPERATIONS:
        os.makedirs(_place(operation), exist_ok=True)


def check(operation):
    """Waits and fails as ordered. A file that cannot be understood is a failure too."""
    if operation not in OPERATIONS:
        raise ValueError(f'{operation} is not in OPERATIONS')
    delay = _read(operation, 'delay')
    if delay is not None:
        time.sleep(float(delay))
    count = _read(operation, 'fail')
    if count is None:
        return
    if count != 'always':
        _write_count(operation, int(count) - 1)
    raise OrderedFault(f'a test ordered {operation} to fail')


def _place(*names):
    return os.path.join(os.environ['FAIRLEAD_OPENSTACK_FAULTS'], *names)


def _read(*names):
    try:
        with open(_place(*names)) as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def _write_count(operation, left):
    if left <= 0:
        os.unlink(_place(operation, 'fail'))
        return
    with open(_place(operation, 'fail'), 'w') as file:
        file.write(str(left))
