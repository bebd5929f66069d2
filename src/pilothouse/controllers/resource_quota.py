"""ResourceQuota controller: says what a namespace may use and what it uses now
(k8s.io/kubernetes/pkg/controller/resourcequota).

Admission charges a quota before an object is made; this gives back what went away, and corrects what was charged for
objects that were refused after all:

    a quota's spec.hard changed         → count again
    an object went away                 → count the quotas of its namespace that it falls under
    an object changed to cost less      → likewise (a finished pod, a service of another type, a shrunk claim)
    every five minutes                  → count them all
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.quota import usage
from pilothouse.api.quota.evaluator import Evaluator
from pilothouse.api.quota.registry import IGNORED, evaluator
from pilothouse.api.resources import RESOURCE_QUOTAS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informer, key_of
from pilothouse.controllers.garbage_collector import discover
from pilothouse.controllers.reconciler import Controller, Environment

log = logging.getLogger(__name__)

RESYNC_S = 300.0
"""Upstream's --resource-quota-sync-period."""
_DISCOVERY_S = 30.0
_SETTLE_S = 1.0
"""How long an object that admission charged takes at most to be stored and seen here. Whoever counts in between misses
it, so what was counted and written is counted once more."""
_BY_NAMESPACE = "namespace"


class ResourceQuotaController(Controller):
    name: ClassVar[str] = "resourcequota-controller"

    def __init__(self, env: Environment, *, resync_s: float = RESYNC_S) -> None:
        super().__init__(env)
        self._resync_s = resync_s
        self._followed: dict[Evaluator, tuple[Resource, Informer]] = {}

    def setup(self) -> None:
        self._quotas = self.watch(RESOURCE_QUOTAS, changed=_asks_for_more)
        self._quotas.add_index(_BY_NAMESPACE, _namespace)

    async def run(self) -> None:
        await self._follow_resources()
        await asyncio.gather(*(informer.synced() for _, informer in self._followed.values()))
        loops = [
            asyncio.get_running_loop().create_task(loop, name=f"{self.name} {what}")
            for what, loop in (("resync", self._resync()), ("discovery", self._rediscover()))
        ]
        try:
            await super().run()
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _resync(self) -> None:
        while True:
            await self.world.clock.sleep(self._resync_s)
            for key in list(self._quotas.keys()):
                self.queue.add(key)

    async def _rediscover(self) -> None:
        """Custom resources come and go."""
        while True:
            await self.world.clock.sleep(_DISCOVERY_S)
            try:
                await self._follow_resources()
            except (ApiError, ConnectionError) as error:
                log.warning("%s: discovery failed: %s", self.name, error)

    async def _follow_resources(self) -> None:
        found = {
            evaluator(r.group, r.plural): r
            for r in await discover(self)
            if r.namespaced and (r.group, r.plural) not in IGNORED
        }
        for of in [of for of in self._followed if of not in found]:
            del self._followed[of]
        for of, resource in found.items():
            if of not in self._followed:
                informer = self.env.informers.informer(resource)
                informer.add_index(_BY_NAMESPACE, _namespace)
                self._followed[of] = (resource, informer)
                informer.add_handler(_Replenish(self, of))

    def replenish(self, of: Evaluator, obj: Obj) -> None:
        """Count those quotas again under which an object may have been."""
        for quota in self._quotas.by_index(_BY_NAMESPACE, obj["metadata"].get("namespace", "")):
            if of.matching((quota.get("status") or {}).get("hard") or ()):
                self.queue.add(key_of(quota))

    async def reconcile(self, key: str) -> float | None:
        quota = self._quotas.get(key)
        if quota is None:
            return None
        namespace = quota["metadata"]["namespace"]

        def objects(of: Evaluator) -> Iterable[Obj]:
            return self._followed[of][1].by_index(_BY_NAMESPACE, namespace)

        counted = usage.calculate(quota, list(self._followed), objects, self.world.now())
        status = usage.status(quota, counted)
        if status is None:
            return None
        await self.client.update(RESOURCE_QUOTAS, {**quota, "status": status}, subresource="status")
        return _SETTLE_S


class _Replenish:
    """Hears of one resource's objects."""

    def __init__(self, controller: ResourceQuotaController, of: Evaluator) -> None:
        self._controller = controller
        self._of = of

    def on_add(self, obj: Obj) -> None:
        """Admission has charged it."""

    def on_update(self, old: Obj, new: Obj) -> None:
        if self._of.replenishes(old, new, self._controller.world.now()):
            self._controller.replenish(self._of, new)

    def on_delete(self, obj: Obj) -> None:
        self._controller.replenish(self._of, obj)


def _asks_for_more(old: Obj, new: Obj) -> bool:
    """Statuses are written by admission and by this controller itself: they are no reason to count again."""
    return bool(old["spec"].get("hard") != new["spec"].get("hard"))


def _namespace(obj: Obj) -> Iterable[str]:
    return (obj["metadata"].get("namespace", ""),)
