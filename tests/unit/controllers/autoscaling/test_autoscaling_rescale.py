"""Writing a scale that somebody else changes at the same time."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api import errors
from pilothouse.api.resources import DEPLOYMENTS
from pilothouse.api.types import Obj
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.reconciler import Environment
from pilothouse.controllers.autoscaling.targets import Found
from pilothouse.controllers.horizontal_pod_autoscaler import HorizontalPodAutoscalerController, Look
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world


class Contested:
    """A client whose first updates meet a newer object."""

    def __init__(self, conflicts: int) -> None:
        self.conflicts = conflicts
        self.revision = 1
        self.written: list[Obj] = []

    async def get(self, resource: Any, name: str, namespace: str = "", *, subresource: str = "") -> Obj:
        return {"metadata": {"name": name, "resourceVersion": str(self.revision)}, "spec": {"replicas": 1}}

    async def update(self, resource: Any, obj: Obj, *, subresource: str = "", **params: str) -> Obj:
        if self.conflicts:
            self.conflicts -= 1
            self.revision += 1
            raise errors.conflict("apps", "deployments", "web", errors.OPTIMISTIC_LOCK)
        self.written.append(obj)
        return obj


def rescale(client: Any) -> list[str]:
    """What is told about it."""
    told: list[str] = []

    async def run() -> None:
        world = simulated_world(1)
        recorder = EventRecorder(client, "x", world)
        recorder.event = lambda *event, **more: told.append(event[2])  # type: ignore[method-assign]
        env = Environment(client, Informers(client, world), world, recorder, new_registry())
        controller = HorizontalPodAutoscalerController(env)
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        hpa = {"metadata": {"name": "h", "namespace": "n"}, "spec": {"scaleTargetRef": reference}}
        look = Look(controller, hpa)
        scale = await client.get(DEPLOYMENTS, "web", "n", subresource="scale")
        await controller._rescale(look, Found(DEPLOYMENTS, scale), 1, 3, "more")

    run_virtual(run())
    return told


def test_a_conflict_is_tried_again_on_the_newest_scale() -> None:
    client = Contested(2)
    assert rescale(client) == ["SuccessfulRescale"]
    (written,) = client.written
    assert (written["metadata"]["resourceVersion"], written["spec"]["replicas"]) == ("3", 3)


def test_conflicts_without_end_are_told() -> None:
    client = Contested(99)
    with pytest.raises(Exception, match="failed to rescale Deployment/n/web: Operation cannot be fulfilled"):
        rescale(client)
    assert client.conflicts == 94
