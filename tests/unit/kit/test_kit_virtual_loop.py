import asyncio
import time

import pytest

from pilothouse.kit.virtual_loop import Deadlock, run_virtual
from pilothouse.kit.world import simulated_world


def test_a_day_passes_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400 * 3)
        return asyncio.get_running_loop().time()

    began = time.perf_counter()
    assert run_virtual(main()) == pytest.approx(86_400 * 3)
    assert time.perf_counter() - began < 1


def test_timers_fire_in_order_and_the_same_way_every_time() -> None:
    async def main() -> list[tuple[float, str]]:
        world = simulated_world(7)
        seen: list[tuple[float, str]] = []

        async def worker(name: str) -> None:
            for _ in range(20):
                await world.clock.sleep(world.random.random())
                seen.append((world.clock.monotonic(), name))

        await asyncio.gather(worker("a"), worker("b"), worker("c"))
        return seen

    first = run_virtual(main())
    assert first == sorted(first)
    assert first == run_virtual(main())


def test_a_timeout_needs_no_real_time() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await simulated_world(1).within(3600, asyncio.Event().wait())

    run_virtual(main())


def test_waiting_for_nothing_is_an_error_that_names_who_waits() -> None:
    async def main() -> None:
        asyncio.current_task().set_name("the scheduler")  # type: ignore[union-attr]
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="nothing can ever happen again; waiting: the scheduler"):
        run_virtual(main())


def test_work_in_a_thread_is_waited_for() -> None:
    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(None, lambda: time.sleep(0.02) or "done")
        return result, loop.time()

    assert run_virtual(main()) == ("done", 0.0)


def test_what_is_left_behind_is_cancelled() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            ended.append("yes")

    async def main() -> None:
        task = asyncio.create_task(forever())
        await asyncio.sleep(1)
        assert not task.done()

    run_virtual(main())
    assert ended == ["yes"]


def test_a_timer_fires_at_its_time_and_never_before() -> None:
    """Two that wait for the same moment keep each other awake where one fires early."""

    async def until(moment: float, first_s: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(first_s)
        rounds = 0
        while (left_s := moment - loop.time()) > 0:
            await asyncio.sleep(left_s)
            rounds += 1
            assert rounds < 10, "the clock does not come to it"

    async def main() -> None:
        await asyncio.sleep(600)
        moment = 600 + 7e-10
        await asyncio.gather(*(until(moment, n * 1e-10) for n in range(5)))

    run_virtual(main())
