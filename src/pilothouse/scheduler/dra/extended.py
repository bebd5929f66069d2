"""Extended resources that devices stand in for (KEP-5004).

A DeviceClass may name an extended resource; every one has an implicit one as well. A pod that asks for such a resource
and comes to a node that does not have it as such gets devices instead, by a claim that the scheduler makes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from pilothouse.api.pod_requests import amount
from pilothouse.api.resource_claims import EXTENDED
from pilothouse.api.types import Obj
from pilothouse.client.informer import Handler

IN_MEMORY = "<extended-resources>"
"""The name of a claim that is not written yet; no API server would take it."""
IMPLICIT = "deviceclass.resource.kubernetes.io/"


class Classes(Handler):
    """DeviceClasses by the extended resources that they stand for. `changed` is told when any is another one."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._known: dict[str, Obj] = {}
        self._by_resource: dict[str, str] = {}

    def get(self, name: str) -> Obj | None:
        return self._known.get(name)

    def of(self, resource: str) -> str:
        """The class that stands for an extended resource; "" for none. Of several it is the youngest one."""
        if resource.startswith(IMPLICIT):
            name = resource.removeprefix(IMPLICIT)
            return name if name in self._known else ""
        return self._by_resource.get(resource, "")

    def stands_for(self, resource: str) -> bool:
        return bool(self._known) and bool(self.of(resource))

    def on_add(self, obj: Obj) -> None:
        self._put(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._put(new)

    def on_delete(self, obj: Obj) -> None:
        self._known.pop(obj["metadata"]["name"], None)
        self._settle()

    def _put(self, obj: Obj) -> None:
        self._known[obj["metadata"]["name"]] = obj
        self._settle()

    def _settle(self) -> None:
        named = [each for each in self._known.values() if each["spec"].get("extendedResourceName")]
        named.sort(key=lambda each: str(each["metadata"]["name"]), reverse=True)
        named.sort(key=lambda each: str(each["metadata"].get("creationTimestamp")))
        self._by_resource = {each["spec"]["extendedResourceName"]: each["metadata"]["name"] for each in named}
        self._changed()


class Translation(NamedTuple):
    """The device requests that stand for a pod's extended resources, and which container gets which one."""

    requests: list[Obj]
    mappings: list[Obj]


def translated(pod: Obj, resources: Iterable[str], class_of: Callable[[str], str]) -> Translation:
    """Containers that run together each have a request of their own; one that runs before them uses theirs, and what
    it needs beyond is asked for once, for the largest of its kind."""
    requests: list[Obj] = []
    mappings: list[Obj] = []
    for resource in sorted(resources):
        found = _of_resource(pod, resource, class_of(resource))
        requests += found.requests
        mappings += found.mappings
    return Translation(sorted(requests, key=lambda each: str(each["name"])), mappings)


def _of_resource(pod: Obj, resource: str, class_name: str) -> Translation:
    early = pod["spec"].get("initContainers") or []
    containers = [*early, *pod["spec"]["containers"]]
    brief = [i for i, c in enumerate(early) if c.get("restartPolicy") != "Always"]
    lasting: dict[int, Obj] = {}
    mappings: list[Obj] = []
    for i, container in enumerate(containers):
        count = _count(container, resource)
        if i not in brief and count:
            lasting[i] = _request(i, container, resource, class_name, count)
            mappings.append(_mapping(container, resource, lasting[i]["name"]))
    extra: Obj | None = None
    extras: set[str] = set()
    later: list[Obj] = []
    for i in brief:
        rest = _count(containers[i], resource)
        for request in [lasting[j] for j in sorted(lasting) if j >= i]:
            if rest <= 0:
                break
            rest -= request["exactly"]["count"]
            later.append(_mapping(containers[i], resource, request["name"]))
        if rest > 0:
            own = _request(i, containers[i], resource, class_name, rest)
            later.append(_mapping(containers[i], resource, own["name"]))
            extras.add(own["name"])
            if extra is None or extra["exactly"]["count"] < rest:
                extra = own
    if extra is not None:
        for mapping in later:
            if mapping["requestName"] in extras:
                mapping["requestName"] = extra["name"]
    return Translation([*([extra] if extra is not None else []), *lasting.values()], [*mappings, *later])


def _count(container: Obj, resource: str) -> int:
    asked = (container.get("resources") or {}).get("requests") or {}
    return amount(resource, asked[resource]) if resource in asked else 0


def _request(index: int, container: Obj, resource: str, class_name: str, count: int) -> Obj:
    asked: Collection[str] = container["resources"]["requests"]
    name = f"container-{index}-request-{sorted(asked).index(resource)}"
    return {
        "name": name,
        "exactly": {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": count},
    }


def _mapping(container: Obj, resource: str, request: str) -> Obj:
    return {"containerName": container["name"], "resourceName": resource, "requestName": request}


def claim_for(pod: Obj, uid: str, requests: list[Obj]) -> Obj:
    """The claim, as it is before it is written."""
    meta = pod["metadata"]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "namespace": meta["namespace"],
            "name": IN_MEMORY,
            "uid": uid,
            "generateName": f"{meta['name']}-extended-resources-",
            "annotations": {EXTENDED: "true"},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {"devices": {"requests": requests}},
    }


def is_in_memory(claim: Obj) -> bool:
    return bool(claim["metadata"]["name"] == IN_MEMORY)


def is_for_extended(claim: Obj) -> bool:
    return (claim["metadata"].get("annotations") or {}).get(EXTENDED) == "true"
