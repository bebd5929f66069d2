"""The loop that every controller is: what fails is tried again, is told, and stops nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from prometheus_client import CollectorRegistry

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.reconciler import Controller, Environment, TryAgain, controller_of
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.controllers.manager import TABLE, Manager, Settings
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world


class Clumsy(Controller):
    """Fails for some objects, in the way their name says."""

    name: ClassVar[str] = "clumsy-controller"

    def setup(self) -> None:
        self.watch(CONFIG_MAPS)
        self.tried: dict[str, list[float]] = {}

    async def reconcile(self, key: str) -> float | None:
        tried = self.tried.setdefault(key.rpartition("/")[2], [])
        tried.append(self.world.clock.monotonic())
        match key.rpartition("/")[2]:
            case "refused":
                raise ApiError(500, "InternalError", "no")
            case "cut-off":
                raise ConnectionError("gone")
            case "stale":
                raise TryAgain("the informer is behind")
            case "bug":
                raise KeyError("spec")
            case "periodic":
                return 10.0
        return None


@asynccontextmanager
async def environment() -> AsyncIterator[Environment]:
    world = simulated_world(1)
    options = ClusterOptions(secure_port=None, nodes=0, controllers=("-garbage-collector-controller",))
    async with Cluster(options, world) as cluster:
        client = cluster.client()
        informers = Informers(client, world)
        informers.start()
        recorder = EventRecorder(client, "test", world)
        yield Environment(client, informers, world, recorder, CollectorRegistry())
        await informers.stop()


async def make(env: Environment, *names: str) -> None:
    for name in names:
        typed = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        await env.client.create(CONFIG_MAPS, typed, "default")


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_failures_are_tried_again_and_stop_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with environment() as env:
            controller = Clumsy(env)
            controller.worker_count = 1
            controller.setup()
            task = asyncio.get_running_loop().create_task(controller.run())
            await make(env, "refused", "cut-off", "stale", "bug", "fine", "periodic")
            await asyncio.sleep(30)
            tried = controller.tried
            assert len(tried["fine"]) == 1
            assert len(tried["periodic"]) in (3, 4)
            for name in ("refused", "cut-off", "stale", "bug"):
                waits = [b - a for a, b in zip(tried[name], tried[name][1:], strict=False)]
                assert len(waits) > 5, name
                assert waits[-1] > 2 * waits[0], "less and less often"
            await stop(task)

    with caplog.at_level(logging.INFO):
        run_virtual(main())
    told = [r for r in caplog.records if "clumsy-controller: default/" in r.getMessage()]
    texts = {r.getMessage() for r in told}
    assert "clumsy-controller: default/stale: the informer is behind; trying again" in texts
    assert "clumsy-controller: default/refused: no; trying again" in texts
    bugs = [r for r in told if "bug in the controller" in r.getMessage()]
    assert bugs, "a bug leaves a trace"
    assert all(r.exc_info for r in bugs)


def test_a_controller_that_dies_takes_the_manager_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one that lives on in part, and nobody notices."""

    async def main() -> None:
        async with environment() as env:
            manager = Manager(lambda account, component: env, Settings(root_ca="", make_token=None), ["job"])
            [job] = manager.controllers.values()

            async def run() -> None:
                raise RuntimeError("died")

            monkeypatch.setattr(job, "run", run)
            with pytest.raises(RuntimeError, match="died"):
                await manager.run()

    run_virtual(main())


def test_the_token_controller_needs_its_key() -> None:
    async def main() -> None:
        async with environment() as env:
            seen: list[tuple[str, str]] = []

            def made(account: str, component: str) -> Environment:
                seen.append((account, component))
                return env

            wanted = ["serviceaccount-token", "endpoint", "daemonset"]
            manager = Manager(made, Settings(root_ca="", make_token=None), wanted)
            assert list(manager.controllers) == ["endpoints-controller", "daemonset-controller"]
            assert seen == [
                ("endpoint-controller", "endpoint-controller"),
                ("daemon-set-controller", "daemonset-controller"),
            ]

    run_virtual(main())


def test_every_controller_but_our_own_has_a_name_of_upstreams() -> None:
    from pilothouse.controllers.names import OWN, UPSTREAM

    assert set(TABLE) - OWN <= UPSTREAM
    assert not OWN & UPSTREAM


def test_the_controller_among_owners() -> None:
    refs: list[dict[str, Any]] = [{"uid": "a"}, {"uid": "b", "controller": True}]
    assert controller_of({"metadata": {"ownerReferences": refs}}) == refs[1]
    assert controller_of({"metadata": {"ownerReferences": refs[:1]}}) is None
    assert controller_of({"metadata": {}}) is None
