"""Makes every call of the simulated cluster through the vendor's own client, which judges each answer by its types.

usage: script.py HOST PORT TOKEN single|multi|remote
With "remote", the calls are those for the whole location and are carried out by its cluster d.n, not by the one that is
asked. Clients 1 and 2 must be running, and client 3 must be down. Somebody logs in to what is exported. Prints one line for
each call that was made.
"""

import sys
import time

from storpool import spapi, spcatch

# The client hands out half-read answers where it does not know a value. Here that is a failure.
spcatch.InvalidArgumentError.partial = property(lambda self: None, lambda self, value: None)


def refused(name, call, *args):
    """The call is refused with this error."""
    try:
        call(*args)
    except spapi.ApiError as error:
        assert error.name == name, f"{error.name}: {error.desc}, not {name}"
        assert error.desc, "an error without a description"
        print(f"refused {name}")
        return error
    raise AssertionError(f"not refused: {call} {args}")


class Counted:
    """Makes calls and tells of them."""

    def __init__(self, api, cluster):
        self.api = api
        self.cluster = cluster

    def quietly(self, name, *args):
        call = getattr(self.api, name)
        return call(*args) if self.cluster is None else call(*args, clusterName=self.cluster)

    def __getattr__(self, name):
        def made(*args):
            answer = self.quietly(name, *args)
            print(f"called {name}")
            return answer

        return made


def volumes(sp):
    made = sp.volumeCreate({"name": "v-1", "size": 1 << 30, "template": "nvme", "tags": {"a": "1", "b": "2"}})
    assert made.ok and made.generation > 0 and made.globalId
    [volume] = sp.volumeList("v-1")
    assert (volume.name, volume.size, volume.globalId) == ("v-1", 1 << 30, made.globalId)
    assert volume.templateName == "nvme" and volume.iops == "-" and volume.tags == {"a": "1", "b": "2"}
    [same] = sp.volumeList("~" + made.globalId)
    assert same.name == "v-1"
    refused("objectExists", sp.volumeCreate, {"name": "v-1", "size": 512, "template": "nvme"})
    refused("objectDoesNotExist", sp.volumeCreate, {"name": "v-0", "size": 512, "template": "none"})
    refused("objectDoesNotExist", sp.volumeList, "none")
    unnamed = sp.volumeCreate({"size": 1 << 20, "template": "hybrid"})
    assert unnamed.name == "~" + unnamed.globalId
    [volume] = sp.volumeList(unnamed.name)
    assert volume.name == unnamed.name
    sp.volumeUpdate("v-1", {"size": 2 << 30, "tags": {"a": "", "c": "3"}, "iops": 1000, "bw": 4096})
    [volume] = sp.volumeList("v-1")
    assert (volume.size, volume.iops, volume.bw) == (2 << 30, 1000, 4096)
    assert volume.tags == {"b": "2", "c": "3"}
    refused("invalidParam", sp.volumeUpdate, "v-1", {"size": 1 << 30})
    sp.volumeUpdate("v-1", {"template": "hybrid", "iops": "-"})
    clone = sp.volumeCreate({"name": "v-2", "baseOn": "v-1", "size": 3 << 30, "template": "nvme"})
    assert clone.autoName
    names = {volume.name for volume in sp.volumesList()}
    assert {"v-1", "v-2", unnamed.name} <= names
    assert sp.volumesQuickStatus()["v-1"].status == "up"
    assert sp.volumesStatus()["v-1"].storedSize == 0
    assert sp.volumeInfo("v-1").disksCount >= 0
    assert len(sp.volumeListSnapshots("v-2")) == 1
    return unnamed.name


def snapshots(sp):
    made = sp.snapshotCreate("v-1", {"name": "s-1", "tags": {"of": "v-1"}})
    assert made.snapshotGlobalId
    [snapshot] = sp.snapshotList("s-1")
    assert snapshot.onVolume == "v-1" and snapshot.size == 2 << 30 and not snapshot.deleted
    assert snapshot.tags == {"of": "v-1"}
    refused("objectExists", sp.snapshotCreate, "v-1", {"name": "v-2"})
    refused("objectDoesNotExist", sp.snapshotCreate, "none", {"name": "s-2"})
    sp.snapshotUpdate("s-1", {"bind": True, "deleteAfter": 3600})
    assert sp.snapshotList("s-1")[0].targetDeleteDate
    sp.snapshotUpdate("s-1", {"bind": False, "deleteAfter": 0})
    sp.snapshotUpdate("s-1", {"template": "nvme"})
    assert sp.snapshotList("s-1")[0].templateName == "nvme"
    sp.snapshotUpdate("s-1", {"template": "hybrid"})
    assert sp.snapshotInfo("s-1").name == "s-1"
    sp.volumeCreate({"name": "v-3", "parent": "s-1"})
    specs = [{"volume": "v-1", "name": "g-1", "tags": {"n": "1"}}, {"volume": "v-2", "name": "g-2"}]
    group = sp.snapshotCreateGroup({"volumes": specs, "tags": {"g": "1"}})
    assert {one.snapshot for one in group.snapshots} == {"g-1", "g-2"}
    assert sp.snapshotList("g-1")[0].tags == {"g": "1", "n": "1"}
    missing = {"volumes": [{"volume": "v-1", "name": "h-1"}, {"volume": "none", "name": "h-2"}]}
    refused("objectDoesNotExist", sp.snapshotCreateGroup, missing)
    refused("objectDoesNotExist", sp.snapshotList, "h-1")
    assert {"s-1", "g-1", "g-2"} <= {snapshot.name for snapshot in sp.snapshotsList()}


def attachments(sp):
    def reassign(*entries, timeout=5):
        return sp.volumesReassignWait({"reassign": list(entries), "attachTimeout": timeout})

    # The first word of its own list of values, "fail", is taken for the list's name and refused by the client.
    moving = {"onRemoteAttached": "detach"}
    assert reassign({"volume": "v-1", "rw": [1], **moving}, {"volume": "v-2", "ro": [1, 2]}).ok
    found = {(one.volume, one.client): one for one in sp.attachmentsList()}
    assert found["v-1", 1].rights == "rw" and found["v-2", 2].rights == "ro"
    assert found["v-1", 1].pos != found["v-2", 1].pos and not found["v-1", 1].snapshot
    refused("busy", sp.volumeDelete, "v-1")
    refused("invalidParam", reassign, {"volume": "v-1", "rw": [99]})
    refused("objectDoesNotExist", reassign, {"volume": "v-2", "rw": [1]}, {"volume": "none", "rw": [1]})
    found = {(one.volume, one.client): one for one in sp.attachmentsList()}
    assert found["v-2", 1].rights == "ro", "all or nothing"
    reassign({"snapshot": "s-1", "ro": [1]})
    refused("busy", sp.snapshotDelete, "s-1")
    reassign({"snapshot": "s-1", "detach": "all"})
    reassign({"volume": "v-1", "rw": [2], "detach": "all"})
    clients = [one.client for one in sp.attachmentsList() if one.volume == "v-1"]
    assert clients == [2], clients
    sp.volumesReassign([{"volume": "v-1", "detach": [2]}])
    reassign({"volume": "v-1", "detach": [2]})
    reassign({"volume": "v-2", "detach": "all"})
    reassign({"volume": "v-3", "rw": [3]}, timeout=0)
    refused("timeout", lambda: reassign({"volume": "v-3", "rw": [1, 3]}, timeout=1))
    reassign({"volume": "v-3", "detach": "all", "force": True}, timeout=0)


def cluster(sp):
    status = sp.servicesList()
    assert status.clusterStatus == "running" and status.clients[1].status == "running"
    assert status.clients[3].status == "down"
    assert {one.configStatus for one in sp.clientsConfigDump()} >= {"down"}
    sp.clientConfigWait(1)
    assert {"nvme", "hybrid"} == {one.name for one in sp.volumeTemplatesList()}
    assert sp.volumeTemplateDescribe("nvme").name == "nvme"
    [nvme] = [one for one in sp.volumeTemplatesStatus() if one.name == "nvme"]
    assert nvme.stored.capacity == 1 << 44 and nvme.stored.free == 1 << 44


def store(sp):
    sp.kvsCreate("bucket")
    sp.kvsUpdate("bucket", {"set": {"a": "1", "b": "2"}})
    bucket = sp.kvsList("bucket")
    assert bucket.pairs == {"a": "1", "b": "2"}
    assert sp.kvsTryUpdate("bucket", {"runIfVersionIs": bucket.version, "set": {"a": ""}})
    assert not sp.kvsTryUpdate("bucket", {"runIfVersionIs": bucket.version, "set": {"a": "3"}})
    assert sp.kvsGet("bucket", "b").pairs == {"b": "2"}
    assert sp.kvsBuckets().buckets["bucket"] > bucket.version
    sp.kvsDelete("bucket")
    refused("objectDoesNotExist", sp.kvsList, "bucket")


def iscsi(sp):
    def change(*commands):
        return sp.iSCSIConfigChange({"commands": list(commands)})

    initiator = "iqn.2026-01.example:host"
    change(
        {"setBaseName": {"name": "iqn.2026-01.example:sim"}},
        {"createPortalGroup": {"name": "pg"}},
        {"portalGroupAddNetwork": {"portalGroup": "pg", "net": "10.0.0.1/24"}},
        {"createPortal": {"portalGroup": "pg", "controller": 1, "ip": "10.0.0.2"}},
        {"createInitiator": {"name": initiator, "username": "", "secret": ""}},
        {"initiatorAddNetwork": {"initiator": initiator, "net": "0.0.0.0/0"}},
        {"createTarget": {"volumeName": "v-1"}},
        {"export": {"initiator": initiator, "portalGroup": "pg", "volumeName": "v-1"}},
    )
    config = sp.iSCSIConfig().iscsi
    [target] = config.targets.values()
    [host] = config.initiators.values()
    assert target.volume == "v-1" and host.exports[0].target == target.name
    assert host.exports[0].portalGroup == "pg" and host.name == initiator
    [group] = config.portalGroups.values()
    assert [(net.address, net.prefix) for net in group.networks] == [("10.0.0.1", 24)]
    deadline = time.monotonic() + 30
    while not sp.quietly("iSCSISessionsInfo").sessions:
        assert time.monotonic() < deadline, "nobody has logged in"
        time.sleep(0.01)
    [session] = sp.iSCSISessionsInfo().sessions
    assert (session.status, session.initiator, session.target) == ("ok", initiator, target.name)
    assert sp.iSCSISessionsInfo({"controllerIds": [2]}).sessions == []
    refused("objectExists", change, {"createTarget": {"volumeName": "v-1"}})
    refused("objectExists", change, {"createInitiator": {"name": initiator, "username": "", "secret": ""}})
    again = {"initiator": initiator, "portalGroup": "pg", "volumeName": "v-1"}
    refused("objectExists", change, {"export": again})
    refused("invalidParam", change, {"deleteTarget": {"volumeName": "v-1"}})
    refused("objectDoesNotExist", change, {"createTarget": {"volumeName": "none"}})
    half = {"createTarget": {"volumeName": "v-2"}}
    refused("objectDoesNotExist", change, half, {"exportDelete": dict(again, volumeName="v-3")})
    assert len(sp.iSCSIConfig().iscsi.targets) == 1, "all or nothing"
    refused("busy", sp.volumeDelete, "v-1")
    change(
        {"exportDelete": {"initiator": initiator, "portalGroup": "pg", "volumeName": "v-1"}},
        {"deleteTarget": {"volumeName": "v-1"}},
        {"deleteInitiator": {"name": initiator}},
        {"deletePortal": {"ip": "10.0.0.2"}},
        {"deletePortalGroup": {"name": "pg"}},
    )
    refused("objectDoesNotExist", change, {"deleteTarget": {"volumeName": "v-1"}})


def end(sp, unnamed):
    sp.volumeRevert("v-1", {"toSnapshot": "s-1"})
    sp.snapshotDelete("s-1")
    refused("objectDoesNotExist", sp.snapshotList, "s-1")
    sp.snapshotDeleteById(sp.snapshotList("g-1")[0].globalId)
    sp.snapshotDelete("g-2")
    for name in ("v-1", "v-2", "v-3", unnamed):
        sp.volumeDelete(name)
    refused("objectDoesNotExist", sp.volumeDelete, "v-1")
    assert sp.volumesList() == []


def judges():
    """The client refuses what is no answer, so that its silence means something."""

    class Junk(spapi.Api):
        def __call__(self, *args, **kwargs):
            return [{"name": "v-1", "size": "large"}]

    try:
        Junk().volumesList()
    except spcatch.InvalidArgumentError:
        return
    raise AssertionError("the client takes anything for an answer")


def main():
    host, port, token, kind = sys.argv[1:]
    judges()
    stranger = spapi.Api(host, int(port), "1", transientRetries=0)
    refused("invalidAuth", stranger.volumesList)
    api = spapi.Api(host, int(port), token, transientRetries=0, multiCluster=kind != "single")
    sp = Counted(api, "~d.n" if kind == "remote" else None)
    unnamed = volumes(sp)
    snapshots(sp)
    attachments(sp)
    cluster(sp)
    if sp.cluster is None:
        # The client does not forward kvsTryUpdate.
        store(sp)
    iscsi(sp)
    end(sp, unnamed)
    print("every answer was accepted")


main()
