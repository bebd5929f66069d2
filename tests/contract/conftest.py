"""One store of each kind, new and empty, for every test of the contract."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from pilothouse.etcd.cluster.backend import open_cluster
from pilothouse.etcd.cluster.client import EtcdClient
from pilothouse.etcd.contract import Backend
from pilothouse.etcd.embedded.backend import open_backend
from pilothouse.etcd.embedded.log import NoLog, SqliteLog
from pilothouse.kit.world import World
from tests.etcds import SpareEtcds

Opener = Callable[[], AbstractAsyncContextManager[Backend]]

KINDS = ("memory", "embedded", "etcd")


@pytest.fixture(scope="session")
def spare_etcds() -> Iterator[SpareEtcds]:
    spares = SpareEtcds()
    yield spares
    spares.close()


@contextlib.asynccontextmanager
async def open_memory() -> AsyncIterator[Backend]:
    backend = await open_backend(World(), NoLog())
    yield backend
    await backend.close()


@contextlib.asynccontextmanager
async def open_embedded(directory: Path) -> AsyncIterator[Backend]:
    backend = await open_backend(World(), SqliteLog(directory / "store"))
    yield backend
    await backend.close()


@contextlib.asynccontextmanager
async def open_etcd(spares: SpareEtcds) -> AsyncIterator[Backend]:
    etcd = spares.take()
    try:
        world = World()
        backend = await open_cluster(world, EtcdClient([etcd.url], None, world))
        yield backend
        await backend.close()
    finally:
        etcd.remove()


def opener(kind: str, request: pytest.FixtureRequest) -> Opener:
    """What opens a new store of this kind, as often as it is called."""
    directories: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    if kind == "memory":
        return open_memory
    if kind == "embedded":
        return lambda: open_embedded(directories.mktemp("embedded"))
    spares: SpareEtcds = request.getfixturevalue("spare_etcds")
    return lambda: open_etcd(spares)


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    async with opener(request.param, request)() as backend:
        yield backend
