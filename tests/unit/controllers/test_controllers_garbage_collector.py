"""Owners and dependents (https://kubernetes.io/docs/concepts/architecture/garbage-collection/,
https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/,
k8s.io/kubernetes/pkg/controller/garbagecollector)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import CLUSTER_ROLES, CONFIG_MAPS, NAMESPACES, SECRETS, Resource
from pilothouse.api.types import Obj

OTHER = "other"


def ref(owner: Obj, resource: Resource = CONFIG_MAPS, *, block: bool = True, **more: Any) -> Obj:
    meta = owner["metadata"]
    return {
        "apiVersion": resource.group_version,
        "kind": resource.kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "blockOwnerDeletion": block,
        **more,
    }


async def config_map(lab: Any, name: str, *owners: Obj, **meta: Any) -> Obj:
    return await lab.create(
        CONFIG_MAPS, {"metadata": {"name": name, "ownerReferences": list(owners), **meta}}
    )


async def ours(lab: Any) -> list[str]:
    return [n for n in await lab.names(CONFIG_MAPS) if n != "kube-root-ca.crt"]


async def owners(lab: Any, name: str) -> list[str]:
    refs = (await lab.get(CONFIG_MAPS, name))["metadata"].get("ownerReferences") or []
    return [r["name"] for r in refs]


def test_in_the_background(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        top = await config_map(lab, "top")
        middle = await config_map(lab, "middle", ref(top))
        await config_map(lab, "bottom", ref(middle))
        await lab.wait(2)
        await lab.delete(CONFIG_MAPS, "top", propagationPolicy="Background")
        await lab.wait(5)
        assert await ours(lab) == []

    simulate(scenario)


def test_in_the_foreground_only_those_that_block_are_waited_for(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        top = await config_map(lab, "top")
        await config_map(lab, "blocks", ref(top), finalizers=["example.com/hold"])
        await config_map(lab, "free", ref(top, block=False), finalizers=["example.com/hold"])
        await lab.wait(2)
        await lab.delete(CONFIG_MAPS, "top", propagationPolicy="Foreground")
        await lab.wait(5)
        assert await ours(lab) == ["blocks", "free", "top"]
        await lab.patch(CONFIG_MAPS, "blocks", {"metadata": {"finalizers": None}})
        await lab.wait(5)
        assert await ours(lab) == ["free"]

    simulate(scenario)


def test_a_dependent_that_blocks_no_longer_lets_its_owner_go(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        top = await config_map(lab, "top")
        await config_map(lab, "below", ref(top), finalizers=["example.com/hold"])
        await lab.wait(2)
        await lab.delete(CONFIG_MAPS, "top", propagationPolicy="Foreground")
        await lab.wait(5)
        await lab.patch(CONFIG_MAPS, "below", {"metadata": {"ownerReferences": [ref(top, block=False)]}})
        await lab.wait(5)
        assert await ours(lab) == ["below"]

    simulate(scenario)


def test_a_circle_goes_in_the_foreground_too(simulate: Any) -> None:
    """Each would wait for the other: one of them is made not to block."""

    async def scenario(lab: Any) -> None:
        a = await config_map(lab, "a")
        b = await config_map(lab, "b", ref(a))
        await lab.patch(CONFIG_MAPS, "a", {"metadata": {"ownerReferences": [ref(b)]}})
        await lab.wait(2)
        await lab.delete(CONFIG_MAPS, "a", propagationPolicy="Foreground")
        await lab.wait(20)
        assert await ours(lab) == []

    simulate(scenario)


def test_orphans_lose_the_reference(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        top, other = await config_map(lab, "top"), await config_map(lab, "other")
        await config_map(lab, "child", ref(top), ref(other))
        await lab.wait(2)
        await lab.delete(CONFIG_MAPS, "top", propagationPolicy="Orphan")
        await lab.wait(5)
        assert await ours(lab) == ["child", "other"]
        assert await owners(lab, "child") == ["other"]

    simulate(scenario)


def test_of_several_owners_the_last_one_counts(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        one, two = await config_map(lab, "one"), await config_map(lab, "two")
        await config_map(lab, "child", ref(one), ref(two))
        await lab.wait(2)
        await lab.delete(CONFIG_MAPS, "one", propagationPolicy="Foreground")
        await lab.wait(5)
        assert await owners(lab, "child") == ["two"]
        await lab.delete(CONFIG_MAPS, "two")
        await lab.wait(5)
        assert await ours(lab) == []

    simulate(scenario)


def test_an_owner_that_never_was(simulate: Any) -> None:
    """Wrong UID, wrong name and wrong kind: what cannot be found as it is named is absent."""

    async def scenario(lab: Any) -> None:
        real = await config_map(lab, "real")
        await config_map(lab, "uid", ref(real, uid="11111111-2222-3333-4444-555555555555"))
        await config_map(lab, "name", ref(real, name="unreal"))
        await config_map(lab, "kind", ref(real, SECRETS))
        await config_map(lab, "right", ref(real))
        await lab.wait(10)
        assert await ours(lab) == ["real", "right"]

    simulate(scenario)


def test_an_owner_of_an_unknown_kind_is_not_missed(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        real = await config_map(lab, "real")
        await config_map(lab, "child", ref(real, apiVersion="no.such.group/v1", kind="Nothing"))
        await lab.wait(90)
        assert "child" in await ours(lab)

    simulate(scenario)


def test_an_owner_in_another_namespace_counts_as_gone(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(NAMESPACES, {"metadata": {"name": OTHER}})
        typed = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "top"}}
        top = await lab.client.create(CONFIG_MAPS, typed, OTHER)
        await config_map(lab, "child", ref(top))
        await lab.wait(5)
        assert await ours(lab) == []
        [told] = [e for e in await lab.events("child") if e[1] == "OwnerRefInvalidNamespace"]
        uid = top["metadata"]["uid"]
        assert told[2] == (
            f"ownerRef [v1/ConfigMap, namespace: default, name: top, uid: {uid}] does not exist in "
            'namespace "default"'
        )

    simulate(scenario)


def test_cluster_wide_owners_serve_everybody(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        role = await lab.create(CLUSTER_ROLES, {"metadata": {"name": "r"}, "rules": []})
        await config_map(lab, "child", ref(role, CLUSTER_ROLES))
        await lab.wait(5)
        assert await ours(lab) == ["child"]
        await lab.delete(CLUSTER_ROLES, "r")
        await lab.wait(5)
        assert await ours(lab) == []

    simulate(scenario)


def test_a_cluster_wide_object_with_a_namespaced_owner_is_never_collected(simulate: Any) -> None:
    """ "It is treated as having an unresolvable owner reference, and is not able to be garbage collected.\""""

    async def scenario(lab: Any) -> None:
        top = await config_map(lab, "top")
        meta = {"name": "r", "ownerReferences": [ref(top)]}
        await lab.create(CLUSTER_ROLES, {"metadata": meta, "rules": []})
        absent = {"name": "s", "ownerReferences": [ref(top, name="absent", uid="no-such-uid")]}
        await lab.create(CLUSTER_ROLES, {"metadata": absent, "rules": []})
        await lab.wait(5)
        await lab.delete(CONFIG_MAPS, "top")
        await lab.wait(60)
        assert await lab.exists(CLUSTER_ROLES, "r")
        assert await lab.exists(CLUSTER_ROLES, "s")

    simulate(scenario)
