"""Whole clusters under random edits and faults, in virtual time: see `controllers_verdict` for what must hold.

A run that fails names its seed; `-k 'seed17]'` or PILOTHOUSE_SEEDS=17 (or 100-200) runs it alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
from random import Random

import pytest

from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world
from tests.simulation.controllers_cluster import Party
from tests.simulation.controllers_storm import Storm
from tests.simulation.controllers_verdict import violations

STORM_S = 150.0
SETTLE_S = 1000.0
"""Back-offs of jobs, deadlines of deployments, evictions from nodes: all are over."""
QUIET_S = 600.0


def _seeds(default: range) -> list[int]:
    text = os.environ.get("PILOTHOUSE_SEEDS", "")
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1)) if first else list(default)


async def weather_and_verdict(seed: int) -> list[str]:
    """Of four seeds one has edits alone, one old caches and refusals, one all faults, one changes of the leader."""
    faults, unknown = seed % 4 > 0, seed % 4 > 1
    world, random = simulated_world(seed), Random(seed)
    async with Party(world, Random(seed + 1), managers=2 if seed % 4 == 3 else 1) as party:
        storm = Storm(party, random, faults=faults, unknown=unknown)
        await asyncio.sleep(15)
        await storm.run(STORM_S)
        await storm.calm()
        await asyncio.sleep(SETTLE_S)
        quiet_from_s = asyncio.get_running_loop().time()
        await asyncio.sleep(QUIET_S)
        await party.history.stop()
        steady = not unknown and not party.restarts_s
        now_s = asyncio.get_running_loop().time()
        found = party.crashed()
        found += violations(
            party.history, quiet_from_s, party.weather.deeds, steady=steady, late=faults, now_s=now_s
        )
        if found and os.environ.get("PILOTHOUSE_TOLD"):
            print("\n".join(storm.told))
        return found


def check(seed: int) -> None:
    logging.getLogger("pilothouse").setLevel(logging.CRITICAL)
    found = run_virtual(weather_and_verdict(seed))
    assert not found, f"seed {seed}: {len(found)} violations\n" + "\n".join(found[:30])


@pytest.mark.parametrize("seed", _seeds(range(24)), ids=lambda seed: f"seed{seed}")
def test_a_cluster_converges_after_a_storm(seed: int) -> None:
    check(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", _seeds(range(1000, 1400)), ids=lambda seed: f"seed{seed}")
def test_hundreds_of_clusters_converge(seed: int) -> None:
    check(seed)
