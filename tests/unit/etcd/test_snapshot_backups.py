"""Snapshots by the clock, in virtual time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pilothouse.etcd.contract import Put
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.etcd.snapshots import file
from pilothouse.etcd.snapshots.backups import Backups, Schedule
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world

HALF_AN_HOUR_S = 1800.0


class Setting:
    """A store, its backups, and what they tell."""

    def __init__(self, store: EmbeddedBackend, directory: Path, keep: int, world: World) -> None:
        self.store = store
        self.directory = directory
        self.world = world
        self.metrics = CollectorRegistry()
        schedule = Schedule(HALF_AN_HOUR_S, keep, directory)
        self.task = asyncio.create_task(Backups(store, schedule, world, self.metrics).run())

    async def hours(self, hours: float) -> None:
        """A little more, so that what was due has ended."""
        await self.world.clock.sleep(hours * 3600 + 1)

    def files(self) -> list[str]:
        return sorted(os.listdir(self.directory))

    def metric(self, name: str) -> float | None:
        return self.metrics.get_sample_value(f"pilothouse_snapshot_{name}")

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.store.close()


async def setting(directory: Path, keep: int) -> Setting:
    world = simulated_world(1)
    return Setting(await open_backend(world, NoLog()), directory, keep, world)


def test_the_newest_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    async def scenario() -> None:
        directory = tmp_path / "snapshots"
        directory.mkdir()
        theirs = ["mine.db", "snapshot-by-hand.db", "snapshot-20250101T000000Z.db"]
        for name in theirs:
            (directory / name).write_text("theirs")
        (directory / "snapshot-20250101T000000Z-r3.db.part").write_text("a backup that was killed")
        at = await setting(directory, 3)
        for _ in range(5):
            await at.store.put(Put(b"a", b"1"))
            await at.hours(0.5)
        names = sorted(set(at.files()) - set(theirs))
        assert [n.partition("-r")[2] for n in names] == ["4.db", "5.db", "6.db"]
        assert set(theirs) <= set(at.files())
        for name in names:
            assert file.status(directory / name).total_keys > 0
        saved = at.metric("last_success_timestamp_seconds")
        assert saved is not None
        assert at.world.now() - saved < HALF_AN_HOUR_S
        assert (at.metric("last_size_bytes") or 0) + 32 == (directory / names[-1]).stat().st_size
        await at.stop()

    run_virtual(scenario())


def test_none_is_saved_before_a_period_is_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        at = await setting(tmp_path / "snapshots", 3)
        await at.hours(0.4)
        assert not at.directory.exists()
        await at.stop()

    run_virtual(scenario())


def test_a_failed_backup_is_told_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        directory = tmp_path / "snapshots"
        directory.write_text("in the way")
        at = await setting(directory, 3)
        await at.hours(1)
        assert at.metric("failures_total") == 2
        assert "no snapshot was saved" in caplog.text
        assert "--snapshot-dir" in caplog.text
        directory.unlink()
        await at.hours(0.5)
        assert len(at.files()) == 1
        assert at.metric("failures_total") == 2
        await at.stop()

    run_virtual(scenario())


def test_keep_0_deletes_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        at = await setting(tmp_path / "snapshots", 0)
        await at.hours(3)
        assert len(at.files()) == 6
        await at.stop()

    run_virtual(scenario())
