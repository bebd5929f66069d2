"""The backend on a real etcd whose members are killed and paused, and what only etcd itself can show."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from pilothouse.etcd.cluster.backend import ClusterBackend, open_cluster
from pilothouse.etcd.cluster.client import Credentials, EtcdClient
from pilothouse.etcd.contract import (
    Event,
    LeaseNotFound,
    OutcomeUnknown,
    Put,
    Range,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    Watch,
    prefix_end,
)
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Refused
from pilothouse.etcd.wire.methods import AUTH, MAINTENANCE
from pilothouse.kit.world import World
from tests.etcds import Etcd, SpareEtcds, free_port, three_members


@pytest.fixture
def etcd(spare_etcds: SpareEtcds) -> Iterator[Etcd]:
    etcd = spare_etcds.take()
    yield etcd
    etcd.remove()


@pytest.fixture
def members() -> Iterator[list[Etcd]]:
    members = three_members()
    yield members
    for member in members:
        member.remove()


def _client(*urls: str, credentials: Credentials | None = None) -> EtcdClient:
    return EtcdClient(urls, None, World(), credentials=credentials)


@contextlib.asynccontextmanager
async def _opened(*urls: str) -> AsyncIterator[ClusterBackend]:
    backend = await open_cluster(World(), _client(*urls))
    yield backend
    await backend.close()


async def _collect(watch: Watch, until_revision: int) -> list[Event]:
    """What comes until the watch is there."""
    events: list[Event] = []
    async with asyncio.timeout(20):
        while not events or events[-1].kv.mod_revision < until_revision:
            events += await watch.next()
    return events


async def _member(members: list[Etcd], backend: ClusterBackend, *, leader: bool) -> Etcd:
    """The leader, or the member that the backend speaks to."""
    if not leader:
        return next(member for member in members if member.url == backend.client.current)
    async with asyncio.timeout(20):
        while True:
            for member in members:
                status = await backend.client.call(
                    MAINTENANCE["Status"], pb.StatusRequest(), endpoint=member.url
                )
                if status.leader == status.header.member_id:
                    return member


async def test_the_first_endpoint_may_be_dead(etcd: Etcd) -> None:
    async with _opened(f"http://127.0.0.1:{free_port()}", etcd.url) as backend:
        assert (await backend.put(Put(b"a", b"1"))).revision == 2


async def test_when_nobody_answers_the_error_names_whom_was_asked() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    client = _client(url)
    with pytest.raises(StoreUnavailable, match=rf"no etcd member of {url} answered in 0.3 s"):
        await client.call(MAINTENANCE["Status"], pb.StatusRequest(), timeout_s=0.3)
    await client.close()


async def test_health_is_a_reason_while_etcd_is_away(etcd: Etcd) -> None:
    async with _opened(etcd.url) as backend:
        assert await backend.health() == ""
        etcd.kill()
        assert (await backend.health()).startswith("error getting data from etcd: ")
        etcd.start()
        async with asyncio.timeout(20):
            while await backend.health():
                pass


async def test_a_write_to_a_paused_member_is_uncertain_and_a_read_waits_for_it(etcd: Etcd) -> None:
    async with _opened(etcd.url) as backend:
        etcd.pause()
        with pytest.raises(OutcomeUnknown, match=r"may have been done or not.*does not answer"):
            await backend.put(Put(b"a", b"1"))
        reading = asyncio.ensure_future(backend.range(Range(b"a")))
        etcd.resume()
        assert (await reading).revision >= 1


async def test_a_watch_goes_on_where_it_was_after_etcd_was_away(etcd: Etcd) -> None:
    async with _opened(etcd.url) as backend:
        watch = backend.watch(b"a", prefix_end(b"a"))
        idle = backend.watch(b"b")
        for n in range(3):
            await backend.put(Put(b"a%d" % n, b""))
        assert [e.kv.mod_revision for e in await _collect(watch, 4)] == [2, 3, 4]
        etcd.kill()
        etcd.start()
        async with asyncio.timeout(20):
            while await backend.health():
                pass
        last = await backend.put(Put(b"a3", b""))
        assert [e.kv.mod_revision for e in await _collect(watch, last.revision)] == [5]
        idle.request_progress()
        async with asyncio.timeout(20):
            while await idle.next() == [] and idle.progress_revision < last.revision:
                idle.request_progress()


@pytest.mark.parametrize("leader", [True, False], ids=["leader", "own member"])
@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_no_write_is_lost_and_no_event_missed_or_repeated(
    members: list[Etcd], how: str, leader: bool
) -> None:
    """One of three members goes away under load. What was acknowledged is there and was seen once."""
    async with _opened(*(member.url for member in members)) as backend:
        watch = backend.watch(b"k", prefix_end(b"k"))
        acknowledged: dict[bytes, int] = {}
        halted = asyncio.Event()

        async def write(writer: int) -> None:
            n = 0
            while not halted.is_set():
                n += 1
                key = b"k/%d/%d" % (writer, n)
                try:
                    acknowledged[key] = (await backend.put(Put(key, b""))).revision
                except StoreUnavailable:
                    await asyncio.wait((asyncio.ensure_future(halted.wait()),), timeout=0.05)

        async def written(more: int) -> None:
            goal = len(acknowledged) + more
            async with asyncio.timeout(20):
                while len(acknowledged) < goal:
                    await backend.range(Range(b"k"))

        writers = [asyncio.create_task(write(n)) for n in range(4)]
        await written(100)
        victim = await _member(members, backend, leader=leader)
        if how == "killed":
            victim.kill()
        else:
            victim.pause()
        await written(300)
        halted.set()
        await asyncio.gather(*writers)
        last = (await backend.put(Put(b"k/last", b""))).revision
        events = await _collect(watch, last)
        seen = [(e.kv.key, e.kv.mod_revision) for e in events]
        assert len(set(seen)) == len(seen)
        assert [r for _, r in seen] == sorted(r for _, r in seen)
        assert acknowledged.items() <= dict(seen).items()
        assert watch.progress_revision == last
        stored = await backend.range(Range(b"k", prefix_end(b"k")))
        assert {kv.key: kv.mod_revision for kv in stored.kvs} == dict(seen)


async def test_without_a_quorum_nothing_is_healthy_and_with_one_all_goes_on(members: list[Etcd]) -> None:
    async with _opened(*(member.url for member in members)) as backend:
        await backend.put(Put(b"a", b"1"))
        for member in members[:2]:
            member.kill()
        assert "error getting data from etcd" in await backend.health()
        async with asyncio.timeout(20):
            while True:
                old = await backend.range(Range(b"a", serializable=True))
                if old.kvs:  # a member that is behind may not have it yet
                    break
        members[0].start()
        async with asyncio.timeout(30):
            while await backend.health():
                pass
        assert (await backend.range(Range(b"a"))).kvs[0].value == b"1"


async def test_a_lease_is_kept_alive_through_any_member(members: list[Etcd]) -> None:
    async with _opened(*(member.url for member in members)) as backend:
        lease = await backend.lease_grant(60)
        (await _member(members, backend, leader=False)).kill()
        assert (await backend.lease_keep_alive(lease.id)).ttl_s == 60
        await backend.lease_revoke(lease.id)
        with pytest.raises(LeaseNotFound):
            await backend.lease_keep_alive(lease.id)


async def test_a_slow_consumer_gets_everything_too(etcd: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.etcd.cluster.watcher._EVENTS_MAX", 20)
    async with _opened(etcd.url) as backend:
        slow = backend.watch(b"a")
        fast = backend.watch(b"a")
        for n in range(200):
            await backend.put(Put(b"a", b"%d" % n))
        assert len(await _collect(fast, 201)) == 200
        events = await _collect(slow, 201)
        assert [e.kv.mod_revision for e in events] == list(range(2, 202))


async def test_big_revisions_come_whole(etcd: Etcd) -> None:
    """etcd sends more than 2 MiB of events in fragments."""
    async with _opened(etcd.url) as writer, _opened(etcd.url) as reader:
        for n in range(8):
            await writer.put(Put(b"a%d" % n, bytes(1_000_000)))
        watch = reader.watch(b"a", prefix_end(b"a"), 2, prev=True)
        events = await _collect(watch, 9)
        assert [(e.kv.mod_revision, len(e.kv.value)) for e in events] == [
            (n, 1_000_000) for n in range(2, 10)
        ]


async def test_a_request_that_is_too_large_is_refused_in_etcds_words(etcd: Etcd) -> None:
    async with _opened(etcd.url) as backend:
        with pytest.raises(StoreError, match="etcdserver: request is too large"):
            await backend.put(Put(b"a", bytes(1_600_000)))
        with pytest.raises(StoreError, match="larger than max"):
            await backend.put(Put(b"a", bytes(3_000_000)))
        assert (await backend.put(Put(b"a", b""))).revision == 2


async def test_a_snapshot_is_checked(etcd: Etcd) -> None:
    async with _opened(etcd.url) as backend:
        await backend.put(Put(b"a", b"1"))
        parts = [part async for part in backend.snapshot()]
        assert sum(map(len, parts)) % 4096 == 0, "pages, without the checksum"
        assert (await backend.status()).version
        assert (await backend.hash_kv()).revision == 2
        await backend.defragment()
        with pytest.raises(StoreError, match="etcdctl"):
            await backend.keep_record("users", b"x")


async def test_a_user_gets_a_token_and_a_new_one_when_it_is_not_valid_any_more(etcd: Etcd) -> None:
    root = Credentials("root", "secret")
    client = _client(etcd.url, credentials=root)
    add_user = pb.AuthUserAddRequest(name="root", password="secret")
    await client.call(AUTH["UserAdd"], add_user)
    await client.call(AUTH["UserGrantRole"], pb.AuthUserGrantRoleRequest(user="root", role="root"))
    await client.call(AUTH["AuthEnable"], pb.AuthEnableRequest())
    backend = await open_cluster(World(), client)
    assert (await backend.put(Put(b"a", b"1"))).revision == 2
    client._token = "made.up"
    assert (await backend.range(Range(b"a"))).count == 1
    watch = backend.watch(b"a")
    await backend.put(Put(b"a", b"2"))
    assert len(await _collect(watch, 3)) == 1
    stranger = _client(etcd.url, credentials=Credentials("root", "wrong"))
    with pytest.raises(StoreError, match="authentication failed, invalid user ID or password"):
        await stranger.call(AUTH["UserList"], pb.AuthUserListRequest())
    await stranger.close()
    nobody = _client(etcd.url)
    with pytest.raises(StoreError, match="user name is empty"):
        await open_cluster(World(), nobody)
    await nobody.close()
    await backend.close()


async def test_a_user_of_a_few_keys_watches_those(etcd: Etcd) -> None:
    """He may not see the whole key space; the watch of what he may see works without."""
    root = _client(etcd.url)
    await root.call(AUTH["UserAdd"], pb.AuthUserAddRequest(name="root", password="secret"))
    await root.call(AUTH["UserGrantRole"], pb.AuthUserGrantRoleRequest(user="root", role="root"))
    await root.call(AUTH["UserAdd"], pb.AuthUserAddRequest(name="ann", password="secret"))
    await root.call(AUTH["RoleAdd"], pb.AuthRoleAddRequest(name="anns"))
    everything = pb.Permission(permType=pb.Permission.READWRITE, key=b"a", range_end=b"b")
    await root.call(
        AUTH["RoleGrantPermission"], pb.AuthRoleGrantPermissionRequest(name="anns", perm=everything)
    )
    await root.call(AUTH["UserGrantRole"], pb.AuthUserGrantRoleRequest(user="ann", role="anns"))
    await root.call(AUTH["AuthEnable"], pb.AuthEnableRequest())
    await root.close()
    backend = ClusterBackend(World(), _client(etcd.url, credentials=Credentials("ann", "secret")))
    assert await backend.health() == "", "to be refused takes a quorum, too"
    watch = backend.watch(b"a", b"b")
    hidden = backend.watch(b"x")
    await backend.put(Put(b"a", b"1"))
    assert len(await _collect(watch, 2)) == 1
    with pytest.raises(Refused, match="permission denied"):
        await asyncio.wait_for(hidden.next(), 10)
    with pytest.raises(Refused, match="permission denied"):
        await backend.put(Put(b"x", b"1"))
    await backend.close()


async def test_closing_ends_what_is_on_its_way(etcd: Etcd) -> None:
    async with _opened(etcd.url) as backend:
        watch = backend.watch(b"a")
        waiting = asyncio.ensure_future(watch.next())
        etcd.pause()
        reading = asyncio.ensure_future(backend.range(Range(b"a")))
        await asyncio.wait((reading,), timeout=0.1)
        await backend.close()
        for what in (reading, waiting):
            with pytest.raises(StoreClosed):
                await what
        with pytest.raises(StoreClosed):
            await backend.watch(b"a").next()


async def test_a_cancellation_is_not_lost_while_a_connection_is_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It came when the connection did: a helper of the watches went on for ever, and with it their move."""
    client = _client("http://127.0.0.1:1")
    connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr("pilothouse.etcd.cluster.client._ready", lambda channel, state: connected)
    waiting = asyncio.create_task(client._connected("http://127.0.0.1:1", float("inf")))
    await asyncio.sleep(0)
    connected.set_result(None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await client.close()
