"""StatefulSet, as https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/ describes it."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import (
    CONTROLLER_REVISIONS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    STATEFUL_SETS,
)
from pilothouse.api.types import Obj
from pilothouse.controllers import statefulset_rules as rules

OLD, NEW = "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.9"


def stateful_set(*, annotations: dict[str, str] | None = None, **spec: Any) -> Obj:
    template: Obj = {
        "metadata": {"labels": {"app": "db"}, "annotations": annotations or {}},
        "spec": {"containers": [{"name": "c", "image": OLD}]},
    }
    return {
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db",
            "replicas": 3,
            "selector": {"matchLabels": {"app": "db"}},
            "template": template,
            **spec,
        },
    }


def image(name: str) -> Obj:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}


def claim_template(**policy: str) -> dict[str, Any]:
    template = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    return {"volumeClaimTemplates": [template], "persistentVolumeClaimRetentionPolicy": policy}


SLOW = {"pilothouse.dev/start-seconds": "10"}


def test_pods_come_one_after_the_other(simulate: Any) -> None:
    """ "Pods are created sequentially, in order from {0..N-1}", each when its predecessors are running and ready."""

    async def scenario(lab: Any) -> None:
        await lab.create(STATEFUL_SETS, stateful_set(annotations=SLOW))
        await lab.wait(5)
        assert await lab.names(PODS) == ["db-0"]
        await lab.wait(10)
        assert await lab.names(PODS) == ["db-0", "db-1"]
        await lab.wait(20)
        pods = await lab.pods()
        assert [p["metadata"]["name"] for p in pods] == ["db-0", "db-1", "db-2"]
        first = pods[0]
        assert first["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "db-0"
        assert first["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "0"
        assert (first["spec"]["hostname"], first["spec"]["subdomain"]) == ("db-0", "db")
        status = (await lab.get(STATEFUL_SETS, "db"))["status"]
        assert (status["readyReplicas"], status["currentReplicas"], status["collisionCount"]) == (3, 3, 0)
        assert status["currentRevision"] == status["updateRevision"]

    simulate(scenario)


def test_parallel_sets_do_not_wait(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(STATEFUL_SETS, stateful_set(annotations=SLOW, podManagementPolicy="Parallel"))
        await lab.wait(5)
        assert len(await lab.pods()) == 3

    simulate(scenario)


def test_scaling_down_goes_from_the_highest_ordinal(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(STATEFUL_SETS, stateful_set(annotations={"pilothouse.dev/stop-seconds": "3"}))
        await lab.wait(20)
        await lab.patch(STATEFUL_SETS, "db", {"spec": {"replicas": 1}})
        seen = [await lab.names(PODS)]
        for _ in range(200):
            await lab.wait(0.5)
            names = await lab.names(PODS)
            if names != seen[-1]:
                seen.append(names)
        assert seen == [["db-0", "db-1", "db-2"], ["db-0", "db-1"], ["db-0"]]
        told = [(reason, message) for _, reason, message, _ in await lab.events("db")]
        assert ("SuccessfulDelete", "Delete Pod db-2 in StatefulSet db successful") in told

    simulate(scenario)


def test_a_deleted_pod_comes_back_under_its_name(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(STATEFUL_SETS, stateful_set())
        await lab.wait(20)
        before = (await lab.get(PODS, "db-1"))["metadata"]["uid"]
        await lab.delete(PODS, "db-1")
        await lab.wait(60)
        assert (await lab.get(PODS, "db-1"))["metadata"]["uid"] != before
        assert (await lab.get(STATEFUL_SETS, "db"))["status"]["readyReplicas"] == 3

    simulate(scenario)


def test_rolling_update_goes_down_to_the_partition(simulate: Any) -> None:
    """ "If a partition is specified, all Pods with an ordinal that is greater than or equal to the partition will be
    updated"; a pod below it that is deleted comes back with the old template."""

    async def scenario(lab: Any) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        await lab.create(STATEFUL_SETS, stateful_set(updateStrategy=strategy))
        await lab.wait(20)
        await lab.patch(STATEFUL_SETS, "db", image(NEW), patch_type="strategic")
        await lab.wait(120)
        images = [p["spec"]["containers"][0]["image"] for p in await lab.pods()]
        assert images == [OLD, NEW, NEW]
        status = (await lab.get(STATEFUL_SETS, "db"))["status"]
        assert (status["currentReplicas"], status["updatedReplicas"]) == (1, 2)
        assert status["currentRevision"] != status["updateRevision"]
        await lab.delete(PODS, "db-0")
        await lab.wait(60)
        assert (await lab.get(PODS, "db-0"))["spec"]["containers"][0]["image"] == OLD
        await lab.patch(
            STATEFUL_SETS, "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}
        )
        await lab.wait(60)
        status = (await lab.get(STATEFUL_SETS, "db"))["status"]
        assert status["currentRevision"] == status["updateRevision"]
        assert (status["currentReplicas"], status["updatedReplicas"]) == (3, 3)

    simulate(scenario)


def test_on_delete_waits_for_the_user(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(STATEFUL_SETS, stateful_set(updateStrategy={"type": "OnDelete"}))
        await lab.wait(20)
        await lab.patch(STATEFUL_SETS, "db", image(NEW), patch_type="strategic")
        await lab.wait(60)
        assert {p["spec"]["containers"][0]["image"] for p in await lab.pods()} == {OLD}
        await lab.delete(PODS, "db-2")
        await lab.wait(60)
        assert (await lab.get(PODS, "db-2"))["spec"]["containers"][0]["image"] == NEW

    simulate(scenario)


def test_going_back_renumbers_the_old_revision(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(STATEFUL_SETS, stateful_set())
        await lab.wait(20)
        await lab.patch(STATEFUL_SETS, "db", image(NEW), patch_type="strategic")
        await lab.wait(120)
        await lab.patch(STATEFUL_SETS, "db", image(OLD), patch_type="strategic")
        await lab.wait(120)
        assert sorted(r["revision"] for r in await lab.list(CONTROLLER_REVISIONS)) == [2, 3]
        assert {p["spec"]["containers"][0]["image"] for p in await lab.pods()} == {OLD}

    simulate(scenario)


def test_claims_are_made_before_pods_and_stay_by_default(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        wanted = stateful_set(
            podManagementPolicy="Parallel", ordinals={"start": 5}, replicas=2, **claim_template()
        )
        await lab.create(STATEFUL_SETS, wanted)
        await lab.wait(5)
        claims = await lab.list(PERSISTENT_VOLUME_CLAIMS)
        assert [c["metadata"]["name"] for c in claims] == ["data-db-5", "data-db-6"]
        assert all(c["metadata"]["labels"] == {"app": "db"} for c in claims)
        pod = await lab.get(PODS, "db-5")
        assert pod["spec"]["volumes"][0] == {
            "name": "data",
            "persistentVolumeClaim": {"claimName": "data-db-5"},
        }
        await lab.delete(STATEFUL_SETS, "db")
        await lab.wait(60)
        assert await lab.pods() == []
        assert len(await lab.names(PERSISTENT_VOLUME_CLAIMS)) == 2

    simulate(scenario)


def test_claims_are_owned_as_the_retention_policy_says(simulate: Any) -> None:
    """KEP-1847."""

    async def scenario(lab: Any) -> None:
        wanted = stateful_set(
            podManagementPolicy="Parallel",
            replicas=2,
            **claim_template(whenDeleted="Delete", whenScaled="Retain"),
        )
        await lab.create(STATEFUL_SETS, wanted)
        await lab.wait(5)
        for claim in await lab.list(PERSISTENT_VOLUME_CLAIMS):
            assert [r["kind"] for r in claim["metadata"]["ownerReferences"]] == ["StatefulSet"]
        policy = {"whenDeleted": "Retain", "whenScaled": "Retain"}
        await lab.patch(STATEFUL_SETS, "db", {"spec": {"persistentVolumeClaimRetentionPolicy": policy}})
        await lab.wait(5)
        assert not any(c["metadata"].get("ownerReferences") for c in await lab.list(PERSISTENT_VOLUME_CLAIMS))

    simulate(scenario)


def test_a_claim_goes_with_the_pod_that_is_scaled_away() -> None:
    st = {**stateful_set(replicas=1, **claim_template(whenScaled="Delete")), "kind": "StatefulSet"}
    st["metadata"] = {"name": "db", "uid": "set", "namespace": "n"}
    claim: Obj = {"metadata": {"name": "data-db-1"}}

    def owners(ordinal: int) -> list[str]:
        pod: Obj = {"metadata": {"name": f"db-{ordinal}", "uid": "pod"}}
        return [ref["kind"] for ref in rules.claim_owners(st, pod, claim)]

    assert (owners(0), owners(1)) == ([], ["Pod"])
    st["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] = "Delete"
    assert (owners(0), owners(1)) == (["StatefulSet"], ["Pod"])


def test_foreign_controllers_keep_their_claims() -> None:
    st = {**stateful_set(**claim_template(whenDeleted="Delete")), "kind": "StatefulSet"}
    st["metadata"] = {"name": "db", "uid": "set", "namespace": "n"}
    ref = {"kind": "Other", "name": "o", "uid": "other", "controller": True}
    claim: Obj = {"metadata": {"name": "data-db-0", "ownerReferences": [ref]}}
    assert rules.claim_owners(st, {"metadata": {"name": "db-0", "uid": "pod"}}, claim) == [ref]


def test_a_pod_by_another_name_is_neither_adopted_nor_kept(simulate: Any) -> None:
    """A pod is a member by its name (isMemberOf): one that is not is left alone, or let go."""

    async def scenario(lab: Any) -> None:
        made = await lab.create(STATEFUL_SETS, stateful_set(replicas=1))
        spec = {"containers": [{"name": "c", "image": OLD}]}
        ref = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": made["metadata"]["uid"]}
        for name, refs in (("stray", []), ("owned", [{**ref, "controller": True}])):
            meta = {"name": name, "labels": {"app": "db"}, "ownerReferences": refs}
            await lab.create(PODS, {"metadata": meta, "spec": spec})
        await lab.wait(10)
        for name in ("stray", "owned"):
            assert "ownerReferences" not in (await lab.get(PODS, name))["metadata"]
        assert (await lab.get(STATEFUL_SETS, "db"))["status"]["replicas"] == 1

    simulate(scenario)


def test_a_roll_in_parallel_waits_until_each_pod_is_available(simulate: Any) -> None:
    """minReadySeconds count for rolling updates under either pod management policy."""

    async def scenario(lab: Any) -> None:
        wanted = stateful_set(replicas=2, podManagementPolicy="Parallel", minReadySeconds=20)
        await lab.create(STATEFUL_SETS, wanted)
        await lab.wait(30)
        await lab.patch(STATEFUL_SETS, "db", image(NEW))
        await lab.wait(15)
        images = {p["metadata"]["name"]: p["spec"]["containers"][0]["image"] for p in await lab.pods()}
        assert images == {"db-0": OLD, "db-1": NEW}
        await lab.wait(15)
        assert {p["spec"]["containers"][0]["image"] for p in await lab.pods()} == {NEW}

    simulate(scenario)


def test_parallel_pods_start_slowly_so_that_a_quota_is_not_flooded(simulate: Any) -> None:
    """One, two, four, … at a time, until one is refused (slowStartBatch)."""

    async def scenario(lab: Any) -> None:
        await lab.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}})
        await lab.wait(5)
        await lab.create(STATEFUL_SETS, stateful_set(replicas=50, podManagementPolicy="Parallel"))
        await lab.wait(2)
        refused = {e[2].split()[2] for e in await lab.events("db") if e[1] == "FailedCreate"}
        assert refused == {"db-0"}

    simulate(scenario)


def test_ordinals_begin_where_they_are_told_to(simulate: Any) -> None:
    """KEP-3335: spec.ordinals.start; moving it makes pods at one end and takes them at the other."""

    async def scenario(lab: Any) -> None:
        await lab.create(STATEFUL_SETS, stateful_set(replicas=2, ordinals={"start": 3}))
        await lab.wait(15)
        assert await lab.names(PODS) == ["db-3", "db-4"]
        await lab.patch(STATEFUL_SETS, "db", {"spec": {"ordinals": {"start": 4}}})
        await lab.wait(60)
        assert await lab.names(PODS) == ["db-4", "db-5"]
        status = (await lab.get(STATEFUL_SETS, "db"))["status"]
        assert (status["replicas"], status["readyReplicas"]) == (2, 2)

    simulate(scenario)
