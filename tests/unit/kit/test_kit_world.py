"""Waiting for something for a limited time."""

from __future__ import annotations

import asyncio

import pytest

from pilothouse.kit.world import World


async def test_a_wait_that_ends_while_it_is_cancelled_is_cancelled() -> None:
    """Python 3.11's asyncio.wait_for returned instead, and a loop around it went on after it had been stopped."""
    done = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(World().within(60, done))
    await asyncio.sleep(0)
    done.set_result(None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_too_long_a_wait_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        await World().within(0, asyncio.get_running_loop().create_future())
