"""Watches definitions: writes their status, serves their kinds, removes those that go
(pkg/apiserver/customresource_handler.go; pkg/controller/status, establish, finalizer).

    definition ──▶ status (names) ──▶ served ──▶ status (Established)
    definition with a deletionTimestamp ──▶ its objects are deleted ──▶ its finalizer goes ──▶ unserved

One task follows the definitions, in the order of their changes; each removal has a task of its own, because an
object with a finalizer may take its time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pilothouse.api import errors
from pilothouse.api.resources import CUSTOM_RESOURCE_DEFINITIONS
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.customresources import conditions
from pilothouse.apiserver.customresources.conditions import FINALIZER, made
from pilothouse.apiserver.customresources.conversion import ByName, ByWebhook, Converter
from pilothouse.apiserver.customresources.kinds import (
    CustomKind,
    kinds,
    renamed,
    signature,
    storage_resource,
)
from pilothouse.apiserver.customresources.registration import Objects, Registration
from pilothouse.apiserver.endpoints.apply.compare import Walkers
from pilothouse.apiserver.endpoints.apply.manager import Version
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.registry.rest import Rest
from pilothouse.apiserver.registry.strategy import Context
from pilothouse.apiserver.request import UserInfo
from pilothouse.apiserver.storage.item import Item
from pilothouse.apiserver.storage.store import ResourceStore, UnknownOutcome
from pilothouse.apiserver.webhook_client import WebhookClient

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

log = logging.getLogger(__name__)

_MANAGER = "kube-apiserver"
_USER = UserInfo("system:apiserver", groups=("system:masters", "system:authenticated"))
_WATCH_S = 3600.0
_EMPTY_POLL_S = 0.1
_EMPTY_TIMEOUT_S = 60.0
_RETRY_S = 1.0
_CATCH_UP_S = 3.0
_STORE_AWAY = (503, 504)

StatusChange = Callable[[Obj], Obj]
"""From a definition (shared) to its new status."""


@dataclass(slots=True)
class _Served:
    """A definition whose kinds are served."""

    signature: tuple[Any, ...]
    store: ResourceStore
    kinds: list[CustomKind] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    walkers: Walkers = field(default_factory=Walkers)

    @property
    def versions(self) -> dict[str, Version]:
        """For managers of fields who used another version."""
        return {
            entry.kind.resource.group_version: Version(
                entry.kind.type, renamed(entry.kind.resource.group_version)
            )
            for entry in self.kinds
        }


class CustomResources:
    """Of one server; `metadata` is ObjectMeta's type, `describe` tells what its fields are about."""

    def __init__(
        self, server: ApiServer, objects: Objects, metadata: Type, describe: Callable[[str], str]
    ) -> None:
        self._server = server
        self._registration = Registration(server.lister, objects, server.world)
        self._world = server.world
        self._webhooks = WebhookClient(server.lister)
        self._metadata = metadata
        self._describe = describe
        self._served: dict[str, _Served] = {}
        self._follower: asyncio.Task[None] | None = None
        self._handled = 0
        """The revision up to which changes of definitions are acted on."""
        self._progress = asyncio.Event()
        self._removals: dict[str, asyncio.Task[None]] = {}

    # -- life -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve what the store's definitions say, then follow them."""
        for item in self._definitions.store.newest():
            await self._follow_one(item.obj["metadata"]["name"])
        loop = asyncio.get_running_loop()
        self._follower = loop.create_task(self._follow(), name="custom resources")
        self._follower.add_done_callback(_log_crash)

    async def stop(self) -> None:
        tasks = [t for t in (self._follower, *self._removals.values()) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._webhooks.close()

    @property
    def _definitions(self) -> Rest:
        return self._scope.rest

    @property
    def _scope(self) -> Scope:
        r = CUSTOM_RESOURCE_DEFINITIONS
        scope = self._server.router.scope(r.group, r.version, r.plural)
        assert scope is not None
        return scope

    async def catch_up(self) -> None:
        """Until the definitions that the store has now are served: another server may have made one a moment ago. As
        far as that is possible in a few seconds."""
        await self._definitions.store.fresh()
        wanted = self._definitions.store.cached.changed
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                while self._handled < wanted:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            log.warning("definitions are served only up to revision %d, not %d", self._handled, wanted)

    async def _follow(self) -> None:
        while True:
            watcher = await self._definitions.store.watch(initial_events=True)
            try:
                while (batch := await watcher.next(_WATCH_S)) is not None:
                    for change in batch:
                        if change.item is not None:
                            await self._follow_one(change.item.obj["metadata"]["name"])
                        self._handled = max(self._handled, change.revision)
                    self._progress.set()
            except errors.ApiError as error:
                log.warning("the watch of definitions broke off: %s; trying again", error)
                await self._world.clock.sleep(_RETRY_S)
            finally:
                watcher.close()

    async def _follow_one(self, name: str) -> None:
        """A definition that cannot be served must not keep the others from it; a store that cannot be asked keeps them
        all waiting."""
        try:
            while not await self._try_sync(name):
                await self._world.clock.sleep(_RETRY_S)
        except errors.ApiError as error:
            log.warning("definition %s: %s", name, error)
        except Exception:
            log.exception("definition %s: a bug keeps it from being served", name)

    async def _try_sync(self, name: str) -> bool:
        try:
            await self._sync(name)
        except errors.ApiError as error:
            if error.code not in _STORE_AWAY and not isinstance(error, UnknownOutcome):
                raise
            log.warning("definition %s: %s; trying again", name, error)
            return False
        return True

    def _item(self, name: str) -> Item | None:
        return self._definitions.store.get(self._definitions.key("", name))

    async def _sync(self, name: str) -> None:
        item = self._item(name)
        if item is None:
            group = self._unserve(name)
            await self._register()
            await self._recheck_names(group)
            return
        crd = item.obj
        meta = crd["metadata"]
        if meta.get("deletionTimestamp"):
            if FINALIZER in (meta.get("finalizers") or ()) and name not in self._removals:
                task = asyncio.get_running_loop().create_task(self._remove(name), name=f"removal of {name}")
                task.add_done_callback(_log_crash)
                self._removals[name] = task
        else:
            crd = await self._write_status(name, self._named)
        if crd is not None:
            await self._serve(crd)
        if crd is not None and _is_served(crd) and not conditions.is_true(crd, conditions.ESTABLISHED):
            await self._write_status(name, lambda c: conditions.establish(c, self._world.timestamp()))
        await self._register()

    async def _register(self) -> None:
        """Tell of the versions that are served."""
        resources = [entry.kind.resource for served in self._served.values() for entry in served.kinds]
        await self._registration.sync({(r.group, r.version) for r in resources})

    def _named(self, crd: Obj) -> Obj:
        others = (item.obj for item in self._definitions.store.newest())
        return conditions.next_status(crd, others, self._world.timestamp())

    async def _recheck_names(self, group: str) -> None:
        """Names became free."""
        for item in self._definitions.store.newest():
            crd = item.obj
            if crd["spec"]["group"] == group and not conditions.is_true(crd, conditions.NAMES_ACCEPTED):
                await self._sync(crd["metadata"]["name"])

    # -- writing ----------------------------------------------------------------------------------------

    async def _write_status(self, name: str, change: StatusChange) -> Obj:
        """Write a new status, when it is one. Returns the definition as it is then; ApiError 404 when it is gone
        meanwhile."""

        def with_status(crd: Obj) -> Obj:
            status = change(crd)
            return crd if status == crd.get("status") else {**crd, "status": status}

        return await self._write(name, with_status)

    async def _write(self, name: str, change: Callable[[Obj], Obj]) -> Obj:
        """Compare and swap, past admission and validation as one who made the object's state."""
        rest, scope = self._definitions, self._scope
        while True:
            item = self._item(name)
            if item is None:
                raise errors.not_found(rest.resource.group, rest.resource.plural, name)
            old = item.obj
            new = change(old)
            if new is old:
                return old
            new = {**new, "metadata": dict(new["metadata"])}
            fields = scope.status_fields or scope.fields
            new = fields.update(old, new, _MANAGER, "status", self._world.timestamp())
            written = await rest.store.replace(rest.key("", name), item, new)
            if written is not None:
                return written.obj

    # -- serving ----------------------------------------------------------------------------------------

    async def _serve(self, crd: Obj) -> None:
        """Bring what is served in line with a definition."""
        name = crd["metadata"]["name"]
        if not _is_served(crd):
            self._unserve(name)
            return
        served, wanted = self._served.get(name), signature(crd)
        if served is not None and served.signature == wanted:
            return
        if served is not None and served.signature[0] != wanted[0]:
            self._unserve(name)
            served = None
        store = served.store if served is not None else await self._server.open_store(storage_resource(crd))
        new = _Served(wanted, store, kinds(crd, self._metadata, self._describe, self._converter(crd)))
        if served is not None:
            self._withdraw(served, keep={entry.kind.resource.version for entry in new.kinds})
            if served.signature[1] != wanted[1]:
                store.cached.close_watchers()
        for entry in new.kinds:
            rest = Rest(
                entry.kind.storage, entry.kind.strategy, store, self._server.admission, view=entry.view
            )
            new.scopes.append(self._server.add_kind(entry.kind, rest, new.versions, new.walkers))
            self._server.discovery.add(entry.served)
            self._server.openapi.add(entry.served, entry.schema)
        self._served[name] = new

    def _converter(self, crd: Obj) -> Converter:
        conversion = crd["spec"].get("conversion") or {}
        if conversion.get("strategy") != "Webhook":
            return ByName()
        return ByWebhook(conversion["webhook"], self._webhooks.post, self._world)

    def _withdraw(self, served: _Served, keep: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Take versions out of paths and documents, but those that are about to be put in anew."""
        for entry, scope in zip(served.kinds, served.scopes, strict=True):
            if entry.kind.resource.version not in keep:
                self._server.router.remove_scope(scope)
                self._server.discovery.remove(entry.served)
                self._server.openapi.remove(entry.served)

    def _unserve(self, name: str) -> str:
        """Forget a definition; returns its group, "" when it was not served."""
        served = self._served.pop(name, None)
        if served is None:
            return ""
        self._withdraw(served)
        self._server.close_store(served.store)
        return served.store.resource.group

    # -- removal ----------------------------------------------------------------------------------------

    async def _remove(self, name: str) -> None:
        try:
            while not await self._try_remove(name):
                await self._world.clock.sleep(_RETRY_S)
        finally:
            del self._removals[name]

    async def _try_remove(self, name: str) -> bool:
        """True when nothing is left to do."""
        try:
            await self._terminating(
                name, True, "InstanceDeletionInProgress", "CustomResource deletion is in progress"
            )
            problem = await self._delete_objects(name)
            if problem:
                await self._terminating(name, True, "InstanceDeletionCheck", problem)
                return False
            await self._terminating(name, False, "InstanceDeletionCompleted", "removed all instances")
            await self._release(name)
        except errors.ApiError as error:
            if error.code == 404:
                return True
            log.warning("removal of definition %s: %s; trying again", name, error)
            return False
        return True

    async def _terminating(self, name: str, status: bool, reason: str, message: str) -> None:
        new = made(conditions.TERMINATING, status, reason, message)
        now = self._world.timestamp()
        await self._write_status(
            name, lambda crd: conditions.with_condition(crd.get("status") or {}, new, now)
        )

    async def _delete_objects(self, name: str) -> str:
        """Delete all objects of a definition and wait until they are gone; what stood in the way."""
        served = self._served.get(name)
        if served is None or not served.scopes:
            return ""
        rest = served.scopes[0].rest
        for item in await served.store.newest_of_all():
            meta = item.obj["metadata"]
            ctx = Context(self._world, self._server.lister, _USER, meta.get("namespace", ""))
            try:
                await rest.delete(ctx, meta["name"], {})
            except errors.ApiError as error:
                if error.code != 404:
                    return f"could not issue all deletes: {error}"
        deadline = self._world.clock.monotonic() + _EMPTY_TIMEOUT_S
        while await served.store.newest_of_all():
            if self._world.clock.monotonic() > deadline:
                return "could not confirm zero CustomResources remaining: timed out waiting for the condition"
            await self._world.clock.sleep(_EMPTY_POLL_S)
        return ""

    async def _release(self, name: str) -> None:
        """Take the finalizer away; a definition that nothing else holds goes with it."""
        rest = self._definitions
        key = rest.key("", name)
        while (item := rest.store.get(key)) is not None:
            meta = item.obj["metadata"]
            left = [entry for entry in meta.get("finalizers") or () if entry != FINALIZER]
            if not left:
                if await rest.store.delete(key, item) is not None:
                    return
                continue
            new = {**item.obj, "metadata": {**meta, "finalizers": left}}
            if await rest.store.replace(key, item, new) is not None:
                return


def _is_served(crd: Obj) -> bool:
    return conditions.is_true(crd, conditions.NAMES_ACCEPTED) or conditions.is_true(
        crd, conditions.ESTABLISHED
    )


def _log_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("custom resources are no longer followed", exc_info=error)
