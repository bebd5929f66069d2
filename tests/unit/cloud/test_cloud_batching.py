"""What is asked within a moment goes to the cloud in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from pilothouse.cloud.batching import Batcher
from pilothouse.cloud.provider import CloudError
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world


class Cloud:
    """Knows all even numbers."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    async def describe(self, keys: Sequence[int]) -> Mapping[int, str]:
        self.calls.append(sorted(keys))
        if 13 in keys:
            raise CloudError("no luck")
        await asyncio.sleep(1.0)
        return {key: str(key) for key in keys if key % 2 == 0}


def test_a_thousand_questions_are_ten_calls() -> None:
    async def run() -> None:
        cloud = Cloud()
        batcher = Batcher(simulated_world(1), cloud.describe, 100)
        answers = await asyncio.gather(*(batcher.ask(2 * n) for n in range(1000)))
        assert answers == [str(2 * n) for n in range(1000)]
        assert [len(keys) for keys in cloud.calls] == [100] * 10

    run_virtual(run())


def test_two_questions_about_each_of_many_cost_no_more_calls_than_one() -> None:
    async def run() -> None:
        cloud = Cloud()
        batcher = Batcher(simulated_world(1), cloud.describe, 100)
        await asyncio.gather(*(batcher.ask(2 * (n // 2)) for n in range(2000)))
        assert [len(keys) for keys in cloud.calls] == [100] * 10

    run_virtual(run())


def test_the_same_key_is_asked_for_once_and_an_unknown_one_is_none() -> None:
    async def run() -> None:
        cloud = Cloud()
        batcher = Batcher(simulated_world(1), cloud.describe, 100)
        assert await asyncio.gather(batcher.ask(2), batcher.ask(2), batcher.ask(3)) == ["2", "2", None]
        assert cloud.calls == [[2, 3]]
        assert await batcher.ask(2) == "2", "nothing is remembered"
        assert cloud.calls == [[2, 3], [2]]

    run_virtual(run())


def test_a_failure_reaches_all_who_asked_and_nobody_else() -> None:
    async def run() -> None:
        batcher = Batcher(simulated_world(1), Cloud().describe, 100)
        failed = await asyncio.gather(batcher.ask(13), batcher.ask(2), return_exceptions=True)
        assert [str(error) for error in failed] == ["no luck", "no luck"]
        assert await batcher.ask(2) == "2"

    run_virtual(run())


def test_one_who_gives_up_takes_the_answer_from_nobody() -> None:
    async def run() -> None:
        batcher = Batcher(simulated_world(1), Cloud().describe, 100)
        impatient = asyncio.ensure_future(batcher.ask(2))
        patient = asyncio.ensure_future(batcher.ask(4))
        await asyncio.sleep(0.5)
        impatient.cancel()
        assert await patient == "4"
        with pytest.raises(asyncio.CancelledError):
            await impatient

    run_virtual(run())


def test_closing_ends_the_waiting() -> None:
    async def run() -> None:
        batcher = Batcher(simulated_world(1), Cloud().describe, 100)
        asking = asyncio.ensure_future(batcher.ask(2))
        await asyncio.sleep(0.5)
        await batcher.close()
        with pytest.raises(asyncio.CancelledError):
            await asking

    run_virtual(run())
