import asyncio

import pytest
from prometheus_client import CollectorRegistry

from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.work_queue import Bucket, ExponentialLimiter, RateLimitedQueue, ShutDown
from pilothouse.kit.world import simulated_world


def _queue(registry: CollectorRegistry | None = None, name: str = "test") -> RateLimitedQueue[str]:
    return RateLimitedQueue(name, simulated_world(1), registry)


def test_a_key_waits_once_and_is_never_in_two_hands() -> None:
    async def main() -> None:
        queue = _queue()
        for key in ("a", "b", "a"):
            queue.add(key)
        assert len(queue) == 2
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("a")
        assert len(queue) == 1, "in work: not handed out again"
        assert await queue.get() == "b"
        queue.done("b")
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert queue.statistics() == (0, 0, 0, 0, 0)

    run_virtual(main())


def test_workers_wait_and_each_gets_its_own() -> None:
    async def main() -> None:
        queue = _queue()
        workers = [asyncio.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(1)
        assert queue.statistics().waiting_workers == 3
        for key in "xyz":
            queue.add(key)
        assert sorted(await asyncio.gather(*workers)) == ["x", "y", "z"]

    run_virtual(main())


def test_a_worker_cancelled_after_its_call_passes_it_on() -> None:
    async def main() -> None:
        queue = _queue()
        first = asyncio.create_task(queue.get())
        second = asyncio.create_task(queue.get())
        await asyncio.sleep(1)
        queue.add("a")
        first.cancel()
        assert await asyncio.wait_for(second, 1) == "a"

    run_virtual(main())


def test_of_several_times_the_earliest_counts() -> None:
    async def main() -> None:
        queue = _queue()
        queue.add_after("a", 10)
        queue.add_after("a", 3)
        queue.add_after("a", 7)
        queue.add_after("now", 0)
        assert await queue.get() == "now"
        assert await queue.get() == "a"
        assert asyncio.get_running_loop().time() == pytest.approx(3)
        await asyncio.sleep(20)
        queue.done("a")
        assert len(queue) == 0

    run_virtual(main())


def test_failures_wait_longer_until_forgotten() -> None:
    async def main() -> None:
        queue = _queue()
        loop = asyncio.get_running_loop()
        for delay_s in (0.005, 0.01, 0.02):
            began = loop.time()
            queue.add_rate_limited("a")
            queue.done(await queue.get())
            assert loop.time() - began == pytest.approx(delay_s)
        assert queue.failures("a") == 3
        queue.forget("a")
        assert queue.failures("a") == 0

    run_virtual(main())


def test_key_delays_stop_at_the_maximum() -> None:
    limiter: ExponentialLimiter[str] = ExponentialLimiter()
    delays = [limiter.delay_s("a") for _ in range(3000)]
    assert delays[:3] == [0.005, 0.01, 0.02]
    assert delays[17:19] == [655.36, 1000.0]
    assert delays[-1] == 1000.0


def test_a_limiter_of_ones_own_is_used_from_the_first_failure_on() -> None:
    async def main() -> None:
        world = simulated_world(1)
        queue: RateLimitedQueue[str] = RateLimitedQueue("test", world, limiter=ExponentialLimiter(5.0, 300.0))
        queue.add_rate_limited("a")
        assert await queue.get() == "a"
        assert world.clock.monotonic() == pytest.approx(5.0)

    run_virtual(main())


def test_the_bucket_lends_tokens() -> None:
    bucket = Bucket()
    assert [bucket.delay_s(0) for _ in range(100)] == [0.0] * 100
    assert [bucket.delay_s(0) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert bucket.delay_s(1.0) == 0.0
    assert bucket.delay_s(1e6) == 0.0


def test_shut_down_hands_out_the_rest_then_ends() -> None:
    async def main() -> None:
        queue = _queue()
        queue.add("a")
        queue.add_after("late", 5)
        queue.shut_down()
        queue.add("b")
        assert await queue.get() == "a"
        with pytest.raises(ShutDown):
            await queue.get()
        assert queue.statistics().delayed == 0

    run_virtual(main())


def test_shut_down_calls_waiting_workers() -> None:
    async def main() -> None:
        queue = _queue()
        workers = [asyncio.create_task(queue.get()) for _ in range(2)]
        await asyncio.sleep(0)
        queue.shut_down()
        assert all(isinstance(e, ShutDown) for e in await asyncio.gather(*workers, return_exceptions=True))

    run_virtual(main())


def test_drain_waits_for_what_is_in_work() -> None:
    async def main() -> None:
        queue = _queue()
        queue.add("a")
        key = await queue.get()
        asyncio.get_running_loop().call_later(4, queue.done, key)
        await queue.shut_down_with_drain()
        assert asyncio.get_running_loop().time() == pytest.approx(4)

    run_virtual(main())


def test_metrics_have_upstreams_names_and_share_families() -> None:
    async def main() -> None:
        registry = CollectorRegistry()
        queue, other = _queue(registry, "deployment"), _queue(registry, "job")
        other.add("z")
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(2)
        await queue.get()
        await asyncio.sleep(3)

        def value(name: str, queue_name: str = "deployment") -> float | None:
            return registry.get_sample_value(name, {"name": queue_name})

        assert value("workqueue_depth") == 1
        assert value("workqueue_adds_total") == 2
        assert value("workqueue_adds_total", "job") == 1
        assert value("workqueue_queue_duration_seconds_sum") == 2
        assert value("workqueue_unfinished_work_seconds") == 3
        assert value("workqueue_longest_running_processor_seconds") == 3
        queue.done("a")
        assert value("workqueue_work_duration_seconds_sum") == 3
        queue.add_rate_limited("a")
        assert value("workqueue_retries_total") == 1

    run_virtual(main())
