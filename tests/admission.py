"""A server's admission without the server: plugins get stored objects from a dict."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from pilothouse.api import errors
from pilothouse.api.resources import NAMESPACES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation
from pilothouse.apiserver.authz.rbac import Decision
from pilothouse.apiserver.request import RequestInfo, UserInfo
from pilothouse.kit.world import World, simulated_world

ALICE = UserInfo("alice", groups=("dev", "system:authenticated"))


@dataclass
class Bench:
    """`store` what plugins shall find; `allowed` what users may: (verb, resource, name) triples."""

    world: World = field(default_factory=lambda: simulated_world(1))
    objects: dict[tuple[str, str, str], Obj] = field(default_factory=dict)
    allowed: set[tuple[str, str, str]] = field(default_factory=set)
    kinds: dict[tuple[str, str, str], Resource] = field(default_factory=dict)
    made: list[Obj] = field(default_factory=list)
    conflicts: int = 0
    """How many of the next status writes meet another's."""

    def env(self, configuration: Mapping[str, Obj] | None = None) -> Environment:
        return Environment(
            self,
            self.world,
            self,
            self.authorize,
            lambda group, version, kind: self.kinds.get((group, version, kind)),
            configuration or {},
        )

    def store(self, resource: Resource, obj: Obj) -> Obj:
        meta = obj["metadata"]
        meta.setdefault("uid", f"uid-{meta['name']}")
        meta.setdefault("resourceVersion", "1")
        self.objects[resource.plural, meta.get("namespace", ""), meta["name"]] = obj
        return obj

    def namespace(self, name: str = "ns", **metadata: Any) -> Obj:
        return self.store(NAMESPACES, {"metadata": {"name": name, **metadata}})

    # -- what a plugin uses -----------------------------------------------------------------------------

    def get(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        return self.objects.get((resource.plural, namespace, name))

    def list(self, resource: Resource, namespace: str = "") -> Iterable[Obj]:
        return [
            obj
            for (plural, where, _), obj in sorted(self.objects.items())
            if plural == resource.plural and namespace in ("", where)
        ]

    async def sure(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        return self.get(resource, name, namespace)

    def revision(self, resource: Resource) -> int:
        return len(self.objects)

    def authorize(self, user: UserInfo, info: RequestInfo) -> Decision:
        resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        return Decision((info.verb, resource, info.name) in self.allowed)

    async def make(self, resource: Resource, obj: Obj) -> bool:
        self.made.append(obj)
        return True

    async def update_status(self, resource: Resource, obj: Obj) -> None:
        await asyncio.sleep(0)  # a store takes its time, and others run meanwhile
        meta = obj["metadata"]
        stored = self.get(resource, meta["name"], meta.get("namespace", ""))
        assert stored is not None
        if self.conflicts or stored["metadata"]["resourceVersion"] != meta["resourceVersion"]:
            self.conflicts = max(0, self.conflicts - 1)
            raise errors.conflict(resource.group, resource.plural, meta["name"], errors.OPTIMISTIC_LOCK)
        revision = str(int(meta["resourceVersion"]) + 1)
        self.store(resource, {**obj, "metadata": {**meta, "resourceVersion": revision}})


def attributes(
    operation: Operation,
    obj: Obj | None,
    old: Obj | None = None,
    *,
    resource: Resource = PODS,
    subresource: str = "",
    user: UserInfo = ALICE,
    dry_run: bool = False,
    name: str = "",
) -> Attributes:
    meta = (obj or old or {})["metadata"]
    return Attributes(
        operation,
        resource,
        subresource,
        meta.get("namespace", "ns" if resource.namespaced else ""),
        name or meta.get("name", ""),
        obj,
        old,
        user,
        dry_run,
        {},
        [],
    )


def pod(name: str = "p", **spec: Any) -> Obj:
    """A pod with one container `c`, as it is after defaulting."""
    spec.setdefault("containers", [container()])
    return {"metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"}, "spec": spec, "status": {}}


def container(name: str = "c", requests: Obj | None = None, limits: Obj | None = None, **more: Any) -> Obj:
    resources: Obj = {}
    if requests:
        resources["requests"] = requests
    if limits:
        resources["limits"] = limits
    return {"name": name, "image": "image", "imagePullPolicy": "IfNotPresent", "resources": resources, **more}


async def refusal(work: Awaitable[None]) -> str:
    """The message of the 403 (or other error) that a plugin answers."""
    with pytest.raises(errors.ApiError) as caught:
        await work
    return caught.value.message
