"""etcd3gw: the examples of its documentation, over JSON and HTTP."""

import os
import threading
import uuid

from etcd3gw.client import Etcd3Client
from etcd3gw.lock import Lock

host, port = os.environ["ETCDCTL_ENDPOINTS"].split(",")[0].split(":")
client = Etcd3Client(host=host, port=int(port), api_path="/v3/")


def keys():
    assert client.put("foo", "bar") is True
    assert client.get("foo") == [b"bar"]
    value, meta = client.get("foo", metadata=True)[0]
    assert value == b"bar" and meta["version"] == "1", meta
    assert client.create("created", "once") is True and client.create("created", "twice") is False
    assert client.replace("foo", "bar", "baz") is True
    assert client.replace("foo", "bar", "baz") is False
    client.put("foo/1", "a")
    client.put("foo/2", "b")
    found = [value for value, _ in client.get_prefix("foo/", sort_order="descend")]
    assert found == [b"b", b"a"], found
    assert client.delete("foo") is True
    assert client.delete_prefix("foo/") is True


def leases():
    lease = client.lease(ttl=60)
    client.put("with a lease", "x", lease=lease)
    assert 0 < lease.ttl() <= 60 and lease.refresh() == 60
    assert lease.keys() == [b"with a lease"], lease.keys()
    assert lease.revoke() is True
    assert client.get("with a lease") == []


def watches():
    events, cancel = client.watch("watched")
    other = Etcd3Client(host=host, port=int(port), api_path="/v3/")
    writer = threading.Thread(target=lambda: [other.put("watched", str(n)) for n in range(3)])
    writer.start()
    seen = [next(events)["kv"]["value"] for _ in range(3)]
    writer.join()
    cancel()
    assert seen == [b"0", b"1", b"2"], seen


def locks():
    with Lock(f"lock-{uuid.uuid4()}", ttl=60, client=client) as lock:
        assert lock.is_acquired()


def maintenance():
    status = client.status()
    assert status["version"].startswith("3."), status
    assert len(client.members()) >= 1


for example in [keys, leases, watches, locks, maintenance]:
    example()
    print(f"etcd3gw: {example.__name__}")
