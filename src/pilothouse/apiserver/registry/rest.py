"""The generic registry: create, read, update and delete of one stored kind
(k8s.io/apiserver/pkg/registry/generic/registry Store).

Objects here are in the storage version. What a client sent (decoding, defaulting, patches, field ownership)
is over before this room; `change` functions bring it in for updates, because those run again on every
conflict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pilothouse.api import errors
from pilothouse.api import field as f
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.api.validation import meta as meta_validation
from pilothouse.api.validation import names
from pilothouse.apiserver.admission.chain import Chain
from pilothouse.apiserver.admission.plugin import Attributes, Operation
from pilothouse.apiserver.registry import deletion, metadata
from pilothouse.apiserver.registry.strategy import Context, Reservation, Strategy
from pilothouse.apiserver.storage.item import Item
from pilothouse.apiserver.storage.store import ResourceStore

Change = Callable[[Obj | None], Awaitable[Obj]]
"""From the stored object (shared, None when there is none) to the wanted one (owned by the registry)."""

RETURNS_DELETED = frozenset(
    ("Pod", "PodTemplate", "PersistentVolume", "PersistentVolumeClaim", "ResourceQuota", "ServiceAccount", "Service")
) | frozenset(
    (
        "CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass",
        "DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice",
    )
)  # fmt: skip
"""Kinds whose deletion answers with the object rather than a Status (upstream's ReturnDeletedObject)."""


Guard = Callable[[Context, Obj, Obj | None], None]
"""Refuses (ApiError) a new state, given the one before, once mutating admission is over."""

_NO_NAMES = frozenset((".", ".."))


class Deleted(NamedTuple):
    """`obj` is the last state; `gone` is False while it waits for grace or finalizers."""

    obj: Obj
    gone: bool


class _DeleteNow(Exception):
    """An update left nothing that a terminating object waits for."""

    def __init__(self, obj: Obj) -> None:
        super().__init__()
        self.obj = obj


class Rest:
    """One kind's registry. `resource` is the storage version."""

    def __init__(
        self,
        resource: Resource,
        strategy: Strategy,
        store: ResourceStore,
        admission: Chain,
        guard: Guard | None = None,
    ) -> None:
        self.resource = resource
        self.strategy = strategy
        self.store = store
        self._admission = admission
        self._guard = guard

    def key(self, namespace: str, name: str) -> str:
        """Where an object lies; 400 for a name that could lead elsewhere (registry NamespaceKeyFunc)."""
        if name in _NO_NAMES or "/" in name or "%" in name:
            why = ";".join(names.path_segment(name))
            raise errors.bad_request(f"Name parameter invalid: {f.go_quote(name)}: {why}")
        return self.store.key(namespace, name)

    def get(self, namespace: str, name: str) -> Item:
        item = self.store.get(self.key(namespace, name))
        if item is None:
            raise errors.not_found(self.resource.group, self.resource.plural, name)
        return item

    async def create(self, ctx: Context, obj: Obj, options: Obj) -> Item:
        """Store a new object. Raises what admission and validation refuse, 409 when the name is taken."""
        metadata.before_create(ctx.world, obj, ctx.namespace, self.strategy)
        attributes = self._attributes(ctx, "CREATE", obj, None, options)
        await self._admission.admit(attributes)
        if self._guard is not None:
            self._guard(ctx, obj, None)
        reservation = self.strategy.reserve_create(ctx, obj)
        stored = False
        try:
            self._check_create(ctx, obj)
            await self._admission.validate(attributes)
            item = await self._store_new(ctx, obj, reservation)
            stored = not ctx.dry_run
            return item
        except asyncio.CancelledError:
            stored = await self._stored_all_the_same(ctx, obj, reservation)
            raise
        finally:
            if reservation is not None:
                await reservation.settle(stored)

    async def _stored_all_the_same(self, ctx: Context, obj: Obj, reservation: Reservation | None) -> bool:
        """The client went away: what was reserved is given back only if its write did not come through."""
        if reservation is None or ctx.dry_run:
            return False
        return await self.store.holds(self.store.key(ctx.namespace, obj["metadata"].get("name", "")), obj)

    def _check_create(self, ctx: Context, obj: Obj) -> None:
        if self.strategy.has_status and not self.strategy.creates_with_status:
            _clear_status(obj)
        self.strategy.prepare_for_create(ctx, obj)
        found = meta_validation.validate_create(
            obj["metadata"], self.resource.namespaced, self.strategy.name_message
        )
        found += self.strategy.validate(ctx, obj)
        if found:
            name = obj["metadata"].get("name", "")
            raise errors.invalid(self.resource.group, self.resource.kind, name, found)
        ctx.warnings.extend(self.strategy.warnings(ctx, obj, None))
        self.strategy.canonicalize(obj)

    async def _store_new(self, ctx: Context, obj: Obj, reservation: Reservation | None) -> Item:
        name = obj["metadata"].get("name", "")
        key = self.key(ctx.namespace, name)
        if ctx.dry_run:
            existing = self.store.get(key)
            if existing is not None:
                raise self._already_exists(existing, name)
            return self.store.unstored(key, obj)
        try:
            if reservation is not None:
                await reservation.commit()
            return await self.store.create(key, obj)
        except errors.ApiError as error:
            existing = self.store.get(key) if error.reason == "AlreadyExists" else None
            if existing is not None:
                raise self._already_exists(existing, name) from None
            raise

    def _already_exists(self, existing: Item, name: str) -> errors.ApiError:
        error = errors.already_exists(self.resource.group, self.resource.plural, name)
        if existing.obj["metadata"].get("deletionTimestamp"):
            error.message = f"object is being deleted: {error.message}"
        return error

    async def update(
        self,
        ctx: Context,
        name: str,
        change: Change,
        options: Obj,
        *,
        create: bool = False,
        uid: str = "",
    ) -> tuple[Item, bool]:
        """Change an object; True when it was made. `create`: a missing object may be made (apply, or a kind
        that allows it). `uid` is a precondition."""
        key = self.key(ctx.namespace, name)
        while True:
            current = self.store.get(key)
            if current is None:
                if not create and not self.strategy.allow_create_on_update:
                    raise errors.not_found(self.resource.group, self.resource.plural, name)
                made = await change(None)
                metadata.check_namespace(made, ctx.namespace)
                return await self.create(ctx, made, options), True
            try:
                item = await self._update_existing(ctx, key, current, change, options, uid)
            except _DeleteNow as done:
                deleted = await self._remove(ctx, key, current, done.obj)
                return deleted, False
            if item is not None:
                return item, False

    async def _update_existing(
        self, ctx: Context, key: str, current: Item, change: Change, options: Obj, uid: str
    ) -> Item | None:
        """None when another write came between: try again."""
        old = current.obj
        self._check_uid(key, old, uid)
        obj = await change(old)
        if self._guard is not None:
            self._guard(ctx, obj, old)
        self._check_revision(obj, old)
        status_only = ctx.subresource in ("status", "approval")
        reservation = None if status_only else self.strategy.reserve_update(ctx, obj, old)
        stored = False
        try:
            self._check_update(ctx, obj, old, status_only)
            await self._admission.validate(self._attributes(ctx, "UPDATE", obj, old, options))
            if deletion.is_finished(obj) and not self.strategy.is_held(obj):
                raise _DeleteNow(obj)
            if ctx.dry_run:
                return self.store.unstored(key, obj, current)
            if reservation is not None:
                await reservation.commit()
            item = await self.store.replace(key, current, obj)
            stored = item is not None
            return item
        except asyncio.CancelledError:
            stored = await self._stored_all_the_same(ctx, obj, reservation)
            raise
        finally:
            if reservation is not None:
                await reservation.settle(stored)

    def _check_update(self, ctx: Context, obj: Obj, old: Obj, status_only: bool) -> None:
        metadata.before_update(obj, old)
        if status_only:
            _keep_all_but_status(obj, old)
            self.strategy.prepare_for_status_update(ctx, obj, old)
        else:
            if self.strategy.has_status and ctx.subresource != "binding":
                _keep_status(obj, old)
            self.strategy.prepare_for_update(ctx, obj, old)
            if self.strategy.generation and self.strategy.changes_generation(obj, old):
                obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        self._validate_update(ctx, obj, old, status_only)
        if not status_only:
            ctx.warnings.extend(self.strategy.warnings(ctx, obj, old))
        self.strategy.canonicalize(obj)

    def _validate_update(self, ctx: Context, obj: Obj, old: Obj, status_only: bool) -> None:
        # Upstream checks metadata twice, once for all kinds and once in each kind's strategy: the causes show it.
        found = meta_validation.validate_update(obj["metadata"], old["metadata"]) * 2
        if status_only:
            found += self.strategy.validate_status_update(ctx, obj, old)
        else:
            found += self.strategy.validate_update(ctx, obj, old)
        if found:
            raise errors.invalid(
                self.resource.group, self.resource.kind, obj["metadata"].get("name", ""), found
            )

    def _check_uid(self, key: str, old: Obj, uid: str) -> None:
        actual = old["metadata"].get("uid", "")
        if uid and uid != actual:
            why = (
                f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {actual}"
            )
            raise errors.conflict(self.resource.group, self.resource.plural, old["metadata"]["name"], why)

    def _check_revision(self, obj: Obj, old: Obj) -> None:
        """The optimistic lock: a resourceVersion that was sent must be the stored one."""
        meta = obj["metadata"]
        sent = meta.get("resourceVersion", "")
        if sent not in ("", "0"):
            if not (sent.isascii() and sent.isdigit()):
                raise errors.ApiError(
                    500, "", f"strconv.ParseUint: parsing {f.go_quote(sent)}: invalid syntax"
                )
            if sent != old["metadata"]["resourceVersion"]:
                raise errors.conflict(
                    self.resource.group, self.resource.plural, meta["name"], errors.OPTIMISTIC_LOCK
                )
        elif not self.strategy.allow_unconditional_update:
            missing = f.invalid("metadata.resourceVersion", f.GoText("0"), "must be specified for an update")
            raise errors.invalid(self.resource.group, self.resource.plural, meta["name"], [missing])
        meta["resourceVersion"] = old["metadata"]["resourceVersion"]

    async def admit_update(self, ctx: Context, obj: Obj, old: Obj, options: Obj) -> None:
        """Mutating admission of an update; called by a `change` at its end."""
        await self._admission.admit(self._attributes(ctx, "UPDATE", obj, old, options))

    async def delete(self, ctx: Context, name: str, options: Obj) -> Deleted:
        """Delete, or mark for deletion, one object."""
        key = self.key(ctx.namespace, name)
        admitted = False
        while True:
            item = self.store.get(key)
            if item is None:
                raise errors.not_found(self.resource.group, self.resource.plural, name)
            deletion.check_preconditions(options, item.obj, self.resource.kind, name)
            if not admitted:
                attributes = self._attributes(ctx, "DELETE", None, item.obj, options)
                await self._admission.admit(attributes)
                await self._admission.validate(attributes)
                admitted = True
            outcome = await self._delete_current(ctx, key, item, options)
            if outcome is not None:
                return outcome

    async def _delete_current(self, ctx: Context, key: str, item: Item, options: Obj) -> Deleted | None:
        """None when another write came between: try again."""
        old = item.obj
        obj = {**old, "metadata": dict(old["metadata"])}
        meta = obj["metadata"]
        terminating = self.strategy.terminate(ctx, obj, options)
        if terminating is not None:
            return await self._terminate(ctx, key, item, obj, changed=terminating)
        now_s = ctx.world.now()
        grace = deletion.begin(meta, options, self.strategy.graceful_delete(ctx, obj, options), now_s)
        if grace.pending:
            return Deleted(old, False)
        wanted = deletion.finalizers(meta, options, self.strategy.default_propagation)
        if wanted != (meta.get("finalizers") or []):
            meta["finalizers"] = wanted
            if not wanted:
                del meta["finalizers"]
        if not grace.graceful and wanted:
            deletion.mark(meta, now_s)
        waits = bool(wanted) or (grace.graceful and meta["deletionGracePeriodSeconds"] > 0)
        if ctx.dry_run:
            return Deleted(obj if waits else old, not waits)
        if waits or grace.graceful:
            if meta == old["metadata"]:
                return Deleted(old, False)
            marked = await self.store.replace(key, item, obj)
            if marked is None:
                return None
            if waits:
                return Deleted(marked.obj, False)
            item, obj = marked, marked.obj
        removed = await self.store.delete(key, item)
        if removed is None:
            return None
        await self.strategy.after_delete(ctx, obj)
        return Deleted(removed.obj if meta == old["metadata"] else obj, True)

    async def _terminate(
        self, ctx: Context, key: str, item: Item, obj: Obj, *, changed: bool
    ) -> Deleted | None:
        if not changed:
            return Deleted(item.obj, False)
        if ctx.dry_run:
            return Deleted(obj, False)
        marked = await self.store.replace(key, item, obj)
        return None if marked is None else Deleted(marked.obj, False)

    async def _remove(self, ctx: Context, key: str, current: Item, last: Obj) -> Item:
        """Delete an object whose last finalizer an update took away; the answer shows that update."""
        if ctx.dry_run:
            return self.store.unstored(key, last, current)
        removed = await self.store.delete(key, current, last=last)
        if removed is None:
            raise errors.conflict(
                self.resource.group, self.resource.plural, last["metadata"]["name"], errors.OPTIMISTIC_LOCK
            )
        await self.strategy.after_delete(ctx, last)
        return removed

    def _attributes(
        self, ctx: Context, operation: Operation, obj: Obj | None, old: Obj | None, options: Obj
    ) -> Attributes:
        name = (obj or old or {})["metadata"].get("name", "")
        return Attributes(
            operation,
            self.resource,
            ctx.subresource,
            ctx.namespace,
            name,
            obj,
            old,
            ctx.user,
            ctx.dry_run,
            options,
            ctx.warnings,
        )


def _clear_status(obj: Obj) -> None:
    """A create carries no status; kinds whose Go struct always writes one keep it as {}."""
    if "status" in obj:
        obj["status"] = {}


def _keep_status(obj: Obj, old: Obj) -> None:
    if "status" in old:
        obj["status"] = old["status"]
    else:
        obj.pop("status", None)


def _keep_all_but_status(obj: Obj, old: Obj) -> None:
    """A status write brings status, labels, annotations and the like; spec and everything else stay."""
    for key in [k for k in obj if k not in ("metadata", "status", "kind", "apiVersion")]:
        if key not in old:
            del obj[key]
    for key, value in old.items():
        if key not in ("metadata", "status", "kind", "apiVersion"):
            obj[key] = value
