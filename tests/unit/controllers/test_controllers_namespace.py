"""Namespaces that go (k8s.io/kubernetes/pkg/controller/namespace/deletion, KEP-5080,
https://kubernetes.io/docs/tasks/administer-cluster/namespaces/)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS, NAMESPACES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.controllers.namespace import Attempt, problems, undiscovered

HOLD = "example.com/hold"
GOOD = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}


async def create(lab: Any, resource: Resource, obj: Obj) -> None:
    typed = {"apiVersion": resource.group_version, "kind": resource.kind, **obj}
    await lab.client.create(resource, typed, "going")


async def release(lab: Any, resource: Resource, name: str) -> None:
    await lab.client.patch(resource, name, {"metadata": {"finalizers": None}}, "going")


async def conditions(lab: Any) -> dict[str, tuple[str, str, str]]:
    found = (await lab.get(NAMESPACES, "going"))["status"].get("conditions") or []
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in found}


def pod(name: str, **meta: Any) -> Obj:
    spec = {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]}
    return {"metadata": {"name": name, **meta}, "spec": spec}


def test_an_empty_namespace_goes_at_once(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(NAMESPACES, {"metadata": {"name": "going"}})
        await create(lab, CONFIG_MAPS, {"metadata": {"name": "c"}})
        await create(lab, PODS, pod("p"))
        await lab.wait(5)
        await lab.delete(NAMESPACES, "going")
        await lab.wait(3)
        assert not await lab.exists(NAMESPACES, "going")

    simulate(scenario)


def test_pods_go_first(simulate: Any) -> None:
    """KEP-5080: a network policy must not go before the pods that it isolates."""

    async def scenario(lab: Any) -> None:
        await lab.create(NAMESPACES, {"metadata": {"name": "going"}})
        await create(lab, CONFIG_MAPS, {"metadata": {"name": "c", "finalizers": [HOLD]}})
        await create(lab, PODS, pod("p", finalizers=[HOLD]))
        await lab.wait(5)
        await lab.delete(NAMESPACES, "going")
        await lab.wait(10)
        assert "deletionTimestamp" not in (await lab.client.get(CONFIG_MAPS, "c", "going"))["metadata"]
        assert await conditions(lab) == {
            **{kind: ("False", *good) for kind, good in GOOD.items()},
            "NamespaceContentRemaining": (
                "True",
                "SomeResourcesRemain",
                "Some resources are remaining: pods. has 1 resource instances",
            ),
            "NamespaceFinalizersRemaining": (
                "True",
                "SomeFinalizersRemain",
                f"Some content in the namespace has finalizers remaining: {HOLD} in 1 resource instances",
            ),
        }
        await release(lab, PODS, "p")
        await lab.wait(3)
        assert (
            "configmaps. has 1 resource instances" in (await conditions(lab))["NamespaceContentRemaining"][2]
        )
        await release(lab, CONFIG_MAPS, "c")
        await lab.wait(20)
        assert not await lab.exists(NAMESPACES, "going")

    simulate(scenario)


def test_texts_of_what_went_wrong() -> None:
    """ErrGroupDiscoveryFailed and the errors of content deletion, sorted."""
    attempt = Attempt()
    for name in ("b.example.com/v1", "a.example.com/v1beta1"):
        unavailable = ApiError(
            503, "ServiceUnavailable", "the server is currently unable to handle the request"
        )
        attempt.undiscovered[name] = undiscovered(name, unavailable)
    attempt.failures += ["second", "first"]
    assert problems(attempt) == {
        "NamespaceDeletionDiscoveryFailure": (
            "DiscoveryFailed",
            "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of server APIs: "
            "a.example.com/v1beta1: stale GroupVersion discovery: a.example.com/v1beta1, "
            "b.example.com/v1: stale GroupVersion discovery: b.example.com/v1",
        ),
        "NamespaceDeletionContentFailure": ("ContentDeletionFailed", "first, second"),
    }
    assert attempt.again_s() is None
    assert not attempt.is_done


def test_other_conditions_and_finalizers_stay(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(NAMESPACES, {"metadata": {"name": "going", "finalizers": [HOLD]}})
        mine = {
            "type": "example.com/Mine",
            "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "reason": "R",
            "message": "m",
        }
        await lab.patch(NAMESPACES, "going", {"status": {"conditions": [mine]}}, subresource="status")
        await lab.delete(NAMESPACES, "going")
        await lab.wait(10)
        found = await lab.get(NAMESPACES, "going")
        assert found["spec"].get("finalizers", []) == []
        assert found["metadata"]["finalizers"] == [HOLD]
        assert found["status"]["conditions"][0] == mine
        assert [c["type"] for c in found["status"]["conditions"][1:]] == list(GOOD)

    simulate(scenario)
