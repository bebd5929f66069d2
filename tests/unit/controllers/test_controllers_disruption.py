"""PodDisruptionBudget, as https://kubernetes.io/docs/tasks/run-application/configure-pdb/ and
.../concepts/scheduling-eviction/api-eviction/ describe it."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import DAEMON_SETS, DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS
from pilothouse.api.types import Obj
from pilothouse.controllers import disruption_rules as rules

LABELS = {"app": "web"}
POD = {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]}


def budget(**spec: Any) -> Obj:
    return {"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": LABELS}, **spec}}


def workload(**spec: Any) -> Obj:
    template = {"metadata": {"labels": LABELS}, "spec": POD}
    return {
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": LABELS}, "template": template, **spec},
    }


async def evict(lab: Any, name: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    await lab.client.create(PODS, body, "default", name=name, subresource="eviction")


def numbers(found: Obj) -> tuple[int, int, int, int]:
    s = found["status"]
    return s["expectedPods"], s["desiredHealthy"], s["currentHealthy"], s["disruptionsAllowed"]


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"minAvailable": 3}, (4, 3, 4, 1)),
        ({"minAvailable": "30%"}, (4, 2, 4, 2)),
        ({"maxUnavailable": 1}, (4, 3, 4, 1)),
        ({"maxUnavailable": "30%"}, (4, 2, 4, 2)),
        ({"minAvailable": 4}, (4, 4, 4, 0)),
        ({}, (0, 0, 4, 0)),
    ],
)
def test_counts_of_a_deployments_pods(simulate: Any, spec: dict[str, Any], wanted: tuple[int, ...]) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(POD_DISRUPTION_BUDGETS, budget(**spec))
        await lab.create(DEPLOYMENTS, workload(replicas=4))
        await lab.wait(10)
        found = await lab.get(POD_DISRUPTION_BUDGETS, "b")
        assert numbers(found) == wanted
        (condition,) = found["status"]["conditions"]
        reason = "SufficientPods" if wanted[3] else "InsufficientPods"
        assert (condition["type"], condition["reason"]) == ("DisruptionAllowed", reason)

    simulate(scenario)


def test_evictions_spend_what_is_allowed_and_get_it_back(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable=1))
        await lab.create(DEPLOYMENTS, workload(replicas=2))
        await lab.wait(10)
        first, second = await lab.names(PODS)
        await evict(lab, first)
        with pytest.raises(ApiError) as refused:
            await evict(lab, second)
        assert refused.value.code == 429
        await lab.wait(60)
        assert numbers(await lab.get(POD_DISRUPTION_BUDGETS, "b")) == (2, 1, 2, 1)
        await evict(lab, second)

    simulate(scenario)


def test_a_granted_eviction_that_never_comes_is_forgotten(simulate: Any) -> None:
    """DeletionTimeout: two minutes."""

    async def scenario(lab: Any) -> None:
        await lab.create(POD_DISRUPTION_BUDGETS, budget(minAvailable=1))
        await lab.create(DEPLOYMENTS, workload(replicas=2))
        await lab.wait(10)
        name = (await lab.names(PODS))[0]
        granted = {"status": {"disruptionsAllowed": 0, "disruptedPods": {name: lab.world.timestamp()}}}
        await lab.patch(POD_DISRUPTION_BUDGETS, "b", granted, subresource="status")
        await lab.wait(30)
        assert numbers(await lab.get(POD_DISRUPTION_BUDGETS, "b")) == (2, 1, 1, 0)
        await lab.wait(120)
        found = await lab.get(POD_DISRUPTION_BUDGETS, "b")
        assert numbers(found) == (2, 1, 2, 1)
        assert "disruptedPods" not in found["status"]

    simulate(scenario)


def test_pods_whose_controller_has_no_scale_fail_safely(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable=1))
        await lab.create(DAEMON_SETS, workload())
        await lab.wait(10)
        found = await lab.get(POD_DISRUPTION_BUDGETS, "b")
        (condition,) = found["status"]["conditions"]
        assert (condition["reason"], condition["message"]) == (
            "SyncFailed",
            "daemonsets.apps does not implement the scale subresource",
        )
        assert found["status"]["disruptionsAllowed"] == 0

    simulate(scenario)


def test_bare_pods_are_told_of(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable="50%"))
        await lab.create(PODS, {"metadata": {"name": "lone", "labels": LABELS}, "spec": POD})
        await lab.wait(10)
        assert numbers(await lab.get(POD_DISRUPTION_BUDGETS, "b")) == (0, 0, 1, 0)
        assert any(reason == "UnmanagedPods" for _, reason, *_ in await lab.events("b"))

    simulate(scenario)


def test_a_disruption_that_never_comes_is_taken_back(simulate: Any) -> None:
    """KEP-3329: a DisruptionTarget condition of a pod that is not deleted within two minutes is set to False."""

    async def scenario(lab: Any) -> None:
        await lab.create(PODS, {"metadata": {"name": "p"}, "spec": POD})
        await lab.wait(10)
        target = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "lastTransitionTime": lab.world.timestamp(),
        }
        body = {"status": {"conditions": [target]}}
        await lab.patch(PODS, "p", body, patch_type="strategic", subresource="status")

        async def state() -> str:
            conditions = (await lab.get(PODS, "p"))["status"]["conditions"]
            return str(next(c["status"] for c in conditions if c["type"] == "DisruptionTarget"))

        await lab.wait(110)
        assert await state() == "True"
        await lab.wait(20)
        assert await state() == "False"

    simulate(scenario)


def test_selectors_read_as_go_prints_them() -> None:
    expression = {"key": "tier", "operator": "In", "values": ["a", "b"]}
    selector = {"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [expression]}
    assert rules.go_selector(selector) == (
        "&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},MatchExpressions:[]LabelSelectorRequirement{"
        "LabelSelectorRequirement{Key:tier,Operator:In,Values:[a b],},},}"
    )
