"""ResourceQuota controller: says what a namespace may use and what it uses now
(k8s.io/kubernetes/pkg/controller/resourcequota).

Admission charges a quota before an object is made; this gives back what went away, and corrects what was charged for
objects that were refused after all:

    a quota's spec.hard changed         → count again
    an object went away                 → count the quotas of its namespace that it falls under
    an object changed to cost less      → likewise (a finished pod, a service of another type, a shrunk claim)
    every five minutes                  → count them all

What is counted comes by other watches than the quota, and may come later. Between the charge for an object and the
object itself lies a longer moment still, in which a count misses it, and no revision tells. So a count waits until the
quota has not changed for a little while, and one that would lower what is used for a longer one. Upstream does not
wait, and lets through what it missed until the next count.
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
from pilothouse.api.resources import RESOURCE_QUOTAS
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informer, key_of
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.controllers.garbage_collector import discover

log = logging.getLogger(__name__)

RESYNC_S = 300.0
"""Upstream's --resource-quota-sync-period."""
_DISCOVERY_S = 30.0
_RETRY_S = 1.0
_SEEN_S = 0.1
"""How much later than the quota what was there before it is seen here at most."""
_SETTLE_S = 0.3
"""How long an object that was charged takes to be seen here, but for very slow days."""
_WAIT_S_MIN = 0.001
_AGAIN_S = 1.0
"""After this a count that was written is checked once more: it finds what a slow day hid."""
_POSTPONED_S_MAX = 10.0
"""A quota that is charged all the time is counted after this long all the same; what is missed then is found by the
count that follows."""
_BY_NAMESPACE = "namespace"


class ResourceQuotaController(Controller):
    name: ClassVar[str] = "resourcequota-controller"
    queue_name: ClassVar[str] = "resourcequota_primary"

    def __init__(self, env: Environment, *, resync_s: float = RESYNC_S) -> None:
        super().__init__(env)
        self._resync_s = resync_s
        self._charged_s: dict[str, float] = {}
        """When each quota was last seen to change, by monotonic time."""
        self._postponed_s: dict[str, float] = {}
        """Since when a count of a quota waits."""
        self._followed: dict[Evaluator, Informer] = {}

    def setup(self) -> None:
        self._quotas = self.watch(RESOURCE_QUOTAS, changed=_asks_for_more)
        self._quotas.add_index(_BY_NAMESPACE, _namespace)
        self._quotas.add_handler(_Charges(self))

    async def run(self) -> None:
        while await self._try_to_follow() is None:
            await self.world.clock.sleep(_RETRY_S)
        await asyncio.gather(*(informer.synced() for informer in self._followed.values()))
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
            fresh = await self._try_to_follow() or []
            await asyncio.gather(*(self._followed[of].synced() for of in fresh))
            for quota in self._quotas.list():
                if any(of.matching(quota["spec"].get("hard") or ()) for of in fresh):
                    self.queue.add(key_of(quota))

    async def _try_to_follow(self) -> list[Evaluator] | None:
        """None when the server could not be asked."""
        try:
            return await self._follow_resources()
        except (ApiError, ConnectionError) as error:
            log.warning("%s: discovery failed: %s", self.name, error)
            return None

    async def _follow_resources(self) -> list[Evaluator]:
        """Those that are new. What nobody answers for now stays as it was."""
        served, failed = await discover(self)
        found = {
            evaluator(r.group, r.plural): r
            for r in served
            if r.namespaced and (r.group, r.plural) not in IGNORED
        }
        for of, informer in list(self._followed.items()):
            if of not in found and (informer.resource.group, informer.resource.version) not in failed:
                del self._followed[of]
        fresh = [of for of in found if of not in self._followed]
        for of in fresh:
            informer = self.env.informers.informer(found[of])
            informer.add_index(_BY_NAMESPACE, _namespace)
            self._followed[of] = informer
            informer.add_handler(_Replenish(self, of))
        return fresh

    def replenish(self, of: Evaluator, obj: Obj) -> None:
        """Count those quotas again under which an object may have been."""
        for quota in self._quotas.by_index(_BY_NAMESPACE, obj["metadata"].get("namespace", "")):
            if of.matching((quota.get("status") or {}).get("hard") or ()):
                self.queue.add(key_of(quota))

    def charged(self, quota: Obj) -> None:
        self._charged_s[key_of(quota)] = self.world.clock.monotonic()

    def forget(self, quota: Obj) -> None:
        self._charged_s.pop(key_of(quota), None)
        self._postponed_s.pop(key_of(quota), None)

    def _wait_s(self, key: str, quiet_s_min: float) -> float:
        """How long a count has to wait until its quota has been quiet for so long; 0 for not at all."""
        now_s = self.world.clock.monotonic()
        since_s = self._postponed_s.setdefault(key, now_s)
        quiet_s = now_s - self._charged_s.get(key, 0.0)
        if quiet_s >= quiet_s_min or now_s - since_s >= _POSTPONED_S_MAX:
            return 0.0
        # A remainder too small for the clock would come up again at the same moment, for ever in virtual time.
        return max(quiet_s_min - quiet_s, _WAIT_S_MIN)

    async def reconcile(self, key: str) -> float | None:
        quota = self._quotas.get(key)
        if quota is None:
            return None
        namespace = quota["metadata"]["namespace"]

        def objects(of: Evaluator) -> Iterable[Obj]:
            return self._followed[of].by_index(_BY_NAMESPACE, namespace)

        # What is not here yet is not counted at all: a quota without a figure lets nothing through.
        known = [of for of, informer in self._followed.items() if informer.has_synced]
        counted = usage.calculate(quota, known, objects, self.world.now())
        status = usage.status(quota, counted)
        if status is None:
            self._postponed_s.pop(key, None)
            return None
        wait_s = self._wait_s(key, _SETTLE_S if usage.lowers(quota, status) else _SEEN_S)
        if wait_s:
            return wait_s
        self._postponed_s.pop(key, None)
        await self.client.update(RESOURCE_QUOTAS, {**quota, "status": status}, subresource="status")
        return _AGAIN_S


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


class _Charges:
    """Hears of the quotas themselves."""

    def __init__(self, controller: ResourceQuotaController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        self._controller.charged(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._controller.charged(new)

    def on_delete(self, obj: Obj) -> None:
        self._controller.forget(obj)


def _asks_for_more(old: Obj, new: Obj) -> bool:
    """Statuses are written by admission and by this controller itself: they are no reason to count again."""
    return bool(old["spec"].get("hard") != new["spec"].get("hard"))


def _namespace(obj: Obj) -> Iterable[str]:
    return (obj["metadata"].get("namespace", ""),)
