"""The scheduler's promises under churn, node loss and API faults, seed by seed; see `scheduling`.

A seed that fails prints its number, what was wrong, and what happened to those that it is about; it does the same again
whenever it is run. Hundreds of them: `-m long`, or `python -m tests.simulation.scheduling 0 999`.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from pilothouse.scheduler import preemption
from pilothouse.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from pilothouse.scheduler.plugins.node_resources_fit import NodeResourcesFit
from pilothouse.scheduler.queue import SchedulingQueue
from tests.simulation.scheduling.run import ARRANGEMENTS, run

_MORE = range(40, 500)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong on the lines is in the trace."""
    caplog.set_level(logging.ERROR, "pilothouse")


def _judge(seed: int) -> None:
    outcome = run(seed)
    assert not outcome.faults, outcome.report()
    assert outcome.counts["decisions"] >= 3
    assert outcome.counts["revisions"] > 200


@pytest.mark.parametrize("seed", range(40))
def test_the_promises_hold(seed: int) -> None:
    _judge(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", _MORE)
def test_the_promises_hold_for_hundreds(seed: int) -> None:
    _judge(seed)


@pytest.mark.parametrize("seed", range(len(ARRANGEMENTS)))
def test_a_seed_is_a_history(seed: int) -> None:
    first, second = run(seed), run(seed)
    assert first.digest == second.digest
    assert first.trace == second.trace


def test_a_seed_is_a_history_in_every_process() -> None:
    told = [_elsewhere(hash_seed) for hash_seed in ("1", "2")]
    assert told[0] == told[1]


def _elsewhere(hash_seed: str) -> list[str]:
    """What a process whose sets have another order says of a seed; the fingerprint comes last."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PILOTHOUSE_SEED": "2"}
    command = [sys.executable, "-m", "tests.simulation.scheduling"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def _blind(monkeypatch: pytest.MonkeyPatch, plugin: type[object]) -> None:
    """A filter that lets everything pass."""
    monkeypatch.setattr(plugin, "filter", lambda self, cycle, left: ())
    monkeypatch.setattr(plugin, "filter_key", lambda self, cycle: None)


def _careless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "_by_budget", lambda pods, budgets: ([], list(pods)))


def _deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SchedulingQueue, "happened", lambda self, event: None)


@pytest.mark.parametrize(
    ("defect", "complaint", "first"),
    [
        (lambda m: _blind(m, NodeResourcesFit), "of it taken, and the pod asks for", 0),
        (lambda m: _blind(m, InterPodAffinity), "near", 0),
        (_careless, "breaks the budget", 5),
        (_deaf, "waits, and it fits on", 0),
    ],
    ids=["no look at resources", "no look at neighbours", "no look at budgets", "no ear for events"],
)
def test_the_judges_see_a_scheduler_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, defect: Callable[[pytest.MonkeyPatch], None], complaint: str, first: int
) -> None:
    """`first` is a seed that shows it, or one a little later when something else has changed."""
    defect(monkeypatch)
    seeds = range(first, first + 40)
    assert any(complaint in fault for seed in seeds for fault in run(seed).faults)
