"""What concurrent clients see of a store is what one store could show them, also while members go away."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pilothouse.etcd.cluster.backend import ClusterBackend, open_cluster
from pilothouse.etcd.cluster.client import EtcdClient
from pilothouse.etcd.contract import Backend, Put, StoreUnavailable
from pilothouse.kit.world import World
from pilothouse.testing.history import History
from tests.contract.recording import Client, act, outcomes, record, watches
from tests.etcds import three_members


@pytest.mark.parametrize("seed", [1, 2])
async def test_concurrent_clients(store: Backend, seed: int) -> None:
    history = History()
    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(60):
        recorders = [
            asyncio.ensure_future(record(watch, watched, end))
            for watch, watched in watches(store, history, "vwx")
        ]
        await asyncio.gather(*(act(Client(f"c{n}", store, history, seed * 100 + n), 40) for n in range(8)))
        end.set_result((await store.put(Put(b"end", b""))).revision)
        await asyncio.gather(*recorders)
    assert outcomes(history) == (320, 0)
    assert history.violations() == []


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_clients_of_two_backends_while_each_member_goes_away_in_turn(how: str) -> None:
    members = three_members()
    history = History()
    urls = [member.url for member in members]
    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    halted = asyncio.Event()

    async def go_on(client: Client) -> None:
        while not halted.is_set():
            await client.act()

    async def more(count: int) -> None:
        goal = outcomes(history)[0] + count
        while outcomes(history)[0] < goal:
            with contextlib.suppress(StoreUnavailable):
                await backends[0].put(Put(b"elsewhere", b""))

    backends: list[ClusterBackend] = []
    try:
        async with asyncio.timeout(120):
            for shift in range(2):
                client = EtcdClient(urls[shift:] + urls[:shift], None, World())
                backends.append(await open_cluster(World(), client))
            recorders = [
                asyncio.ensure_future(record(watch, watched, end))
                for n, backend in enumerate(backends)
                for watch, watched in watches(backend, history, "vw"[n])
            ]
            clients = [
                asyncio.ensure_future(go_on(Client(f"c{n}", backends[n % 2], history, n))) for n in range(4)
            ]
            await more(50)
            for member in members:
                if how == "killed":
                    member.kill()
                else:
                    member.pause()
                await more(100)
                if how == "killed":
                    member.start()
                else:
                    member.resume()
                await more(50)
            halted.set()
            await asyncio.gather(*clients)
            end.set_result((await backends[0].put(Put(b"end", b""))).revision)
            await asyncio.gather(*recorders)
        assert outcomes(history)[0] > 400
        assert history.violations() == []
    finally:
        for backend in backends:
            await backend.close()
        for member in members:
            member.remove()
