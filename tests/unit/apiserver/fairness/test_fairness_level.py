"""A priority level in virtual time: who runs at once, who waits, who comes next, who is refused (KEP-1040)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pilothouse.apiserver.fairness import dealing
from pilothouse.apiserver.fairness.level import Level, Queuing, Refused
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world


def play(scenario: Callable[[Level, World], Awaitable[None]], limit: int, queuing: Queuing | None) -> None:
    async def run() -> None:
        world = simulated_world(1)
        level = Level("l", world)
        level.configure("u", limit, queuing)
        await scenario(level, world)

    run_virtual(run())


async def use(
    level: Level, flow: int, seconds: float, log: list[str] | None = None, name: str = "", seats: int = 1
) -> None:
    """As the pipeline does."""
    if level.has_room(seats):
        level.in_use += seats
        await asyncio.sleep(seconds)
        level.in_use -= seats
        if level.waiting:
            level.dispatch()
    else:
        queue = await level.wait(flow, seats, None)
        await asyncio.sleep(seconds)
        level.leave(seats, queue, seconds)
    if log is not None:
        log.append(name)


def test_no_more_run_at_once_than_there_are_seats() -> None:
    async def scenario(level: Level, world: World) -> None:
        began = world.clock.monotonic()
        await asyncio.gather(*(use(level, 1, 1.0) for _ in range(10)))
        assert world.clock.monotonic() - began == pytest.approx(5)
        assert (level.in_use, level.waiting) == (0, 0)

    play(scenario, 2, Queuing(4, 2, 50))


def test_a_flow_with_few_requests_does_not_wait_behind_one_with_many() -> None:
    async def scenario(level: Level, world: World) -> None:
        log: list[str] = []
        many = [use(level, 1, 1.0, log, "elephant") for _ in range(10)]
        few = [use(level, 2, 1.0, log, "mouse") for _ in range(2)]
        await asyncio.gather(*many, *few)
        assert "mouse" in log[:4]
        assert log[:7].count("mouse") == 2

    play(scenario, 1, Queuing(2, 1, 50))


def test_a_wide_request_takes_its_seats_from_its_own_flows_share() -> None:
    async def scenario(level: Level, world: World) -> None:
        log: list[str] = []
        wide = [use(level, 1, 1.0, log, "wide", seats=4) for _ in range(6)]
        narrow = [use(level, 2, 1.0, log, "narrow") for _ in range(8)]
        await asyncio.gather(*wide, *narrow)
        # Four narrow ones weigh as much as one wide one.
        assert log[:8].count("narrow") >= 4

    play(scenario, 4, Queuing(2, 1, 50))


def test_a_full_queue_refuses() -> None:
    async def scenario(level: Level, world: World) -> None:
        running = [asyncio.ensure_future(use(level, 1, 1.0)) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="queue-full") as refused:
            await level.wait(1, 1, None)
        assert refused.value.retry_after_s == 1
        await asyncio.gather(*running)

    play(scenario, 1, Queuing(1, 1, 3))


def test_who_is_patient_waits_as_long_as_it_takes() -> None:
    async def scenario(level: Level, world: World) -> None:
        async def patient() -> None:
            queue = await level.wait(1, 1, None, patient=True)
            await asyncio.sleep(10.0)
            level.leave(1, queue, 10.0)

        await asyncio.gather(*(patient() for _ in range(20)))
        assert (level.in_use, level.waiting) == (0, 0)

    play(scenario, 1, Queuing(1, 1, 3))


def test_a_level_without_queues_refuses_who_finds_no_seat() -> None:
    async def scenario(level: Level, world: World) -> None:
        running = asyncio.ensure_future(use(level, 1, 1.0))
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="concurrency-limit"):
            await level.wait(1, 1, None)
        await running

    play(scenario, 1, None)


def test_who_waits_too_long_is_refused() -> None:
    async def scenario(level: Level, world: World) -> None:
        running = asyncio.ensure_future(use(level, 1, 100.0))
        await asyncio.sleep(0)
        began = world.clock.monotonic()
        with pytest.raises(Refused, match="time-out"):
            await level.wait(1, 1, None)
        assert world.clock.monotonic() - began == pytest.approx(15)
        assert level.waiting == 0
        await running

    play(scenario, 1, Queuing(1, 1, 3))


def test_who_goes_away_while_it_waits_leaves_nothing() -> None:
    async def scenario(level: Level, world: World) -> None:
        running = asyncio.ensure_future(use(level, 1, 1.0))
        await asyncio.sleep(0)
        gone = asyncio.ensure_future(level.wait(1, 1, None))
        next_ = asyncio.ensure_future(use(level, 1, 1.0))
        await asyncio.sleep(0.5)
        gone.cancel()
        await running
        await next_
        assert (level.in_use, level.waiting) == (0, 0)

    play(scenario, 1, Queuing(1, 1, 3))


def test_the_longer_refusals_last_the_longer_is_the_wait() -> None:
    async def scenario(level: Level, world: World) -> None:
        running = asyncio.ensure_future(use(level, 1, 20.0))
        await asyncio.sleep(0)
        told = []
        for _ in range(60):
            with pytest.raises(Refused) as refused:
                await level.wait(1, 1, None)
            told.append(refused.value.retry_after_s)
            await asyncio.sleep(0.1)
        assert told[0] == 1 and max(told) >= 4
        await running

    play(scenario, 1, None)


def test_new_queues_keep_those_who_wait() -> None:
    async def scenario(level: Level, world: World) -> None:
        running = [asyncio.ensure_future(use(level, n, 1.0)) for n in range(6)]
        await asyncio.sleep(0)
        level.configure("u", 3, Queuing(2, 1, 10))
        await asyncio.gather(*running)
        assert (level.in_use, level.waiting) == (0, 0)

    play(scenario, 1, Queuing(8, 2, 10))


@pytest.mark.parametrize(("deck", "size"), [(1, 1), (5, 2), (64, 6), (128, 6)])
def test_a_hand_has_different_cards_of_the_deck(deck: int, size: int) -> None:
    for n in range(200):
        cards = dealing.hand(dealing.flow_hash("s", str(n)), deck, size)
        assert len(set(cards)) == size
        assert all(0 <= card < deck for card in cards)


def test_all_hands_are_equally_likely() -> None:
    seen = {tuple(sorted(dealing.hand(entropy, 5, 2))) for entropy in range(20)}
    assert len(seen) == 10
