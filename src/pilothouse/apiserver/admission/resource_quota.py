"""ResourceQuota: what an object costs is charged to its namespace's quotas before it is stored
(k8s.io/apiserver/pkg/admission/plugin/resourcequota, https://kubernetes.io/docs/concepts/policy/resource-quotas/).

Writes of one namespace that wait together are checked one after another and charged in one write of each quota:

    waiting ──the first to get the lock takes all──▶ checked against running accounts ──▶ one status write per quota
                                                                 ▲                              │
                                                                 └────── 409: read again ───────┘

What is charged and then not stored, because something after admission refused it, is given back when the quota
controller counts again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pilothouse.api import amounts
from pilothouse.api.errors import ApiError
from pilothouse.api.quota.check import Account, Cost, QuotaError, check
from pilothouse.api.quota.registry import IGNORED, evaluator
from pilothouse.api.resources import RESOURCE_QUOTAS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin

_RETRIES = 3


@dataclass(eq=False, slots=True)
class _Waiter:
    """One write. It is settled once it may go on or has an error."""

    attributes: Attributes
    cost: Cost
    settled: bool = False
    error: ApiError | None = None

    def settle(self, error: ApiError | None = None) -> None:
        self.settled, self.error = True, error


@dataclass(eq=False, slots=True)
class _Desk:
    """One namespace's."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: list[_Waiter] = field(default_factory=list)
    users: int = 0


class ResourceQuota(Plugin):
    name: ClassVar[str] = "ResourceQuota"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister
        self._world = env.world
        self._objects = env.objects
        self._desks: dict[str, _Desk] = {}

    def concerns(self, resource: Resource, subresource: str) -> bool:
        return (
            resource.namespaced
            and (resource.group, resource.plural) not in IGNORED
            and subresource in ("", "status", "resize")
        )

    async def validate(self, a: Attributes) -> None:
        if not self._quotas(a.namespace):
            return
        assert a.obj is not None
        of = evaluator(a.resource.group, a.resource.plural)
        if of.handles(a.operation, a.subresource, a.obj, a.old):
            cost = Cost.of(of, a.subresource, a.obj, a.old, self._world.now())
            await self._queue(_Waiter(a, cost))

    def _quotas(self, namespace: str) -> Sequence[Obj]:
        return tuple(self._lister.list(RESOURCE_QUOTAS, namespace))

    async def _queue(self, waiter: _Waiter) -> None:
        namespace = waiter.attributes.namespace
        desk = self._desks.setdefault(namespace, _Desk())
        desk.users += 1
        desk.waiting.append(waiter)
        try:
            async with desk.lock:
                if not waiter.settled:
                    await self._serve(namespace, desk)
        finally:
            if waiter in desk.waiting:
                desk.waiting.remove(waiter)
            desk.users -= 1
            if not desk.users:
                del self._desks[namespace]
        if waiter.error is not None:
            raise waiter.error

    async def _serve(self, namespace: str, desk: _Desk) -> None:
        batch, desk.waiting = desk.waiting, []
        try:
            await self._settle(namespace, batch)
        finally:
            # Whoever serves may be cancelled: the others are served by the next one that gets the lock.
            desk.waiting[:0] = [w for w in batch if not w.settled]

    async def _settle(self, namespace: str, batch: list[_Waiter]) -> None:
        accounts = [Account.of(quota) for quota in self._quotas(namespace)]
        for attempt in range(_RETRIES + 1):
            changed = _check_all(accounts, batch)
            failed, error = await self._store(changed)
            if error is None:
                break
            if attempt == _RETRIES:
                for waiter in batch:
                    if not waiter.settled:
                        waiter.settle(error)
                return
            accounts = [Account.of(q) for q in self._quotas(namespace) if q["metadata"]["name"] in failed]
        for waiter in batch:
            if not waiter.settled:
                waiter.settle()

    async def _store(self, changed: list[Account]) -> tuple[set[str], ApiError | None]:
        """The names of the quotas that could not be written, and the last reason."""
        failed: set[str] = set()
        last: ApiError | None = None
        for account in changed:
            status = {**account.quota["status"], "used": amounts.texts(account.used)}
            try:
                await self._objects.update_status(RESOURCE_QUOTAS, {**account.quota, "status": status})
            except ApiError as error:
                failed.add(account.name)
                last = error
        return failed, last


def _check_all(accounts: list[Account], batch: list[_Waiter]) -> list[Account]:
    """Check every write that is not settled; those that cost nothing, and those that are refused, are then. The
    accounts that changed."""
    before = [account.used for account in accounts]
    for waiter in batch:
        if waiter.settled:
            continue
        try:
            usage = check(accounts, waiter.cost)
        except QuotaError as error:
            waiter.settle(waiter.attributes.forbidden(str(error)))
            continue
        if waiter.attributes.dry_run or not usage:
            waiter.settle()
            continue
        for i, used in usage.items():
            accounts[i].used = used
    return [a for a, used in zip(accounts, before, strict=True) if not amounts.equal(a.used, used)]
