"""The generic registry: create, read, update and delete of one stored kind
(k8s.io/apiserver/pkg/registry/generic/registry Store).

Objects here are in the storage version. What a client sent (decoding, defaulting, patches, field ownership)
is over before this room; `change` functions bring it in for updates, because those run again on every
conflict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from pilothouse.api import errors
from pilothouse.api import field as f
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.api.validation import meta as meta_validation
from pilothouse.api.validation import names
from pilothouse.apiserver.admission.chain import Chain
from pilothouse.apiserver.admission.plugin import NO_KIND, Attributes, ObjectKind, Operation
from pilothouse.apiserver.registry import deletion, metadata
from pilothouse.apiserver.registry.strategy import Context, Reservation, Strategy
from pilothouse.apiserver.registry.view import View
from pilothouse.apiserver.storage.item import Item
from pilothouse.apiserver.storage.store import ResourceStore, UnknownOutcome

Change = Callable[[Obj | None], Awaitable[Obj]]
"""From the stored object (shared, None when there is none) to the wanted one (owned by the registry)."""

_NAMES_TRIED_MAX = 8
T = TypeVar("T")
Validate = Callable[[Obj, Obj], Awaitable[None]]
"""Validating admission of an update: the wanted object and the stored one. Raises ApiError."""


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
        view: View | None = None,
    ) -> None:
        self.resource = resource
        self.view = view
        """Custom resources: objects here are in the version of this view, not in the storage version."""
        self.stored_form: Callable[[Obj], None] = _as_it_is
        """Changes an object into what is read back once it is stored (`api.schema.stored`)."""
        self.named = resource
        """What errors call it: the resource that was asked for, where two groups share a store (events)."""
        self.strategy = strategy
        self.store = store
        self.admission = admission
        self._guard = guard

    def facing(self, resource: Resource) -> Rest:
        """The same registry as another group serves it."""
        if (resource.group, resource.plural) == (self.resource.group, self.resource.plural):
            return self
        other = Rest(self.resource, self.strategy, self.store, self.admission, self._guard)
        other.named = resource
        other.stored_form = self.stored_form
        return other

    def key(self, namespace: str, name: str) -> str:
        """Where an object lies; 400 for a name that could lead elsewhere (registry NamespaceKeyFunc)."""
        if name in _NO_NAMES or "/" in name or "%" in name:
            why = ";".join(names.path_segment(name))
            raise errors.bad_request(f"Name parameter invalid: {f.go_quote(name)}: {why}")
        return self.store.key(namespace, name)

    def get(self, namespace: str, name: str) -> Item:
        """As the cache has it: as old as the client allows."""
        item = self.store.get(self.key(namespace, name))
        if item is None:
            raise errors.not_found(self.named.group, self.named.plural, name)
        return item

    async def newest(self, namespace: str, name: str) -> Item:
        """As the store has it now."""
        await self.store.fresh()
        return self.get(namespace, name)

    async def create(self, ctx: Context, obj: Obj, options: Obj) -> Item:
        """Store a new object. Raises what admission and validation refuse, 409 when the name is taken. A generated
        name that is taken is not the client's fault: others are tried."""
        meta = obj["metadata"]
        generated = not meta.get("name") and bool(meta.get("generateName"))
        attributes = self.attributes(ctx, "CREATE", obj, None, options)
        await self.admission.admit(attributes)
        meta = obj["metadata"]
        generated = generated and not meta.get("name")
        metadata.deduplicate_owners(obj, ctx.warnings, after_admission=True)
        if self._guard is not None:
            self._guard(ctx, obj, None)
        if not generated:
            return await self._create(ctx, obj, attributes)
        for _ in range(_NAMES_TRIED_MAX):
            meta.pop("name", None)
            try:
                return await self._create(ctx, obj, attributes)
            except errors.ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
        raise errors.generated_name_conflict(self.named.group, self.named.plural, meta["name"])

    async def _create(self, ctx: Context, obj: Obj, attributes: Attributes) -> Item:
        # Mutating admission knows no generated name yet, validating admission does.
        metadata.before_create(ctx.world, obj, ctx.namespace, self.strategy)
        attributes.name = obj["metadata"].get("name", "")
        try:
            reservation = self.strategy.reserve_create(ctx, obj)
        except errors.ApiError:
            if not await self.store.has_news():
                raise
            reservation = self.strategy.reserve_create(ctx, obj)
        stored: bool | None = False
        try:
            self._check_create(ctx, obj)
            await self.admission.validate(attributes)
            item = await self._store_new(ctx, obj, reservation)
            stored = not ctx.dry_run
            return item
        except UnknownOutcome:
            stored = None
            raise
        except asyncio.CancelledError:
            stored = await self._stored_all_the_same(ctx, obj, reservation)
            raise
        finally:
            if reservation is not None:
                await reservation.settle(stored)

    async def _stored_all_the_same(
        self, ctx: Context, obj: Obj, reservation: Reservation | None
    ) -> bool | None:
        """The client went away: what was reserved is given back only if its write did not come through."""
        if reservation is None or ctx.dry_run:
            return False
        return await self.store.holds(self.store.key(ctx.namespace, obj["metadata"].get("name", "")), obj)

    def _check_create(self, ctx: Context, obj: Obj) -> None:
        self.stored_form(obj)
        if self.strategy.has_status and not self.strategy.creates_with_status:
            _clear_status(obj)
        self.strategy.prepare_for_create(ctx, obj)
        found = self._as_created(obj["metadata"])
        found += self.strategy.validate(ctx, obj)
        if found:
            name = obj["metadata"].get("name", "")
            raise errors.invalid(self.resource.group, self.resource.kind, name, found)
        ctx.warnings.extend(self.strategy.warnings(ctx, obj, None))
        self.strategy.canonicalize(obj)

    async def _store_new(self, ctx: Context, obj: Obj, reservation: Reservation | None) -> Item:
        name = obj["metadata"].get("name", "")
        key = self.key(ctx.namespace, name)
        if self.view is not None:
            obj = await self.view.final(obj)
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
        error = errors.already_exists(self.named.group, self.named.plural, name)
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
        validate: Validate | None = None,
    ) -> tuple[Item, bool]:
        """Change an object; True when it was made. `create`: a missing object may be made (apply, or a kind
        that allows it). `uid` is a precondition. `validate` stands in for validating admission of the object."""
        key = self.key(ctx.namespace, name)

        async def ask(obj: Obj, old: Obj) -> None:
            await self.admission.validate(self.attributes(ctx, "UPDATE", obj, old, options))

        while True:
            current = self.store.get(key)
            if current is None:
                if await self.store.is_outdated(key, None):
                    continue
                if not create and not self.strategy.allow_create_on_update:
                    raise errors.not_found(self.named.group, self.named.plural, name)
                made = await change(None)
                metadata.check_namespace(made, ctx.namespace)
                return await self.create(ctx, made, options), True
            try:
                item = await self._update_existing(ctx, key, current, change, uid, validate or ask)
            except _DeleteNow as done:
                item = await self._remove(ctx, key, current, done.obj)
            except UnknownOutcome:
                raise
            except errors.ApiError:
                if await self.store.is_outdated(key, current):
                    continue
                raise
            if item is not None:
                return item, False

    async def amend(self, ctx: Context, name: str, change: Callable[[Obj], Obj], uid: str = "") -> Item:
        """Change a stored object past strategy, validation and admission: for subresources that have their own, where
        upstream calls GuaranteedUpdate of the storage. `change` makes a new object of the stored one."""
        key = self.key(ctx.namespace, name)

        async def attempt(current: Item | None) -> Item | None:
            if current is None:
                raise errors.not_found(self.named.group, self.named.plural, name)
            self._check_uid(key, current.obj, uid)
            obj = change(current.obj)
            if ctx.dry_run:
                return self.store.unstored(key, obj, current)
            return await self.store.replace(key, current, obj)

        return await self._try(key, attempt)

    async def _try(self, key: str, attempt: Callable[[Item | None], Awaitable[T | None]]) -> T:
        """Against the object as it is known; again when another write came between (None), and when it was refused
        for a state that is not the newest."""
        while True:
            current = self.store.get(key)
            try:
                done = await attempt(current)
            except UnknownOutcome:
                raise
            except errors.ApiError:
                if await self.store.is_outdated(key, current):
                    continue
                raise
            if done is not None:
                return done

    async def _update_existing(
        self, ctx: Context, key: str, current: Item, change: Change, uid: str, validate: Validate
    ) -> Item | None:
        """None when another write came between: try again."""
        old = current.obj
        self._check_uid(key, old, uid)
        if self.view is not None:
            await self.view.ready((old,))
        obj = await change(old)
        if self.view is not None:
            old = self.view.seen(old)
        if self._guard is not None:
            self._guard(ctx, obj, old)
        self._check_revision(obj, old)
        status_only = ctx.subresource in ("status", "approval")
        reservation = None if status_only else self.strategy.reserve_update(ctx, obj, old)
        stored: bool | None = False
        try:
            self._check_update(ctx, obj, old, status_only)
            await validate(obj, old)
            if deletion.is_finished(obj) and not self.strategy.is_held(obj):
                raise _DeleteNow(obj)
            if self.view is not None:
                obj = await self.view.final(obj)
            if ctx.dry_run:
                return self.store.unstored(key, obj, current)
            if reservation is not None:
                await reservation.commit()
            item = await self.store.replace(key, current, obj)
            stored = item is not None
            return item
        except UnknownOutcome:
            stored = None
            raise
        except asyncio.CancelledError:
            stored = await self._stored_all_the_same(ctx, obj, reservation)
            raise
        finally:
            if reservation is not None:
                await reservation.settle(stored)

    def _check_update(self, ctx: Context, obj: Obj, old: Obj, status_only: bool) -> None:
        self.stored_form(obj)
        metadata.before_update(obj, old)
        if status_only:
            _keep_all_but_status(obj, old)
            if self.strategy.status_keeps_metadata:
                metadata.keep_for_status(obj["metadata"], old["metadata"])
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
        meta, before = obj["metadata"], old["metadata"]
        # Upstream checks metadata for all kinds (validateCommonFields) and again in each kind's ValidateUpdate:
        # the causes show it.
        found = meta_validation.validate_create(
            meta, self.resource.namespaced, "path", known_finalizers=False
        )
        changed = meta_validation.validate_update(meta, before)
        found += changed
        for check in ("update",) if status_only else self.strategy.metadata_checks:
            if check == "update":
                found += changed
            else:
                found += self._as_created(meta)
        if status_only:
            found += self.strategy.validate_status_update(ctx, obj, old)
        else:
            found += self.strategy.validate_update(ctx, obj, old)
        if found:
            raise errors.invalid(
                self.resource.group, self.resource.kind, obj["metadata"].get("name", ""), found
            )

    def _as_created(self, meta: Obj) -> f.Errors:
        rule, known = self.strategy.name_message, self.strategy.known_finalizers
        return meta_validation.validate_create(meta, self.resource.namespaced, rule, known_finalizers=known)

    def _check_uid(self, key: str, old: Obj, uid: str) -> None:
        actual = old["metadata"].get("uid", "")
        if uid and uid != actual:
            why = (
                f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {actual}"
            )
            raise errors.conflict(self.named.group, self.named.plural, old["metadata"]["name"], why)

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
                    self.named.group, self.named.plural, meta["name"], errors.OPTIMISTIC_LOCK
                )
        elif not self.strategy.allow_unconditional_update:
            missing = f.invalid("metadata.resourceVersion", f.GoText("0"), "must be specified for an update")
            raise errors.invalid(self.named.group, self.named.plural, meta["name"], [missing])
        meta["resourceVersion"] = old["metadata"]["resourceVersion"]

    async def admit_update(self, ctx: Context, obj: Obj, old: Obj, options: Obj) -> None:
        """Mutating admission of an update; called by a `change` at its end."""
        await self.admission.admit(self.attributes(ctx, "UPDATE", obj, old, options))
        metadata.deduplicate_owners(obj, ctx.warnings, after_admission=True)

    async def delete(self, ctx: Context, name: str, options: Obj, *, admitted: bool = False) -> Deleted:
        """Delete, or mark for deletion, one object. `admitted`: admission has had its say (evictions)."""
        key = self.key(ctx.namespace, name)

        async def ask(old: Obj) -> None:
            if not admitted:
                await self.admission.ask(self.attributes(ctx, "DELETE", None, old, options))

        async def attempt(item: Item | None) -> Deleted | None:
            if item is None:
                raise errors.not_found(self.named.group, self.named.plural, name)
            deletion.check_preconditions(options, item.obj, self.resource.group, self.resource.kind, name)
            return await self._delete_current(ctx, key, item, options, ask)

        return await self._try(key, attempt)

    async def _delete_current(
        self, ctx: Context, key: str, item: Item, options: Obj, ask: Callable[[Obj], Awaitable[None]]
    ) -> Deleted | None:
        """None when another write came between: try again. Admission is asked about each state that is to go, but
        not where the deletion of a terminating object changes nothing."""
        old = item.obj
        obj = {**old, "metadata": dict(old["metadata"])}
        meta = obj["metadata"]
        terminating = self.strategy.terminate(ctx, obj, options)
        if terminating is not None:
            await ask(old)
            return await self._terminate(ctx, key, item, obj, changed=terminating)
        now_s = ctx.world.now()
        grace = deletion.begin(meta, options, self.strategy.graceful_delete(ctx, obj, options), now_s)
        if grace.pending:
            return Deleted(old, False)
        await ask(old)
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

    async def _remove(self, ctx: Context, key: str, current: Item, last: Obj) -> Item | None:
        """Delete an object whose last finalizer an update took away; the answer shows that update. None when another
        write came between: try again."""
        if ctx.dry_run:
            return self.store.unstored(key, last, current)
        removed = await self.store.delete(key, current, last=last)
        if removed is not None:
            await self.strategy.after_delete(ctx, last)
        return removed

    def attributes(
        self,
        ctx: Context,
        operation: Operation,
        obj: Obj | None,
        old: Obj | None,
        options: Obj,
        *,
        name: str = "",
        subresource: str | None = None,
        kind: ObjectKind = NO_KIND,
    ) -> Attributes:
        """What admission is asked about. The keywords are for subresources with objects of their own: the parent's
        name, and the kind of `obj`."""
        return Attributes(
            operation,
            self.resource,
            ctx.subresource if subresource is None else subresource,
            ctx.namespace,
            name or (obj or old or {}).get("metadata", {}).get("name", ""),
            obj,
            old,
            ctx.user,
            ctx.dry_run,
            options,
            ctx.warnings,
            kind,
            ctx.group_version,
        )


def _as_it_is(obj: Obj) -> None:
    """Custom resources are stored as JSON."""


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
