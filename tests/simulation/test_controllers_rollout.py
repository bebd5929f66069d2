"""Rolling a Deployment keeps its bounds at every revision of the store: "at least 90% of the desired number of Pods are
up", "at most 100% + maxSurge" (https://kubernetes.io/docs/concepts/workloads/controllers/deployment/).

Counted from all events of the store, pod by pod, not from what any status says.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from pilothouse.api.resources import DEPLOYMENTS
from pilothouse.api.types import Obj
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world
from tests.simulation.controllers_cluster import Party
from tests.simulation.controllers_history import History, controller
from tests.simulation.controllers_verdict import is_active, is_ready


def deployment(replicas: int, **rolling: int | str) -> Obj:
    labels = {"app": "web"}
    annotations = {"pilothouse.dev/ready-after-seconds": "2", "pilothouse.dev/stop-seconds": "5"}
    requests = {"requests": {"cpu": "10m", "memory": "16Mi"}}
    template = {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "c", "image": "app:1", "resources": requests}]},
    }
    return {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": template,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        },
    }


class Bounds:
    """How many pods there were and how many of them were available, at every revision."""

    def __init__(self, history: History) -> None:
        self.ready: dict[int, int] = {}
        self.active: dict[int, int] = {}
        live: dict[str, Obj] = {}
        ready = active = 0
        for change in history.of("pods"):
            if controller(change.obj or change.last or {}) is None:
                continue
            before, now = live.get(change.key), change.obj
            ready += _is_up(now) - _is_up(before)
            active += _runs(now) - _runs(before)
            if now is None:
                live.pop(change.key, None)
            else:
                live[change.key] = now
            self.ready[change.revision], self.active[change.revision] = ready, active


def _is_up(pod: Obj | None) -> bool:
    return pod is not None and is_active(pod) and is_ready(pod)


def _runs(pod: Obj | None) -> bool:
    return pod is not None and is_active(pod)


async def roll(
    replicas: int, nodes: int, surge: int | str, unavailable: int | str, late: float = 0.0
) -> tuple[Bounds, int, int]:
    """The bounds of a roll, with the revisions at which it began and was over. `late`: so many of the controllers'
    events come seconds late."""
    world = simulated_world(11)
    async with Party(world, Random(12), nodes=nodes) as party:
        await asyncio.sleep(5)
        wanted = deployment(replicas, maxSurge=surge, maxUnavailable=unavailable)
        await party.client.create(DEPLOYMENTS, wanted, "default")
        await _until_available(party, replicas)
        began = party.store.revision
        party.weather.late = late
        image = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:2"}]}}}}
        await party.client.patch(DEPLOYMENTS, "web", image, "default", patch_type="strategic")
        await _until_available(party, replicas)
        ended = party.store.revision
        await party.history.stop()
        assert all(
            pod["spec"]["containers"][0]["image"] == "app:2"
            for pod in party.history.now("pods")
            if is_active(pod)
        )
        return Bounds(party.history), began, ended


async def _until_available(party: Party, replicas: int) -> None:
    for _ in range(3000):
        await asyncio.sleep(1)
        d = await party.client.get(DEPLOYMENTS, "web", "default")
        status, generation = d.get("status") or {}, d["metadata"]["generation"]
        numbers = {status.get(n) for n in ("replicas", "updatedReplicas", "availableReplicas")}
        if status.get("observedGeneration") == generation and numbers == {replicas}:
            return
    raise AssertionError("the deployment never became available")


def check(
    replicas: int,
    nodes: int,
    surge: int | str,
    unavailable: int | str,
    most: int,
    least: int,
    late: float = 0.0,
) -> None:
    bounds, began, ended = run_virtual(roll(replicas, nodes, surge, unavailable, late))
    during = [r for r in bounds.ready if began < r <= ended]
    assert len(during) > replicas, "the roll is in the history"
    worst = min(during, key=bounds.ready.__getitem__)
    assert bounds.ready[worst] >= least, f"{bounds.ready[worst]} available at revision {worst}"
    fullest = max(during, key=bounds.active.__getitem__)
    assert bounds.active[fullest] <= most, f"{bounds.active[fullest]} pods at revision {fullest}"


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "least"),
    [(0, "10%", 60, 54), ("25%", 0, 75, 60), ("25%", "10%", 75, 54)],
)
def test_a_roll_keeps_its_bounds_at_every_revision(
    surge: int | str, unavailable: int | str, most: int, least: int
) -> None:
    check(60, 4, surge, unavailable, most, least)


@pytest.mark.parametrize("late", [0.3, 1.0])
def test_old_caches_change_nothing_about_it(late: float) -> None:
    check(60, 4, 0, "10%", 60, 54, late)


@pytest.mark.long
def test_a_roll_of_a_thousand_keeps_its_bounds_at_every_revision() -> None:
    check(1000, 20, 0, "10%", 1000, 900)
