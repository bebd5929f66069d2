"""DaemonSet, as https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/ and .../tasks/manage-daemon/
describe it."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.controllers import daemonset_rules as rules


def daemon_set(**spec: Any) -> Obj:
    template = {
        "metadata": {"labels": {"app": "ds"}},
        "spec": {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]},
    }
    return {
        "metadata": {"name": "ds"},
        "spec": {"selector": {"matchLabels": {"app": "ds"}}, "template": template, **spec},
    }


IMAGE = {
    "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.9"}]}}}
}


def test_one_ready_pod_on_every_node_bound_by_affinity(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(DAEMON_SETS, daemon_set())
        await lab.wait(5)
        pods = await lab.pods()
        nodes = await lab.names(NODES)
        assert sorted(p["spec"]["nodeName"] for p in pods) == nodes
        for pod in pods:
            affinity = pod["spec"]["affinity"]["nodeAffinity"]
            terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            assert terms[0]["matchFields"][0]["values"] == [pod["spec"]["nodeName"]]
        assert (await lab.get(DAEMON_SETS, "ds"))["status"] == {
            "currentNumberScheduled": 3,
            "numberMisscheduled": 0,
            "desiredNumberScheduled": 3,
            "numberReady": 3,
            "observedGeneration": 1,
            "updatedNumberScheduled": 3,
            "numberAvailable": 3,
        }
        told = await lab.events("ds")
        assert [(t[:2], t[3]) for t in told] == [(("Normal", "SuccessfulCreate"), "daemonset-controller")] * 3

    simulate(scenario)


def test_pods_follow_the_labels_of_nodes(simulate: Any) -> None:
    """ "If node labels are changed, the DaemonSet will promptly add Pods to newly matching nodes and delete Pods from
    newly not-matching nodes.\""""

    async def scenario(lab: Any) -> None:
        wanted = daemon_set()
        wanted["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
        await lab.create(DAEMON_SETS, wanted)
        await lab.wait(5)
        assert await lab.pods() == []
        await lab.label_node("node-1", disk="ssd")
        await lab.wait(5)
        assert [p["spec"]["nodeName"] for p in await lab.pods()] == ["node-1"]
        await lab.label_node("node-1", disk=None)
        await lab.wait(40)
        assert await lab.pods() == []
        status = (await lab.get(DAEMON_SETS, "ds"))["status"]
        assert (status["desiredNumberScheduled"], status["numberMisscheduled"]) == (0, 0)

    simulate(scenario)


def test_daemons_run_on_cordoned_nodes(simulate: Any) -> None:
    """The table "Tolerations for DaemonSet pods": node.kubernetes.io/unschedulable:NoSchedule."""

    async def scenario(lab: Any) -> None:
        await lab.patch(NODES, "node-0", {"spec": {"unschedulable": True}})
        await lab.wait(5)
        await lab.create(DAEMON_SETS, daemon_set())
        await lab.wait(5)
        assert (await lab.get(DAEMON_SETS, "ds"))["status"]["numberReady"] == 3

    simulate(scenario)


def test_taint_that_is_not_tolerated_keeps_pods_away_and_lets_running_ones_stay(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(DAEMON_SETS, daemon_set())
        await lab.wait(5)
        taint = {"key": "own", "value": "x", "effect": "NoSchedule"}
        await lab.patch(NODES, "node-0", {"spec": {"taints": [taint]}})
        await lab.wait(5)
        assert len(await lab.pods()) == 3
        status = (await lab.get(DAEMON_SETS, "ds"))["status"]
        assert (status["desiredNumberScheduled"], status["numberMisscheduled"]) == (2, 1)
        name = next(p["metadata"]["name"] for p in await lab.pods() if p["spec"]["nodeName"] == "node-0")
        await lab.delete(PODS, name)
        await lab.wait(40)
        assert sorted(p["spec"]["nodeName"] for p in await lab.pods()) == ["node-1", "node-2"]

    simulate(scenario)


def test_rolling_update_replaces_one_at_a_time_and_keeps_history(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(DAEMON_SETS, daemon_set())
        await lab.wait(5)
        before = set(await lab.names(PODS))
        await lab.patch(DAEMON_SETS, "ds", IMAGE, patch_type="strategic")
        lowest = 3
        for _ in range(300):
            await lab.wait(0.5)
            ready = [p for p in await lab.pods() if not p["metadata"].get("deletionTimestamp")]
            lowest = min(lowest, len(ready))
        pods = await lab.pods()
        assert lowest >= 2
        assert not before & {p["metadata"]["name"] for p in pods}
        assert {p["spec"]["containers"][0]["image"] for p in pods} == {"registry.k8s.io/pause:3.9"}
        assert {p["metadata"]["labels"]["pod-template-generation"] for p in pods} == {"2"}
        revisions = await lab.list(CONTROLLER_REVISIONS)
        assert sorted(r["revision"] for r in revisions) == [1, 2]
        assert (await lab.get(DAEMON_SETS, "ds"))["status"]["updatedNumberScheduled"] == 3

    simulate(scenario)


def test_going_back_renumbers_the_old_revision(simulate: Any) -> None:
    """`kubectl rollout undo`: "the DaemonSet's revision is updated", no revision is made twice."""

    async def scenario(lab: Any) -> None:
        await lab.create(DAEMON_SETS, daemon_set())
        await lab.wait(5)
        await lab.patch(DAEMON_SETS, "ds", IMAGE, patch_type="strategic")
        await lab.wait(120)
        first = next(r for r in await lab.list(CONTROLLER_REVISIONS) if r["revision"] == 1)
        back = {
            "spec": {
                "template": {"spec": {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]}}
            }
        }
        await lab.patch(DAEMON_SETS, "ds", back, patch_type="strategic")
        await lab.wait(120)
        numbers = {r["metadata"]["name"]: r["revision"] for r in await lab.list(CONTROLLER_REVISIONS)}
        assert sorted(numbers.values()) == [2, 3]
        assert numbers[first["metadata"]["name"]] == 3

    simulate(scenario)


def test_a_revision_that_somebody_else_made_stays_beside_the_first(simulate: Any) -> None:
    """test/e2e/apps/controller_revision.go: "should manage the lifecycle of a ControllerRevision"."""

    async def scenario(lab: Any) -> None:
        await lab.create(DAEMON_SETS, daemon_set())
        await lab.wait(30)
        (first,) = await lab.list(CONTROLLER_REVISIONS)
        meta = {name: first["metadata"][name] for name in ("annotations", "ownerReferences")}
        labels = {**first["metadata"]["labels"], "controller-revision-hash": "other"}
        second = {
            "metadata": {**meta, "name": "ds-other", "labels": labels},
            "data": first["data"],
            "revision": 2,
        }
        await lab.create(CONTROLLER_REVISIONS, second)
        await lab.wait(10)
        assert len(await lab.names(CONTROLLER_REVISIONS)) == 2
        await lab.delete(CONTROLLER_REVISIONS, first["metadata"]["name"])
        await lab.wait(10)
        assert await lab.names(CONTROLLER_REVISIONS) == ["ds-other"]

    simulate(scenario)


def test_an_orphaned_revision_is_adopted(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(DAEMON_SETS, daemon_set())
        await lab.wait(30)
        (first,) = await lab.list(CONTROLLER_REVISIONS)
        data = {"spec": {"template": {"$patch": "replace"}}}
        labels = {"app": "ds", "controller-revision-hash": "other"}
        orphan = {"metadata": {"name": "ds-other", "labels": labels}, "data": data, "revision": 7}
        await lab.create(CONTROLLER_REVISIONS, orphan)
        await lab.wait(10)
        found = await lab.get(CONTROLLER_REVISIONS, "ds-other")
        assert found["metadata"]["ownerReferences"] == first["metadata"]["ownerReferences"]

    simulate(scenario)


def test_on_delete_waits_for_the_user(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(DAEMON_SETS, daemon_set(updateStrategy={"type": "OnDelete"}))
        await lab.wait(5)
        await lab.patch(DAEMON_SETS, "ds", IMAGE, patch_type="strategic")
        await lab.wait(60)
        assert (await lab.get(DAEMON_SETS, "ds"))["status"].get("updatedNumberScheduled", 0) == 0
        await lab.delete(PODS, (await lab.names(PODS))[0])
        await lab.wait(60)
        assert (await lab.get(DAEMON_SETS, "ds"))["status"]["updatedNumberScheduled"] == 1

    simulate(scenario)


def test_surge_starts_the_new_pod_before_the_old_one_goes(simulate: Any) -> None:
    """KEP-1591: maxSurge."""

    async def scenario(lab: Any) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        await lab.create(DAEMON_SETS, daemon_set(updateStrategy=strategy))
        await lab.wait(5)
        await lab.patch(DAEMON_SETS, "ds", IMAGE, patch_type="strategic")
        lowest = 3
        for _ in range(300):
            await lab.wait(0.5)
            alive = [p for p in await lab.pods() if not p["metadata"].get("deletionTimestamp")]
            lowest = min(lowest, len({p["spec"].get("nodeName") for p in alive}))
        assert lowest == 3
        status = (await lab.get(DAEMON_SETS, "ds"))["status"]
        assert (status["updatedNumberScheduled"], status["numberAvailable"]) == (3, 3)
        assert len(await lab.pods()) == 3

    simulate(scenario)


def test_failed_pods_are_replaced_with_back_off(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(DAEMON_SETS, daemon_set())
        await lab.wait(5)
        name = (await lab.names(PODS))[0]
        await lab.patch(PODS, name, {"status": {"phase": "Failed"}}, subresource="status")
        await lab.wait(60)
        assert name not in await lab.names(PODS)
        assert (await lab.get(DAEMON_SETS, "ds"))["status"]["numberReady"] == 3
        assert any(reason == "FailedDaemonPod" for _, reason, *_ in await lab.events("ds"))

    simulate(scenario)


def surging(*pods: Obj) -> list[str]:
    """Names of those that go from one node of a surging set."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    ds = daemon_set(updateStrategy=strategy)
    node = {"metadata": {"name": "n"}, "spec": {}}
    found = rules.plan(ds, [node], {"n": list(pods)}, "new", 1e9)
    assert not found.create
    return [p["metadata"]["name"] for p in found.delete]


def daemon(name: str, digest: str, ready: bool) -> Obj:
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": f"2026-01-01T00:00:0{name[-1]}Z",
            "labels": {"controller-revision-hash": digest},
        },
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def test_two_pods_share_a_node_only_while_the_new_one_is_not_ready_and_the_old_one_is() -> None:
    """podsShouldBeOnNode: "we allow 2 pods if and only if the oldest pod matching the current hash state is not ready
    AND the oldest pod that doesn't match the current hash state is ready"."""
    assert surging(daemon("old-1", "old", True), daemon("new-2", "new", False)) == []
    assert surging(daemon("old-1", "old", True), daemon("new-2", "new", True)) == ["old-1"]
    assert surging(daemon("old-1", "old", False), daemon("new-2", "new", False)) == ["old-1"]
    three = [daemon("old-1", "old", True), daemon("old-2", "old", True), daemon("new-3", "new", False)]
    assert surging(*three) == ["old-2"]
