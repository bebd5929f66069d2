import asyncio
import logging

import pytest

from pilothouse.kit.tasks import Tasks
from pilothouse.kit.virtual_loop import run_virtual


async def _crash() -> None:
    await asyncio.sleep(1)
    raise ValueError("broken")


def test_a_crash_is_logged_by_name_and_raised(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        tasks = Tasks("scheduler")
        tasks.start("cycle", asyncio.sleep(1e6))
        tasks.start("binder", _crash())
        with pytest.raises(ValueError, match="broken"):
            await tasks.wait()
        assert tasks.names == ["scheduler/cycle"]
        with pytest.raises(ValueError, match="broken"):
            await tasks.stop()
        assert len(tasks) == 0

    with caplog.at_level(logging.ERROR):
        run_virtual(main())
    assert "scheduler/binder crashed" in caplog.text


def test_wait_ends_when_all_have_ended() -> None:
    async def main() -> float:
        tasks = Tasks("x")
        tasks.start("short", asyncio.sleep(1))
        tasks.start("long", asyncio.sleep(9))
        await tasks.wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(9)


def test_a_block_stops_its_tasks_and_raises_their_crash() -> None:
    async def main() -> None:
        async with Tasks("x") as tasks:
            tasks.start("loop", asyncio.sleep(1e6))
        with pytest.raises(ValueError, match="broken"):
            async with Tasks("x") as tasks:
                tasks.start("binder", _crash())
                await asyncio.sleep(5)
        with pytest.raises(RuntimeError, match="x is stopping: late cannot start"):
            tasks.start("late", asyncio.sleep(1))

    run_virtual(main())
