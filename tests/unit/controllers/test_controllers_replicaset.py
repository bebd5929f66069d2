"""ReplicaSet and ReplicationController (k8s.io/kubernetes/pkg/controller/replicaset,
https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.resources import (
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.controllers.expectations import TIMEOUT_S, Expectations
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

POD_SPEC = {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]}
KINDS = pytest.mark.parametrize("resource", [REPLICA_SETS, REPLICATION_CONTROLLERS], ids=lambda r: r.plural)


def owner(resource: Resource, replicas: int, annotations: Obj | None = None, **spec: Any) -> Obj:
    plain = {"app": "web"}
    template = {"metadata": {"labels": plain, "annotations": annotations or {}}, "spec": POD_SPEC}
    selector = plain if resource == REPLICATION_CONTROLLERS else {"matchLabels": plain}
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": selector, "template": template, **spec},
    }


def ours(status: Obj) -> Obj:
    return {k: v for k, v in status.items() if k != "conditions"}


@KINDS
def test_counts_and_events_of_a_set(simulate: Any, resource: Resource) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(resource, owner(resource, 3))
        await lab.wait(10)
        found = await lab.get(resource, "web")
        wanted = {
            "replicas": 3,
            "fullyLabeledReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "observedGeneration": 1,
        }
        if resource == REPLICA_SETS:
            wanted["terminatingReplicas"] = 0
        assert found["status"] == wanted
        events = await lab.events("web")
        assert {e[:2] for e in events} == {("Normal", "SuccessfulCreate")}
        assert sorted(e[2] for e in events) == sorted(f"Created pod: {n}" for n in await lab.names(PODS))

        await lab.patch(resource, "web", {"spec": {"replicas": 1}})
        await lab.wait(10)
        assert len(await lab.names(PODS)) == 1
        assert len([e for e in await lab.events("web") if e[1] == "SuccessfulDelete"]) == 2
        assert (await lab.get(resource, "web"))["status"]["observedGeneration"] == 2

    simulate(scenario)


@KINDS
def test_a_quota_that_refuses_shows_in_condition_and_events(simulate: Any, resource: Resource) -> None:
    """Slow start: batches of 1, 2, … and no more after the first failure; later tries are spaced out."""

    async def scenario(lab: Any) -> None:
        await lab.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}})
        await lab.wait(5)
        await lab.create(resource, owner(resource, 500))
        await lab.wait(5)
        found = await lab.get(resource, "web")
        [failure] = found["status"]["conditions"]
        assert (failure["type"], failure["status"], failure["reason"]) == (
            "ReplicaFailure",
            "True",
            "FailedCreate",
        )
        assert failure["message"].endswith(
            "is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
        )
        failed = [e for e in await lab.events("web") if e[1] == "FailedCreate"]
        assert failed, "the failure is told"
        assert all(e[0] == "Warning" for e in failed)
        assert any(e[2].startswith('Error creating: pods "web-') for e in failed)
        assert len(failed) < 30, "500 refusals would flood the API server"

        await lab.patch(resource, "web", {"spec": {"replicas": 2}})
        await lab.wait(60)
        assert not (await lab.get(resource, "web"))["status"].get("conditions")

    simulate(scenario)


def test_pods_that_are_going_are_counted_apart_and_replaced_at_once(simulate: Any) -> None:
    """status.terminatingReplicas (KEP-3973)."""

    async def scenario(lab: Any) -> None:
        slow = {"pilothouse.dev/stop-seconds": "20"}
        await lab.create(REPLICA_SETS, owner(REPLICA_SETS, 2, slow))
        await lab.wait(10)
        [doomed, _] = await lab.names(PODS)
        await lab.delete(PODS, doomed)
        await lab.wait(5)
        status = (await lab.get(REPLICA_SETS, "web"))["status"]
        assert (status["replicas"], status["readyReplicas"], status["terminatingReplicas"]) == (2, 2, 1)
        assert len(await lab.names(PODS)) == 3
        await lab.wait(30)
        assert (await lab.get(REPLICA_SETS, "web"))["status"]["terminatingReplicas"] == 0

    simulate(scenario)


def test_a_set_of_an_older_version_says_how_many_pods_are_going(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(REPLICA_SETS, owner(REPLICA_SETS, 1))
        await lab.wait(10)
        older = {"status": {"terminatingReplicas": None}}
        await lab.patch(REPLICA_SETS, "web", older, subresource="status")
        await lab.wait(2)
        assert (await lab.get(REPLICA_SETS, "web"))["status"]["terminatingReplicas"] == 0

    simulate(scenario)


def test_a_ready_pod_is_available_after_min_ready_seconds(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(REPLICA_SETS, owner(REPLICA_SETS, 1, minReadySeconds=30))
        await lab.wait(15)
        status = (await lab.get(REPLICA_SETS, "web"))["status"]
        assert (status["readyReplicas"], status.get("availableReplicas", 0)) == (1, 0)
        await lab.wait(25)
        assert (await lab.get(REPLICA_SETS, "web"))["status"]["availableReplicas"] == 1

    simulate(scenario)


def test_a_set_of_the_same_name_starts_anew(simulate: Any) -> None:
    """What a deleted set still expected to see says nothing of its successor."""

    async def scenario(lab: Any) -> None:
        await lab.create(REPLICA_SETS, owner(REPLICA_SETS, 3))
        await lab.delete(REPLICA_SETS, "web", propagationPolicy="Background")
        fresh = await lab.create(REPLICA_SETS, owner(REPLICA_SETS, 2))
        await lab.wait(30)
        pods = await lab.pods()
        assert [p["metadata"]["ownerReferences"][0]["uid"] for p in pods] == [fresh["metadata"]["uid"]] * 2

    simulate(scenario)


@KINDS
def test_the_cheapest_pod_goes_first(simulate: Any, resource: Resource) -> None:
    """KEP-2255."""

    async def scenario(lab: Any) -> None:
        await lab.create(resource, owner(resource, 3))
        await lab.wait(10)
        cheap = (await lab.names(PODS))[1]
        cost = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
        await lab.patch(PODS, cheap, {"metadata": {"annotations": cost}})
        await lab.patch(resource, "web", {"spec": {"replicas": 2}})
        await lab.wait(10)
        assert cheap not in await lab.names(PODS)

    simulate(scenario)


def test_expectations_hold_until_seen_or_too_old() -> None:
    """client-go ControllerExpectations, and by UID for deletions."""

    async def main() -> None:
        world = simulated_world(1)
        expected = Expectations(world)
        assert expected.satisfied("k")
        expected.expect_creations("k", 2)
        expected.creation_observed("k")
        assert not expected.satisfied("k")
        expected.creation_observed("k")
        assert expected.satisfied("k")
        expected.expect_deletions("k", {"a"})
        expected.deletion_observed("k", "other")
        assert not expected.satisfied("k")
        expected.deletion_observed("k", "a")
        expected.deletion_observed("k", "a")
        assert expected.satisfied("k")
        expected.expect_creations("k", 1)
        await world.clock.sleep(TIMEOUT_S + 1)
        assert expected.satisfied("k"), "something went wrong: look again"

    run_virtual(main())
