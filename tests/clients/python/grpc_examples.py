"""python-etcd3: the examples of its README and its manual, over gRPC."""

import os
import threading

import etcd3

host, port = os.environ["ETCDCTL_ENDPOINTS"].split(",")[0].split(":")
etcd = etcd3.client(host=host, port=int(port), timeout=10)


def keys():
    etcd.put("bar", "doot")
    value, meta = etcd.get("bar")
    assert value == b"doot" and meta.version == 1, (value, meta)
    assert etcd.get("foo") == (None, None)
    assert etcd.put_if_not_exists("bar", "other") is False
    assert etcd.replace("bar", "doot", "toot") is True
    etcd.put("bas", "1")
    found = [(meta.key, value) for value, meta in etcd.get_prefix("ba")]
    assert found == [(b"bar", b"toot"), (b"bas", b"1")], found
    descending = [meta.key for _, meta in etcd.get_prefix("ba", sort_order="descend")]
    assert descending == [b"bas", b"bar"], descending
    assert etcd.delete("bar") is True and etcd.delete("bar") is False
    assert etcd.delete_prefix("ba").deleted == 1


def transactions():
    def step():
        return etcd.transaction(
            compare=[
                etcd.transactions.value("/doot/testing") == "doot",
                etcd.transactions.version("/doot/testing") > 0,
            ],
            success=[etcd.transactions.put("/doot/testing", "success")],
            failure=[etcd.transactions.put("/doot/testing", "failure")],
        )

    assert step()[0] is False
    assert etcd.get("/doot/testing")[0] == b"failure"
    etcd.put("/doot/testing", "doot")
    assert step()[0] is True
    assert etcd.get("/doot/testing")[0] == b"success"


def watches():
    events, cancel = etcd.watch("/doot/watch")
    for number in range(3):
        etcd.put("/doot/watch", str(number))
    etcd.delete("/doot/watch")
    seen = [next(events) for _ in range(4)]
    cancel()
    assert [event.value for event in seen] == [b"0", b"1", b"2", b""], seen
    assert isinstance(seen[3], etcd3.events.DeleteEvent)

    events, cancel = etcd.watch_prefix("/doot/watch/prefix/")
    etcd.put("/doot/watch/prefix/a", "1")
    etcd.put("/doot/watch/prefix/b", "2")
    assert [next(events).key for _ in range(2)] == [
        b"/doot/watch/prefix/a",
        b"/doot/watch/prefix/b",
    ]
    cancel()

    told, called = [], threading.Event()

    def callback(response):
        told.extend(response.events)
        called.set()

    watch_id = etcd.add_watch_callback("/anotherkey", callback)
    etcd.put("/anotherkey", "hello")
    assert called.wait(10) and told[0].value == b"hello"
    etcd.cancel_watch(watch_id)

    # From a revision of the past.
    first = etcd.get("/doot/watch/prefix/a")[1].mod_revision
    events, cancel = etcd.watch_prefix("/doot/watch/prefix/", start_revision=first)
    assert [next(events).value for _ in range(2)] == [b"1", b"2"]
    cancel()


def leases():
    lease = etcd.lease(60)
    etcd.put("leased", "value", lease=lease)
    assert lease.granted_ttl == 60 and 0 < lease.remaining_ttl <= 60
    assert lease.keys == [b"leased"], lease.keys
    assert lease.refresh()[0].TTL == 60
    lease.revoke()
    assert etcd.get("leased") == (None, None)


def locks():
    lock = etcd.lock("thing", ttl=20)
    assert lock.acquire() and lock.is_acquired()
    assert etcd.get("/locks/thing")[0] == lock.uuid
    assert lock.release() and not lock.is_acquired()
    with etcd.lock("doot-machine", ttl=20) as lock:
        assert lock.is_acquired()


def maintenance():
    members = list(etcd.members)
    assert len(members) >= 1 and all(member.name for member in members), members
    status = etcd.status()
    assert status.version.startswith("3.") and status.leader.id in [it.id for it in members]
    assert list(etcd.list_alarms()) == []
    etcd.compact(etcd.get("/anotherkey")[1].mod_revision)
    etcd.defragment()


for example in [keys, transactions, watches, leases, locks, maintenance]:
    example()
    print(f"python-etcd3: {example.__name__}")
