"""Since when the uses of legacy tokens are written down: the ConfigMap
kube-apiserver-legacy-service-account-token-tracking in kube-system (pkg/controlplane/controller/legacytokentracking,
KEP-2799). The cleaner of such tokens trusts no label before that day.

One that is deleted is made anew with the day of then, but at most once in half an hour; one that says no day is mended.
Upstream watches it; here it is looked at every half minute.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Protocol

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

NAMESPACE = "kube-system"
NAME = "kube-apiserver-legacy-service-account-token-tracking"
KEY = "since"
_PERIOD_S = 30.0
_CREATION_S = 1800.0
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\Z")


class Objects(Protocol):
    async def make(self, resource: Resource, obj: Obj) -> bool: ...

    async def put(self, resource: Resource, obj: Obj) -> None: ...


class LegacyTokenTracking:
    def __init__(self, objects: Objects, lister: Lister, world: World) -> None:
        self._objects = objects
        self._lister = lister
        self._world = world
        self._made_s: float | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._try_sync()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="legacy token tracking")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._world.clock.sleep(_PERIOD_S)
            await self._try_sync()

    async def _try_sync(self) -> None:
        try:
            await self._sync()
        except ApiError as error:
            log.warning("Error while syncing ConfigMap %s/%s: %s", NAMESPACE, NAME, error)

    async def _sync(self) -> None:
        found = self._lister.get(CONFIG_MAPS, NAME, NAMESPACE)
        if found is None:
            await self._make()
        elif not _DATE.match((found.get("data") or {}).get(KEY) or ""):
            data = {**(found.get("data") or {}), KEY: self._today()}
            await self._objects.put(CONFIG_MAPS, {**self._wanted(), "data": data})

    async def _make(self) -> None:
        now_s = self._world.clock.monotonic()
        if self._made_s is not None and now_s - self._made_s < _CREATION_S:
            return
        await self._objects.make(CONFIG_MAPS, self._wanted())
        self._made_s = now_s

    def _wanted(self) -> Obj:
        metadata = {"name": NAME, "namespace": NAMESPACE}
        return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {KEY: self._today()}}

    def _today(self) -> str:
        return self._world.timestamp()[:10]
