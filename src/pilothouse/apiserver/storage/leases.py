"""Leases shared by objects that expire: a thousand events of one minute need one lease, not a thousand
(k8s.io/apiserver/pkg/storage/etcd3/lease_manager.go)."""

from __future__ import annotations

import asyncio

from pilothouse.etcd.contract import Backend
from pilothouse.kit.world import World

_REUSE_SHARE = 0.05
_OBJECTS_MAX = 1000


class LeaseManager:
    """A lease is reused for objects of the same time to live for 5% of it, at most a minute or 1,000 objects."""

    def __init__(self, backend: Backend, world: World, reuse_s_max: float = 60.0) -> None:
        """`reuse_s_max` is --lease-reuse-duration-seconds."""
        self._reuse_s_max = reuse_s_max
        self._backend = backend
        self._world = world
        self._lease = 0
        self._ttl_s = 0
        self._until_s = 0.0
        self._objects = 0
        self._granting = asyncio.Lock()

    async def lease(self, ttl_s: int) -> int:
        """A lease that lives at least `ttl_s`."""
        async with self._granting:
            now_s = self._world.clock.monotonic()
            if self._ttl_s != ttl_s or now_s >= self._until_s or self._objects >= _OBJECTS_MAX:
                await self._renew(ttl_s, now_s)
            self._objects += 1
            return self._lease

    async def _renew(self, ttl_s: int, now_s: float) -> None:
        reuse_s = min(_REUSE_SHARE * ttl_s, self._reuse_s_max)
        status = await self._backend.lease_grant(int(ttl_s + reuse_s))
        self._lease = status.id
        self._ttl_s, self._until_s, self._objects = ttl_s, now_s + reuse_s, 0
