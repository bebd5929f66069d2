"""Compaction by itself, in virtual time."""

from __future__ import annotations

import random

import pytest

from pilothouse.etcd.contract import Put
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.etcd.server.compaction import AutoCompaction
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import LoopClock, World


async def _history(options: ServerOptions, seconds: int) -> list[tuple[int, int]]:
    """One write a second; the newest and the compacted revision every minute."""
    world = World(LoopClock(), random.Random(1))
    backend: EmbeddedBackend = await open_backend(world, NoLog())
    seen = []
    async with Tasks("test") as tasks:
        tasks.start("compaction", AutoCompaction(backend, world, options).run())
        for second in range(1, seconds + 1):
            await world.clock.sleep(1)
            await backend.put(Put(b"a", b""))
            if second % 60 == 0:
                seen.append((backend.revision, backend.compact_revision))
    await backend.close()
    return seen


def test_by_time() -> None:
    """With 10 minutes, what is older than 10 minutes goes within another 10."""
    seen = run_virtual(_history(ServerOptions(compaction_retention=600), 3600))
    kept = [newest - compacted for newest, compacted in seen if newest > 1300]
    assert all(compacted == 0 for newest, compacted in seen if newest < 600)
    assert min(kept) >= 590
    assert max(kept) <= 1270


@pytest.mark.parametrize("keep", [100, 1000])
def test_by_revision(keep: int) -> None:
    """Every five minutes all but so many."""
    seen = run_virtual(_history(ServerOptions(compaction_mode="revision", compaction_retention=keep), 3600))
    kept = [newest - compacted for newest, compacted in seen if newest > keep + 310]
    assert keep <= min(kept)
    assert max(kept) <= keep + 301
