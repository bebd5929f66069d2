"""What controllers do about copies that are old and connections that break (KEP-5647, k8s.io/kubernetes/pkg/controller
expectations)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pilothouse.api.resources import JOBS, PODS, REPLICA_SETS, STATEFUL_SETS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informer
from pilothouse.client.resource_client import ResourceClient
from pilothouse.controllers.consistency import TIMEOUT_S, Consistency
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

POD_SPEC = {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]}


class Seen:
    """An informer as far as it is asked for its revision."""

    def __init__(self, revision: str) -> None:
        self.last_revision = revision


def answer(revision: int) -> Obj:
    return {"metadata": {"resourceVersion": str(revision)}}


def consistency(**revisions: str) -> tuple[Consistency, dict[Resource, Any]]:
    informers: dict[Resource, Any] = {PODS: Seen(revisions["pods"]), STATEFUL_SETS: Seen(revisions["sets"])}
    return Consistency(simulated_world(1), informers), informers


def test_an_object_is_ready_when_all_its_writes_were_seen() -> None:
    async def scenario() -> None:
        known, informers = consistency(pods="10", sets="10")
        known.wrote("ns/db", PODS, answer(12))
        known.wrote("ns/db", PODS, answer(11))
        known.wrote("ns/db", STATEFUL_SETS, answer(13))
        known.wrote("ns/db", JOBS, answer(99))  # nobody follows jobs here
        assert known.ready("ns/other")
        informers[PODS].last_revision = "12"
        assert not known.ready("ns/db")
        informers[STATEFUL_SETS].last_revision = "13"
        assert known.ready("ns/db")

    run_virtual(scenario())


def test_what_was_seen_before_is_not_waited_for_and_nothing_is_waited_for_for_ever() -> None:
    async def scenario() -> None:
        world = simulated_world(1)
        known = Consistency(world, {PODS: Seen("10")})  # type: ignore[dict-item]
        known.wrote("ns/a", PODS, answer(10))
        assert known.ready("ns/a")
        known.wrote("ns/a", PODS, answer(11))
        await world.clock.sleep(TIMEOUT_S + 1)
        assert known.ready("ns/a")
        known.wrote("ns/a", PODS, answer(11))
        known.forget("ns/a")
        assert known.ready("ns/a")

    run_virtual(scenario())


def job(**spec: Any) -> Obj:
    template = {"spec": {**POD_SPEC, "restartPolicy": "Never"}}
    template["metadata"] = {"annotations": {"pilothouse.dev/run-seconds": "1"}}
    return {"metadata": {"name": "j"}, "spec": {"template": template, **spec}}


def replica_set(replicas: int) -> Obj:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": POD_SPEC}
    selector = {"matchLabels": {"app": "web"}}
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }


@pytest.fixture
def slow_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Informers hear of jobs four seconds late."""
    original = Informer._apply

    def late(self: Informer, event: Any) -> None:
        if self.resource == JOBS:
            asyncio.get_running_loop().call_later(4.0, original, self, event)
        else:
            original(self, event)

    monkeypatch.setattr(Informer, "_apply", late)


@pytest.mark.usefixtures("slow_jobs")
def test_a_job_that_is_heard_of_late_makes_no_pods_after_its_end(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job(completions=2, parallelism=2))
        await lab.wait(40)
        assert (await lab.get(JOBS, "j"))["status"]["succeeded"] == 2
        assert len(await lab.pods()) == 2

    simulate(scenario)


def break_once(monkeypatch: pytest.MonkeyPatch, verb: str, count: int, *, done: bool) -> None:
    """The first `count` requests about pods end in a broken connection, done or not."""
    original = getattr(ResourceClient, verb)
    left = count

    async def breaking(self: Any, resource: Resource, *words: Any, **more: Any) -> Any:
        nonlocal left
        if resource != PODS or not left or more.get("subresource"):
            return await original(self, resource, *words, **more)
        left -= 1
        if done:
            await original(self, resource, *words, **more)
        raise ConnectionError("the connection was lost")

    monkeypatch.setattr(ResourceClient, verb, breaking)


@pytest.mark.parametrize("done", [True, False])
def test_pods_that_nobody_knows_of_are_not_expected(
    simulate: Any, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """A creation whose connection broke is not waited for; a pod too many goes."""
    break_once(monkeypatch, "create", 2, done=done)

    async def scenario(lab: Any) -> None:
        await lab.create(REPLICA_SETS, replica_set(4))
        await lab.wait(20)
        assert len(await lab.pods()) == 4
        events = {(e[0], e[1]) for e in await lab.events("web")}
        assert ("Warning", "FailedCreate") in events

    simulate(scenario)


@pytest.mark.parametrize("done", [True, False])
def test_a_finalizer_whose_loss_was_not_heard_of_is_counted_once(
    simulate: Any, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    break_once(monkeypatch, "patch", 1, done=done)

    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job(completions=3, parallelism=3))
        await lab.wait(20)
        found = await lab.get(JOBS, "j")
        assert found["status"]["succeeded"] == 3
        assert [c["type"] for c in found["status"]["conditions"]] == ["SuccessCriteriaMet", "Complete"]

    simulate(scenario)


def test_a_pod_that_comes_after_its_jobs_end_is_not_held(simulate: Any) -> None:
    """The job will not count it: its finalizer goes (cleanupPodFinalizers)."""

    async def scenario(lab: Any) -> None:
        await lab.create(JOBS, job())
        await lab.wait(20)
        ended = await lab.get(JOBS, "j")
        assert ended["status"]["succeeded"] == 1
        ref = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": ended["metadata"]["uid"]}
        meta = {
            "name": "late",
            "labels": ended["spec"]["selector"]["matchLabels"],
            "finalizers": ["batch.kubernetes.io/job-tracking"],
            "ownerReferences": [{**ref, "controller": True}],
        }
        await lab.create(PODS, {"metadata": meta, "spec": POD_SPEC})
        await lab.wait(5)
        assert "finalizers" not in (await lab.get(PODS, "late"))["metadata"]

    simulate(scenario)
