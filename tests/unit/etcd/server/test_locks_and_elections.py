"""The Lock and Election services (etcd client/v3/concurrency), in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import ELECTION, KV, LEASE, LOCK
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world
from tests.unit.etcd.server.etcd_api import Api, open_api


def _run(main: Callable[[Api, World], Awaitable[None]]) -> None:
    async def whole() -> None:
        world = simulated_world(1)
        await main(await open_api(world), world)

    run_virtual(whole())


async def _lease(api: Api, lease: int, ttl_s: int = 1000) -> int:
    await api(LEASE["LeaseGrant"], pb.LeaseGrantRequest(ID=lease, TTL=ttl_s))
    return lease


def _lock(api: Api, lease: int) -> asyncio.Task[pb.LockResponse]:
    return asyncio.ensure_future(api(LOCK["Lock"], pb.LockRequest(name=b"l", lease=lease)))


def _campaign(api: Api, lease: int, value: bytes) -> asyncio.Task[pb.CampaignResponse]:
    request = pb.CampaignRequest(name=b"e", lease=lease, value=value)
    return asyncio.ensure_future(api(ELECTION["Campaign"], request))


async def _keys(api: Api, prefix: bytes) -> list[bytes]:
    request = pb.RangeRequest(key=prefix, range_end=prefix[:-1] + bytes([prefix[-1] + 1]))
    return [kv.key for kv in (await api(KV["Range"], request)).kvs]


def test_locks_go_to_those_who_wait_in_their_order() -> None:
    async def main(api: Api, world: World) -> None:
        for lease in (0xA, 0xB, 0xC):
            await _lease(api, lease)
        first = await _lock(api, 0xA)
        assert first.key == b"l/a"
        second = _lock(api, 0xB)
        await world.clock.sleep(1)
        third = _lock(api, 0xC)
        await world.clock.sleep(1)
        assert not second.done()
        await api(LOCK["Unlock"], pb.UnlockRequest(key=first.key))
        assert (await second).key == b"l/b"
        await world.clock.sleep(1)
        assert not third.done()
        await api(LEASE["LeaseRevoke"], pb.LeaseRevokeRequest(ID=0xB))
        assert (await third).key == b"l/c"

    _run(main)


def test_who_stops_waiting_leaves_the_queue() -> None:
    async def main(api: Api, world: World) -> None:
        for lease in (0xA, 0xB, 0xC):
            await _lease(api, lease)
        first = await _lock(api, 0xA)
        second = _lock(api, 0xB)
        await world.clock.sleep(1)
        third = _lock(api, 0xC)
        await world.clock.sleep(1)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert await _keys(api, b"l/") == [b"l/a", b"l/c"]
        await api(LOCK["Unlock"], pb.UnlockRequest(key=first.key))
        assert (await third).key == b"l/c"

    _run(main)


def test_a_lock_is_not_lost_because_a_second_call_for_it_was_given_up() -> None:
    async def main(api: Api, world: World) -> None:
        await _lease(api, 0xA)
        first = await _lock(api, 0xA)
        again = await _lock(api, 0xA)
        assert again.key == first.key
        hasty = _lock(api, 0xA)
        await asyncio.sleep(0)
        hasty.cancel()
        await asyncio.gather(hasty, return_exceptions=True)
        assert await _keys(api, b"l/") == [b"l/a"]

    _run(main)


def test_a_lock_ends_with_its_lease() -> None:
    async def main(api: Api, world: World) -> None:
        await _lease(api, 0xA, 10)
        await _lease(api, 0xB, 1000)
        await _lock(api, 0xA)
        second = _lock(api, 0xB)
        before_s = world.clock.monotonic()
        assert (await second).key == b"l/b"
        assert 9 <= world.clock.monotonic() - before_s <= 13

    _run(main)


def test_a_waiter_whose_lease_ran_out_is_told() -> None:
    async def main(api: Api, world: World) -> None:
        await _lease(api, 0xA)
        await _lease(api, 0xB, 10)
        first = await _lock(api, 0xA)
        second = _lock(api, 0xB)
        await world.clock.sleep(15)
        await api(LOCK["Unlock"], pb.UnlockRequest(key=first.key))
        with pytest.raises(StoreError, match="mutex: session is expired"):
            await second

    _run(main)


def test_a_lock_without_a_lease_gets_one_of_a_minute() -> None:
    async def main(api: Api, world: World) -> None:
        answer = await _lock(api, 0)
        (lease,) = (await api(LEASE["LeaseLeases"], pb.LeaseLeasesRequest())).leases
        assert answer.key == b"l/%x" % lease.ID
        await world.clock.sleep(65)
        assert await _keys(api, b"l/") == []

    _run(main)


def test_a_lease_that_there_is_not_locks_nothing() -> None:
    async def main(api: Api, world: World) -> None:
        with pytest.raises(StoreError, match="etcdserver: requested lease not found"):
            await _lock(api, 0xDEAD)
        with pytest.raises(StoreError, match="etcdserver: key is not provided"):
            await api(LOCK["Unlock"], pb.UnlockRequest())

    _run(main)


def test_a_compaction_does_not_lose_a_waiter() -> None:
    async def main(api: Api, world: World) -> None:
        for lease in (0xA, 0xB):
            await _lease(api, lease)
        first = await _lock(api, 0xA)
        second = _lock(api, 0xB)
        await world.clock.sleep(1)
        for _ in range(5):
            await api(KV["Put"], pb.PutRequest(key=b"x"))
        await api(KV["Compact"], pb.CompactionRequest(revision=api.backend.revision))
        await api(LOCK["Unlock"], pb.UnlockRequest(key=first.key))
        assert (await second).key == b"l/b"

    _run(main)


def test_a_leader_proclaims_resigns_and_another_leads() -> None:
    async def main(api: Api, world: World) -> None:
        for lease in (0xA, 0xB):
            await _lease(api, lease)
        with pytest.raises(StoreError, match="election: no leader"):
            await api(ELECTION["Leader"], pb.LeaderRequest(name=b"e"))
        async with api.following(ELECTION["Observe"], pb.LeaderRequest(name=b"e")) as observed:
            first = (await _campaign(api, 0xA, b"one")).leader
            assert (first.key, first.lease) == (b"e/a", 0xA)
            assert (await observed.get()).kv.value == b"one"
            second = _campaign(api, 0xB, b"two")
            await api(ELECTION["Proclaim"], pb.ProclaimRequest(leader=first, value=b"more"))
            said = await observed.get()
            assert (said.kv.key, said.kv.value) == (b"e/a", b"more")
            assert not second.done()
            leader = await api(ELECTION["Leader"], pb.LeaderRequest(name=b"e"))
            assert leader.kv.value == b"more"
            await api(ELECTION["Resign"], pb.ResignRequest(leader=first))
            assert (await second).leader.key == b"e/b"
            assert (await observed.get()).kv.value == b"two"
        with pytest.raises(StoreError, match="election: not leader"):
            await api(ELECTION["Proclaim"], pb.ProclaimRequest(leader=first, value=b"late"))
        await api(ELECTION["Resign"], pb.ResignRequest(leader=first))
        assert await _keys(api, b"e/") == [b"e/b"]

    _run(main)


def test_a_candidate_may_say_something_new() -> None:
    async def main(api: Api, world: World) -> None:
        await _lease(api, 0xA)
        first = (await _campaign(api, 0xA, b"one")).leader
        again = (await _campaign(api, 0xA, b"two")).leader
        assert again.rev == first.rev
        assert (await api(ELECTION["Leader"], pb.LeaderRequest(name=b"e"))).kv.value == b"two"

    _run(main)


def test_a_candidate_who_goes_away_is_none_any_more() -> None:
    async def main(api: Api, world: World) -> None:
        for lease in (0xA, 0xB):
            await _lease(api, lease)
        await _campaign(api, 0xA, b"one")
        second = _campaign(api, 0xB, b"two")
        await world.clock.sleep(1)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert await _keys(api, b"e/") == [b"e/a"]

    _run(main)


def test_a_leader_must_be_named() -> None:
    async def main(api: Api, world: World) -> None:
        for method, request in (
            (ELECTION["Proclaim"], pb.ProclaimRequest(value=b"x")),
            (ELECTION["Resign"], pb.ResignRequest()),
        ):
            with pytest.raises(StoreError, match='"leader" field must be provided'):
                await api(method, request)

    _run(main)
