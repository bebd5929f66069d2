"""The store that a command means, opened as a `contract.Backend` with its `Maintenance`, wherever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pilothouse.cli.etcd import target
from pilothouse.kit.world import World

if TYPE_CHECKING:
    from pilothouse.etcd.cluster.backend import ClusterBackend
    from pilothouse.etcd.embedded.backend import EmbeddedBackend


@asynccontextmanager
async def opened(found: target.Target, world: World) -> AsyncIterator[EmbeddedBackend | ClusterBackend]:
    """Closed at the block's end. StoreError when it cannot be reached."""
    if isinstance(found, target.Stopped):
        from pilothouse.etcd.embedded.backend import open_backend
        from pilothouse.etcd.embedded.log import SqliteLog

        embedded = await open_backend(world, SqliteLog(found.directory))
        try:
            yield embedded
        finally:
            await embedded.close()
        return
    from pilothouse.cli.etcd import connect
    from pilothouse.etcd.cluster.backend import open_cluster

    async with connect.connected(target.access(found, "reading it"), world) as client:
        cluster = await open_cluster(world, client)
        try:
            yield cluster
        finally:
            await cluster.close()
