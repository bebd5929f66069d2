"""One extender: whom it is interested in, and what it is asked (pkg/scheduler/extender.go)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pilothouse.api.types import Obj
from pilothouse.scheduler.extenders import wire
from pilothouse.scheduler.extenders.wire import ExtenderError, Filtered, Victims
from pilothouse.scheduler.framework import SCORE_MAX, BindPlugin, Cycle
from pilothouse.scheduler.pod_info import PodInfo

log = logging.getLogger(__name__)

NAME = "Extender"
"""As a plugin that refused a pod."""
_SCALE = SCORE_MAX // 10
"""Extenders score from 0 to 10."""


class Sender(Protocol):
    async def send(self, verb: str, body: Obj) -> Any: ...

    async def close(self) -> None: ...


class Extender:
    """Of one entry of a configuration's `extenders`."""

    def __init__(self, config: Obj, sender: Sender) -> None:
        self.url: str = config["urlPrefix"]
        self.ignorable = bool(config.get("ignorable"))
        self._verbs = {verb: config.get(f"{verb}Verb", "") for verb in _VERBS}
        self._weight: int = config.get("weight", 0)
        self._names_only = bool(config.get("nodeCacheCapable"))
        self._managed = frozenset(resource["name"] for resource in config.get("managedResources") or ())
        self._sender = sender

    def does(self, verb: str) -> bool:
        """filter, prioritize, preempt or bind."""
        return bool(self._verbs[verb])

    def is_interested(self, info: PodInfo) -> bool:
        """In every pod, or in those that ask for one of its resources."""
        if not self._managed:
            return True
        spec = info.pod["spec"]
        containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
        resources = (container.get("resources") or {} for container in containers)
        return any(
            not self._managed.isdisjoint(found.get(kind) or ())
            for found in resources
            for kind in ("requests", "limits")
        )

    async def filter(self, info: PodInfo, nodes: Sequence[Obj]) -> Filtered:
        body = wire.arguments(info.pod, nodes, names_only=self._names_only)
        answer = await self._sender.send(self._verbs["filter"], body)
        asked = (node["metadata"]["name"] for node in nodes)
        return wire.filtered(answer, asked, self.url, names_only=self._names_only)

    async def scores(self, info: PodInfo, nodes: Sequence[Obj]) -> dict[str, int]:
        """What to add to each node's score."""
        body = wire.arguments(info.pod, nodes, names_only=self._names_only)
        found = wire.scores(await self._sender.send(self._verbs["prioritize"], body))
        return {node: score * self._weight * _SCALE for node, score in found.items()}

    async def preempt(
        self, info: PodInfo, victims: Mapping[str, tuple[Sequence[PodInfo], int]]
    ) -> dict[str, Victims]:
        """The nodes that are left, each with its victims."""
        body = wire.preemption(info.pod, victims, names_only=self._names_only)
        found = wire.preempted(await self._sender.send(self._verbs["preempt"], body))
        for node in [node for node, those in found.items() if not those.uids]:
            if not self.ignorable:
                raise ExtenderError(f'expected at least one victim pod on node "{node}"')
            del found[node]
        return found

    async def bind(self, info: PodInfo, node: str) -> None:
        wire.bound(await self._sender.send(self._verbs["bind"], wire.binding(info, node)))

    async def close(self) -> None:
        await self._sender.close()


_VERBS = ("filter", "prioritize", "preempt", "bind")


class ExtenderBinder(BindPlugin):
    """An extender that binds the pods that it is interested in, before any plugin is asked."""

    name = NAME

    def __init__(self, extender: Extender) -> None:
        self._extender = extender

    async def bind(self, cycle: Cycle, node: str) -> bool:
        extender = self._extender
        if not extender.is_interested(cycle.info):
            return False
        try:
            await extender.bind(cycle.info, node)
        except ExtenderError as error:
            if not extender.ignorable:
                raise
            log.info("extender %s did not bind %s and is ignored: %s", extender.url, cycle.info.key, error)
            return False
        return True
