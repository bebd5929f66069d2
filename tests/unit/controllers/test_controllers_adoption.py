"""Adoption and release (k8s.io/kubernetes/pkg/controller/controller_ref_manager.go)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api import labels
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS, PODS, REPLICA_SETS
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import TryAgain
from pilothouse.controllers.adoption import Claim

POD_SPEC = {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]}
FINISHED = {"phase": "Succeeded"}


def replica_set(name: str, replicas: int = 0, app: str = "web", **meta: Any) -> Obj:
    return {
        "metadata": {"name": name, **meta},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "template": {"metadata": {"labels": {"app": app}}, "spec": POD_SPEC},
        },
    }


def pod(name: str, **meta: Any) -> Obj:
    return {"metadata": {"name": name, "labels": {"app": "web"}, **meta}, "spec": POD_SPEC}


def claim(lab: Any, owner: Obj) -> Claim:
    selector = labels.from_label_selector(owner["spec"]["selector"])
    return Claim(lab.client, owner, REPLICA_SETS, PODS, selector)


async def owner_uids(lab: Any, name: str) -> list[str]:
    refs = (await lab.get(PODS, name))["metadata"].get("ownerReferences") or []
    return [r["uid"] for r in refs]


def test_an_orphan_is_adopted_and_released_when_its_labels_change(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(PODS, pod("orphan"))
        owner = await lab.create(REPLICA_SETS, replica_set("rs", 1))
        await lab.wait(5)
        assert await lab.names(PODS) == ["orphan"]
        [ref] = (await lab.get(PODS, "orphan"))["metadata"]["ownerReferences"]
        assert ref == {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": "rs",
            "uid": owner["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        await lab.patch(PODS, "orphan", {"metadata": {"labels": {"app": "other"}}})
        await lab.wait(5)
        assert await owner_uids(lab, "orphan") == []
        assert len(await lab.pods("app=web")) == 1

    simulate(scenario)


def test_a_finished_pod_is_nobodys_to_adopt(simulate: Any) -> None:
    """Inactive pods are filtered before pods are claimed (ReplicaSetController.syncReplicaSet)."""

    async def scenario(lab: Any) -> None:
        await lab.create(PODS, pod("done"))
        await lab.patch(PODS, "done", {"status": FINISHED}, subresource="status")
        await lab.create(REPLICA_SETS, replica_set("rs", 1))
        await lab.wait(5)
        assert await owner_uids(lab, "done") == []
        assert len(await lab.pods("app=web")) == 2

    simulate(scenario)


def test_other_owners_written_meanwhile_stay(simulate: Any) -> None:
    """Both patches are strategic: they touch one reference by its UID, whatever the informer showed."""

    async def scenario(lab: Any) -> None:
        other = await lab.create(CONFIG_MAPS, {"metadata": {"name": "other"}})
        owner = await lab.create(REPLICA_SETS, replica_set("rs"))
        stale = await lab.create(PODS, {**pod("orphan"), "metadata": {"name": "orphan"}})
        stale = {**stale, "metadata": {**stale["metadata"], "labels": {"app": "web"}}}
        ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": other["metadata"]["uid"]}
        await lab.patch(PODS, "orphan", {"metadata": {"ownerReferences": [ref]}})

        assert await claim(lab, owner).all([stale]) == [stale]
        assert await owner_uids(lab, "orphan") == [owner["metadata"]["uid"], other["metadata"]["uid"]] or (
            await owner_uids(lab, "orphan") == [other["metadata"]["uid"], owner["metadata"]["uid"]]
        )

    simulate(scenario)


def test_a_pod_that_somebody_else_adopted_first_is_not_taken_from_him(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        first = await lab.create(REPLICA_SETS, replica_set("first"))
        second = await lab.create(REPLICA_SETS, replica_set("second"))
        made = await lab.create(PODS, {**pod("orphan"), "metadata": {"name": "orphan"}})
        stale = {**made, "metadata": {**made["metadata"], "labels": {"app": "web"}}}
        assert await claim(lab, first).all([stale]) == [stale]
        with pytest.raises(ApiError, match="Only one reference can have Controller set to true"):
            await claim(lab, second).all([stale])
        assert await owner_uids(lab, "orphan") == [first["metadata"]["uid"]]

    simulate(scenario)


def test_an_owner_that_was_replaced_adopts_nothing(simulate: Any) -> None:
    """Nor does it go on: it would make pods for an owner that is gone (RecheckDeletionTimestamp)."""

    async def scenario(lab: Any) -> None:
        old = await lab.create(REPLICA_SETS, replica_set("rs"))
        await lab.delete(REPLICA_SETS, "rs")
        new = await lab.create(REPLICA_SETS, replica_set("rs"))
        orphan = {**pod("orphan"), "metadata": {**pod("orphan")["metadata"], "namespace": "default"}}
        with pytest.raises(TryAgain) as refused:
            await claim(lab, old).all([orphan])
        assert str(refused.value) == (
            "can't adopt Pod default/orphan: original ReplicaSet default/rs is gone: "
            f"got uid {new['metadata']['uid']}, wanted {old['metadata']['uid']}"
        )

    simulate(scenario)


def test_an_owner_that_is_going_adopts_nothing(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        old = await lab.create(REPLICA_SETS, replica_set("rs", finalizers=["example.com/wait"]))
        await lab.delete(REPLICA_SETS, "rs")
        orphan = {**pod("orphan"), "metadata": {**pod("orphan")["metadata"], "namespace": "default"}}
        with pytest.raises(TryAgain, match="default/rs has just been deleted at "):
            await claim(lab, old).all([orphan])

    simulate(scenario)
